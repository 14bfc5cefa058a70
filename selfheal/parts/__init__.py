"""What a model is made of: columns, preprocessing, network; what of it can be taken, cut in two, and stored.

Nothing here knows a registry: the same questions are asked when a model is made and when it is adopted.
"""

IN_MEMORY = "or pass in_memory=True for a model that is healed in memory and never adopted"
"""The way out of what only adoption asks for."""
