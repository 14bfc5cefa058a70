"""Where predictions are read from: one protocol, and a module for each kind of log.

The loop asks a :class:`Source` for a model's windows and rows. What the loop itself has to remember (which windows
were handled, the journal, the pointer) stays in :mod:`selfheal.table`, wherever the rows are.
"""

from selfheal.log.own import OwnTable
from selfheal.log.source import Source, Tally

__all__ = ["OwnTable", "Source", "Tally"]
