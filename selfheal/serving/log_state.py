"""What a process says of its log, and of each entry in it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from selfheal.serving.spill import Row, Segment

_log = logging.getLogger("selfheal.serving")

RECENT_S = 300.0
"""A loss is a complaint for so many seconds; after that it is a number."""


@dataclass
class LogState:
    """What /health and /metrics tell of the log; written by one thread, read by another.

    Attributes
    ----------
    waiting
        Rows that were taken and are not committed, those that only the local file holds included.
    written, dropped, refused
        Rows committed; rows given up because neither memory nor file had room; rows that the database would not take.
    error
        Why the last commit failed, or empty.
    failing_since
        Monotonic time since which commits fail, or None.
    lost_at
        Monotonic time of the last loss, or None.
    replayed, torn
        Rows committed that a process before had left in its file, and rows that were damaged there.
    spill_bytes, spill_error
        What the local files hold, and why they cannot be written, or empty.
    """

    waiting: int = 0
    written: int = 0
    dropped: int = 0
    refused: int = 0
    error: str = ""
    failing_since: float | None = None
    lost_at: float | None = None
    replayed: int = 0
    torn: int = 0
    spill_bytes: int = 0
    spill_error: str = ""

    @property
    def lost_recently(self) -> bool:
        """Whether rows were dropped or refused within the last :data:`RECENT_S`."""
        return self.lost_at is not None and time.monotonic() - self.lost_at < RECENT_S


@dataclass(slots=True)  # one a request: a frozen one would take four times as long to make
class Entry:
    """Rows that were taken together.

    Attributes
    ----------
    size
        What they take in memory, in bytes.
    committed
        Is told whether the database took them.
    segment
        The file that has them; None where none could be written.
    at
        Monotonic time at which they were taken.
    """

    rows: list[Row]
    size: int = 0
    committed: Callable[[bool], None] | None = None
    segment: Segment | None = None
    at: float = 0.0


def first(entries: Iterable[Entry], rows: int) -> list[Entry]:
    """The first entries in line, of at most so many rows and at least one."""
    group: list[Entry] = []
    count = 0
    for entry in entries:
        count += len(entry.rows)
        if group and count > rows:
            break
        group.append(entry)
    return group


def tell(entries: Iterable[Entry], committed: bool) -> None:
    """Tell those who wait."""
    for entry in entries:
        if entry.committed is not None:
            try:
                entry.committed(committed)
            except RuntimeError:  # the event loop has closed: nobody waits any more
                _log.debug("a durable request ended before its commit")
