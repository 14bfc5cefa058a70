"""Columns that place a window and say nothing of its rows: the hour, the weekday, the month, a site.

Within a window of an hour they stand still by their nature. That is no fault and no drift, and what such a window is
held against are rows of the same context.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel

_CYCLES: Mapping[str, tuple[float, float]] = {
    "minute": (0, 59), "hour": (0, 24), "weekday": (0, 7), "dow": (0, 7), "dayofweek": (0, 7), "day": (0, 31),
    "dayofmonth": (1, 31), "dom": (1, 31), "dayofyear": (0, 366), "doy": (0, 366), "week": (0, 53),
    "weekofyear": (0, 53), "month": (0, 12), "quarter": (0, 4), "season": (0, 4), "year": (1500, 2200),
    "weekend": (0, 1), "holiday": (0, 1),
}  # fmt: skip
"""What a calendar column is called, and the whole numbers that it may hold."""

_WORDS = (
    frozenset(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]),
    frozenset(["mon", "tue", "wed", "thu", "fri", "sat", "sun"]),
)

STILL = 0.5
"""A window whose values of a calendar column make up less than this share of the reference stands still in it."""

STRAY = 0.02
"""Share of rows without such a value that is overlooked, as hygiene drops so many without a word (guards)."""

ROAMS = 6.0
"""Effective number of values (Simpson 1949) in every healthy window from which a column places none of them, whatever
it is called: the years in which houses were built."""

LEAST_ROWS = 2
"""Windows' worth of reference rows that a context must leave; it is widened until it does."""

WIDER = tuple(np.arange(0, 0.55, 0.05))
"""Shares of a cycle by which a context is widened, in turn: an hour by 1.2, a month by half."""


def calendar(model: MonitoredModel) -> frozenset[str]:
    """Columns that hold a part of the date or the time, told by name and values alike; flags of days too.

    Features that only sound so, such as ``hours_per_week`` with 99 of them, are none.
    """
    return frozenset(c for c in model.features if of_the_calendar(c, model.reference[c]))


def placing(model: MonitoredModel, healthy: Sequence[pd.DataFrame]) -> frozenset[str]:
    """Those that may stand still in a window: not what was never still in windows of which all is well."""
    return frozenset(c for c in calendar(model) if not healthy or not all(_roams(w[c]) for w in healthy if c in w))


def _roams(values: pd.Series) -> bool:
    shares = values.value_counts(normalize=True)
    return len(shares) > 0 and 1.0 / float((shares**2).sum()) >= ROAMS


def of_the_calendar(name: str, values: pd.Series) -> bool:
    """Whether a column is called as a part of date or time is, and holds what such a part can."""
    return len(values.dropna()) > 0 and _calendar_values(name, values) == 1.0


def _calendar_values(name: str, values: pd.Series) -> float:
    """Share of a column's values that a calendar column of that name may hold; 0 where the name speaks of none."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)
    spoken = {"".join(words).lower(), words[-1].lower() if words else ""} & set(_CYCLES)
    numeric = pd.api.types.is_numeric_dtype(values)
    known = values.dropna() if spoken or not numeric else values.iloc[:0]
    if not len(known):
        return 0.0
    if not numeric:
        short = {str(level)[:3].lower() for level in known.unique()}
        return float(any(short <= whole and len(short) > 2 for whole in _WORDS))
    numbers = known.astype(float)
    within = [numbers.between(*_CYCLES[one]) & (numbers % 1 == 0) for one in spoken]
    return max(float(part.mean()) for part in within)


def still(model: MonitoredModel, units: pd.DataFrame, healthy: Sequence[pd.DataFrame] = ()) -> tuple[str, ...]:
    """Context columns of a window in model units: the declared ones, and calendar columns that it hardly moves in.

    One that no longer holds parts of a date, an hour of 1013 or of 7.46, is a column like any other.
    """
    declared = model.policy.declare.context
    of_date = {c for c in placing(model, healthy) if c not in units or _places(c, units[c], model.reference[c])}
    return tuple(c for c in model.features if c in declared or c in of_date)


def _places(name: str, values: pd.Series, usual: pd.Series) -> bool:
    """Whether a calendar column stands still at some parts of the date; one of words, or without any value, too."""
    numeric = pd.api.types.is_numeric_dtype(values) and values.notna().any()
    if numeric and _calendar_values(name, values) < 1 - STRAY:
        return False
    return float(usual.isin(values.dropna().unique()).mean()) < STILL


def alike(reference: pd.DataFrame, window: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
    """Rows of the reference in a window's context, or as near to it as leaves :data:`LEAST_ROWS` windows' worth."""
    if not columns:
        return reference
    least = min(len(reference), max(LEAST_ROWS * len(window), 400))
    apart = np.max([_apart(reference[c], window[c]) for c in columns], axis=0)
    for radius in WIDER:
        near = apart <= radius
        if near.sum() >= least:
            return reference.iloc[np.flatnonzero(near)]
    return reference


def _apart(usual: pd.Series, values: pd.Series) -> NDArray[np.float64]:
    """How far rows lie from the nearest of a window's values, in shares of the cycle [m]; of words: 0 or 1."""
    if not pd.api.types.is_numeric_dtype(usual):
        return np.where(usual.isin(values.unique()), 0.0, 1.0)
    rows, there = usual.to_numpy(dtype=np.float64), values.dropna().unique().astype(np.float64)
    whole = max(float(np.nanmax(rows) - np.nanmin(rows)) + 1.0, 1.0)
    gap = np.abs(rows[:, None] - there[None, :]) % whole
    return np.asarray(np.minimum(gap, whole - gap).min(axis=1) / whole)


def placed(frame: pd.DataFrame, window: pd.DataFrame, columns: tuple[str, ...], seed: int = 0) -> pd.DataFrame:
    """The rows of a frame as they would be in a window's context: its values of these columns, drawn from its rows."""
    if not columns or not len(window):
        return frame
    rows = np.random.default_rng(seed).integers(0, len(window), len(frame))
    return frame.assign(**{c: window[c].to_numpy()[rows] for c in columns})
