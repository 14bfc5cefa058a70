"""Labels that have come: the rows that they are of, and a patch that is fitted to them."""
