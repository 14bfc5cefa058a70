"""What was refused, by name; and so many rows, when and why, until the thread that logs writes it down."""

from __future__ import annotations

import threading
from collections import Counter

from selfheal.errors import InputError, UnavailableError, shown
from selfheal.table import MINUTE_US, InferenceTable

Key = tuple[str, str]

KINDS = 100
"""Reasons and columns that are told apart: clients make up column names, and nothing here may grow with them."""
NAME = 60
"""Longest name of a column that is kept as it is."""
WAITING = 10_000
"""Counts that may wait for the database: clients date their rows, so there may be as many minutes as requests."""


class RefusalCounter:
    """Counts of one process; every method may be called from any thread.

    Attributes
    ----------
    totals
        Rows by (reason, column) since the start, for /metrics.
    """

    def __init__(self) -> None:
        self.totals: Counter[Key] = Counter()
        self._new: Counter[tuple[int, str, str]] = Counter()
        self._lock = threading.Lock()

    def count(self, error: InputError, rows: int, at_us: int) -> None:
        """Count a request's rows that were refused with ``error`` and are dated ``at_us``."""
        column = error.column
        if len(column) > NAME or not column.isprintable():  # PostgreSQL takes no NUL, UTF-8 no lone surrogate
            column = shown(column)
        with self._lock:
            if (error.reason, column) not in self.totals and len(self.totals) >= KINDS:
                column = ""
            self.totals[error.reason, column] += rows
            if len(self._new) < WAITING:
                self._new[at_us - at_us % MINUTE_US, error.reason, column] += rows

    def write(self, table: InferenceTable, model: str) -> bool:
        """Write down the counts that were not written yet; False while the database fails."""
        counts = self.take()
        try:
            if counts:
                table.refusals.add(model, counts)
        except UnavailableError:
            self.give_back(counts)
            return False
        return True

    def take(self) -> Counter[tuple[int, str, str]]:
        """The counts by (minute, reason, column) that were not taken yet."""
        with self._lock:
            taken, self._new = self._new, Counter()
            return taken

    def give_back(self, counts: Counter[tuple[int, str, str]]) -> None:
        """Counts that could not be written."""
        with self._lock:
            self._new.update(counts)
