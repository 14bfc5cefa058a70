"""``selfheal demo``: two models break, heal, remember, learn from a rule, refuse and step back, on real parts."""
