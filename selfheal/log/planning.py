"""Which windows have closed in a log that lies elsewhere; pure arithmetic over the times and numbers of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from selfheal.table.cycles import AHEAD_US, Mark, bounds_of
from selfheal.table.windows import join_windows

Whole = npt.NDArray[np.int64]


def by_time(times: Whole, length: int, mark: Mark, horizon: int, min_rows: int) -> list[dict[str, Any]]:
    """Windows of ``length`` µs that closed by ``horizon``, since ``mark``.

    >>> [b["row_count"] for b in by_time(np.array([1, 2, 11, 25]), 10, Mark(None, None, None), 30, 1)]
    [2, 1, 1]
    """
    first = mark.end
    fresh = times if first is None else times[times >= first]
    bases, counts = np.unique(fresh // length, return_counts=True)
    rows = dict(zip(bases.tolist(), counts.tolist(), strict=True))
    closed = horizon // length
    return [
        bounds_of(span, max(span.first * length, span.first * length if first is None else first),
                  (span.last + 1) * length)
        for span in join_windows(rows, closed=closed, min_rows=min_rows)
    ]  # fmt: skip


def by_rows(numbers: Whole, times: Whole, length: int, mark: Mark, horizon: int, min_rows: int) -> list[dict[str, Any]]:
    """Windows of ``length`` rows in order of their numbers.

    >>> found = by_rows(np.array([4, 1, 2, 3]), np.array([9, 1, 2, 5]), 2, Mark(None, None, None), 30, 1)
    >>> [(b["after_seq"], b["last_seq"], b["start_us"], b["end_us"]) for b in found]
    [(0, 2, 1, 3), (2, 4, 5, 10)]
    """
    mask = times < horizon + AHEAD_US  # a row of the future would keep its window, and all later ones, from closing
    if mark.seq is not None:
        mask &= numbers > mark.seq
    elif mark.end is not None:  # the policy changed from windows of time: begin after what they covered
        mask &= times >= mark.end
    order = np.argsort(numbers[mask], kind="stable")
    numbers, times = numbers[mask][order], times[mask][order]
    full = len(numbers) // length
    out = []
    for span in join_windows(dict.fromkeys(range(full), length), closed=full, min_rows=min_rows):
        inside = slice(span.first * length, (span.last + 1) * length)
        end = int(times[inside].max()) + 1
        if end > horizon:
            break
        numbered = {"after_seq": int(numbers[inside][0]) - 1, "last_seq": int(numbers[inside][-1])}
        out.append(bounds_of(span, int(times[inside].min()), end) | numbered)
    return out
