"""One module a revision: ``rev_NNNN_<what>.py``."""
