"""Before anything is asked: which rows of the window can be used, and which columns are plainly broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.yardstick import cut
from selfheal.model import MonitoredModel

MIN_ROWS = 100
"""Fewer rows say too little: below 400 prior and rule heals are missed, below 100 half a window is noise."""

MAX_ROWS = 5000
"""A larger window is sampled down to this, in time order: every statistic is settled to a percent by then."""

WILD = 50.0
"""A value farther than this many of the window's own 5-95 % ranges from its median is a broken row, not a unit."""

MOSTLY_ONE = 0.9
"""A column that had one value on this share of a healthy window may well have nothing else in another."""

REPEATS = 5
"""More copies of one row than this, and than the reference has, are a replay: one is kept."""


@dataclass(frozen=True)
class Cleaned:
    """The usable rows, and what was wrong.

    Attributes
    ----------
    rows : DataFrame [m, d], raw, in the window's order.
    dropped
        Share of rows left out.
    faults
        Broken columns, in words; any of them makes the window a data fault.
    """

    rows: pd.DataFrame
    dropped: float
    faults: list[str]


def clean(model: MonitoredModel, window: pd.DataFrame, healthy: Sequence[pd.DataFrame] = (), seed: int = 0) -> Cleaned:
    """Drop rows that are not finite, wild or replayed; name columns that are missing, empty, text or frozen.

    Parameters
    ----------
    healthy
        Healthy windows in model units: what has been frozen or missing there is no fault (a dry week has no rain).
    """
    missing = [c for c in model.features if c not in window.columns]
    if missing:
        return Cleaned(window.iloc[:0], 1.0, [f"column {c!r} is missing" for c in missing])
    frame = window[list(model.features)]
    known = [*healthy, *cut(model.reference, max(len(frame), 1))]
    faults = [fault for c in model.features if (fault := _broken(model, frame[c], known))]
    if faults or not len(frame):
        return Cleaned(frame, 0.0, faults)
    numeric = [c for c in model.features if model.dtypes[c] != "str"]
    frame = frame.astype({c: np.float64 for c in numeric if frame[c].dtype.kind not in "fiub"})
    good = _finite(model, frame, numeric) & ~_wild(frame[numeric].to_numpy(dtype=np.float64))
    good &= ~_replayed(frame, _most_repeats(model.reference))
    rows = frame[good]
    if len(rows) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), MAX_ROWS, replace=False))
        rows = rows.iloc[chosen]
    return Cleaned(rows, float(1 - good.mean()), [])


def _broken(model: MonitoredModel, column: pd.Series, healthy: Sequence[pd.DataFrame]) -> str:
    """Why a column cannot be what it says, or nothing."""
    name = str(column.name)
    if not len(column):
        return ""
    if column.isna().all():
        return f"column {name!r} is empty"
    if model.dtypes[name] != "str":
        numbers = pd.to_numeric(column, errors="coerce")
        text = numbers.isna() & column.notna()
        if text.mean() > 0.5:
            return f"column {name!r} holds text ({column[text].iloc[0]!r}), not numbers"
    nulls, usual = float(column.isna().mean()), max(float(block[name].isna().mean()) for block in healthy)
    if nulls > 0.2 + 1.5 * usual:
        return f"column {name!r} is {nulls:.0%} missing (at most {usual:.0%} in healthy windows)"
    frozen = len(column) >= MIN_ROWS and column.nunique() == 1
    if frozen and all(_varies(block[name]) for block in healthy):
        return f"column {name!r} is frozen at {column.dropna().iloc[0]}"
    return ""


def _varies(column: pd.Series) -> bool:
    """Whether no value holds nearly all of a healthy window."""
    shares = column.value_counts(normalize=True, dropna=False)
    return not len(shares) or float(shares.iloc[0]) < MOSTLY_ONE


def _finite(model: MonitoredModel, frame: pd.DataFrame, numeric: list[str]) -> NDArray[np.bool_]:
    strict = [c for c in numeric if c not in model.nullable]
    values = frame[numeric].to_numpy(dtype=np.float64)
    finite = ~np.isinf(values).any(axis=1)
    if strict:
        finite &= np.isfinite(frame[strict].to_numpy(dtype=np.float64)).all(axis=1)
    return np.asarray(finite)


def _wild(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        finite = np.where(np.isfinite(values), values, np.nan)
        usable = ~np.isnan(finite).all(axis=0)
        finite = finite[:, usable]
        middle, low, high = (np.nanquantile(finite, q, axis=0) for q in (0.5, 0.05, 0.95))
        wide = np.where(high > low, high - low, np.inf)
        return np.asarray((np.abs(finite - middle) > WILD * wide).any(axis=1))


def _copies(frame: pd.DataFrame) -> pd.Series:
    return pd.util.hash_pandas_object(frame, index=False)


def _most_repeats(reference: pd.DataFrame) -> int:
    return int(_copies(reference).value_counts().iloc[0]) if len(reference) else 1


def _replayed(frame: pd.DataFrame, usual: int) -> NDArray[np.bool_]:
    """Rows that repeat another one beyond what is usual; the first of each is kept."""
    codes = _copies(frame)
    counts = codes.map(codes.value_counts())
    return np.asarray((counts > max(REPEATS, usual)) & codes.duplicated())
