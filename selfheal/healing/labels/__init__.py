"""Labels that have come: the rows that they are of, what is asked of people, and what they decide."""
