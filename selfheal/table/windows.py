"""Windows tumble: of event time, or of rows by arrival; the arithmetic, free of any database.

A window of duration h covers ``[k·h, (k+1)·h)``; a window of N rows covers every next N rows in order of arrival.
Windows that hold fewer rows than asked are joined with the next, at most three together, and are then given out as
``too_few``. Stretches of time without a single row give no window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

MAX_JOINED = 3
"""A window that stays under ``min_rows`` is joined until it spans this many (docs/concepts.md)."""


@dataclass(frozen=True)
class WindowRef:
    """Names one window of one model.

    Attributes
    ----------
    model
        The model's name.
    index
        0, 1, 2 … in the order in which the model's windows closed.
    start, end
        Event time ``[start, end)``, UTC. For a window of rows: of its earliest row, and just after its latest.
    rows
        How many rows it held when it closed.
    joined
        Of how many windows of the policy's length it is made (1 to 3).
    too_few
        Whether it holds fewer rows than the policy's ``min_rows`` even so.
    seqs
        For a window of rows: the arrival numbers ``(after, last]``; None for a window of time.
    """

    model: str
    index: int
    start: datetime
    end: datetime
    rows: int
    joined: int
    too_few: bool
    seqs: tuple[int, int] | None = None


@dataclass(frozen=True)
class Window:
    """The rows of one window, in order of event time.

    Attributes
    ----------
    ref
        Which window.
    frame
        Raw features as they were sent, index ``prediction_id``: float64, int64, bool and object columns. An integer
        or truth-value column in which something else was sent (or nothing) comes as float64.
    probabilities
        float64 ``[n, k]``, columns in the order of the model's classes.
    versions
        int64 ``[n]``: the model version that answered each row.
    event_times
        UTC times ``[n]``.
    labels
        Class labels on the frame's index, NaN where none has come.
    """

    ref: WindowRef
    frame: pd.DataFrame
    probabilities: npt.NDArray[np.float64]
    versions: npt.NDArray[np.int64]
    event_times: pd.DatetimeIndex
    labels: pd.Series

    def take(self, places: npt.NDArray[np.int64]) -> Window:
        """Some of its rows, by their places in it."""
        return Window(
            self.ref, self.frame.iloc[places], self.probabilities[places], self.versions[places],
            self.event_times[places], self.labels.iloc[places],
        )  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Base windows ``first … last`` taken together, and the rows in them."""

    first: int
    last: int
    rows: int
    too_few: bool


def join_windows(counts: Mapping[int, int], *, closed: int, min_rows: int) -> list[Span]:
    """Join base windows until each result holds enough rows.

    Parameters
    ----------
    counts
        Base window → its number of rows; windows without rows may be left out.
    closed
        Base windows below this number are closed; what would need a later one is not decided yet and left out.
    min_rows
        What a window should hold.

    Examples
    --------
    >>> join_windows({0: 10, 1: 2, 2: 9, 7: 1}, closed=20, min_rows=5)
    [Span(first=0, last=0, rows=10, too_few=False), Span(first=1, last=2, rows=11, too_few=False), \
Span(first=7, last=9, rows=1, too_few=True)]
    """
    spans: list[Span] = []
    cursor: int | None = None
    for first in sorted(base for base, rows in counts.items() if rows > 0):
        if cursor is not None and first < cursor:
            continue  # part of the span before
        rows, last = 0, first
        for last in range(first, first + MAX_JOINED):
            if last >= closed:
                return spans
            rows += counts.get(last, 0)
            if rows >= min_rows:
                break
        spans.append(Span(first, last, rows, too_few=rows < min_rows))
        cursor = last + 1
    return spans


def spread(n: int, limit: int) -> npt.NDArray[np.int64]:
    """``min(n, limit)`` positions spread evenly over ``0 … n-1``.

    >>> spread(10, 4).tolist()
    [0, 2, 5, 7]
    """
    kept = min(n, limit)
    return np.arange(kept, dtype=np.int64) * n // max(kept, 1)
