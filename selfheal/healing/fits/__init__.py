"""Fits that mechanisms share: maps of columns, class shares, patches of logits, the ReflexiveLayer."""
