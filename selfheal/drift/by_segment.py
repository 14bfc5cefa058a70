"""Health by the columns that the owner names: each country, client or site against its own healthy windows.

Of rows that are a tenth of all, what happens to them hardly moves the whole. What is found here is said and decides
nothing: the two signals of the whole window do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selfheal.drift.signals import OF_A_PART, Signal, data_signal
from selfheal.drift.yardstick import Yardstick, cut, thinned
from selfheal.model import MonitoredModel

FEWEST = 200
"""Rows of a segment below which nothing is said of it: half of what a window needs to show a shift (docs/notes.md)."""

MOST = 12
"""Segments of a window that are looked at, the largest first: each costs what a small window does."""

ROWS = 5_000
"""A larger segment is thinned to this, evenly."""

HEALTHY = 3
"""Healthy windows that a segment must have been in, or as many parts of the reference: one has no spread to show."""


@dataclass(frozen=True)
class Segment:
    """The rows of a window that hold one value of a column.

    Attributes
    ----------
    column, value
        The column, and the value in words.
    rows
        Positions in the window, int [n].
    signal
        What the data say of them; None where too few healthy rows hold the value.
    """

    column: str
    value: str
    rows: NDArray[np.int64]
    signal: Signal | None


def by_segment(
    model: MonitoredModel, frame: pd.DataFrame, recent: Sequence[pd.DataFrame], columns: Sequence[str]
) -> list[Segment]:
    """Each large enough part of a window against the same part of the healthy ones.

    Parameters
    ----------
    frame : DataFrame [n, d], raw.
    recent
        Healthy windows in model units, oldest first.
    columns
        Whose values name the parts.
    """
    units = model.model_units(frame)
    parts = sorted(_parts(units, columns), key=lambda part: -len(part[2]))[:MOST]
    with threadpool_limits(1):
        return [
            Segment(column, f"{value:g}" if isinstance(value, float) else str(value), rows,
                    _signal(model, units.iloc[rows], recent, column, value))
            for column, value, rows in parts
        ]  # fmt: skip


def _parts(units: pd.DataFrame, columns: Sequence[str]) -> Iterator[tuple[str, object, NDArray[np.int64]]]:
    for column in columns:
        for value, count in units[column].value_counts().items():
            if count >= FEWEST:
                yield column, value, np.flatnonzero((units[column] == value).to_numpy())


def _signal(
    model: MonitoredModel, part: pd.DataFrame, recent: Sequence[pd.DataFrame], column: str, value: object
) -> Signal | None:
    rows = thinned(part, ROWS)
    before = [own for window in recent if len(own := window[window[column] == value]) >= FEWEST // 2]
    if len(before) < HEALTHY:
        known = model.reference[model.reference[column] == value]
        before = cut(known, min(len(rows), max(len(known) // HEALTHY, 1)))
    if len(before) < HEALTHY or min(map(len, before)) < FEWEST // 2:
        return None
    return data_signal(Yardstick(model, before, len(rows), window=rows), rows, OF_A_PART)
