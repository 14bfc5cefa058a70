"""Before anything is asked: which rows of the window can be used, and which columns are plainly broken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.guards import problems
from selfheal.model import MonitoredModel

MIN_ROWS = 100
"""Fewer rows say too little: below 400 prior and rule heals are missed, below 100 half a window is noise."""

MAX_ROWS = 5000
"""A larger window is sampled down to this, in time order: every statistic is settled to a percent by then."""

WILD = 50.0
"""A value farther than this many of the window's own interquartile ranges from its median is a broken row, not a
unit: the quartiles stand while less than a quarter of the rows is broken."""

SLACK = 0.25
"""Share of rows without a usable value in a column that are dropped; more is a data fault (HEALING: a fifth of the
window in gross poison costs nothing)."""

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
    """Drop rows that cannot be read, are wild or replayed; name columns that are missing, empty, text or frozen.

    More than :data:`MAX_ROWS` that are left are sampled, in time order.

    Parameters
    ----------
    healthy
        Healthy windows in model units: what has been frozen or missing there is no fault (a dry week has no rain).
    """
    faults = [p.text for p in problems(window, model, healthy, slack=SLACK) if p.kind != "too few rows"]
    if faults or not len(window):
        return Cleaned(window.iloc[:0], 0.0, faults)
    frame = _typed(model, window)
    good = _finite(model, frame) & ~_wild(frame[_numeric(model)].to_numpy(dtype=np.float64))
    good &= ~_replayed(frame, _most_repeats(model.reference))
    rows = frame[good]
    if len(rows) > MAX_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), MAX_ROWS, replace=False))
        rows = rows.iloc[chosen]
    return Cleaned(rows, float(1 - good.mean()), [])


def usable(model: MonitoredModel, frame: pd.DataFrame) -> pd.DataFrame:
    """The features of the rows whose every number is finite where the reference's are."""
    typed = _typed(model, frame)
    return typed[_finite(model, typed)]


def _typed(model: MonitoredModel, frame: pd.DataFrame) -> pd.DataFrame:
    """The features: numbers as numbers (NaN where they are none), words as words."""
    frame = frame[list(model.features)]
    frame = frame.assign(**{c: pd.to_numeric(frame[c], errors="coerce") for c in _numeric(model)})
    # Numbers in a column of words are words never seen, not a reason for the preprocessing to fail.
    words = [c for c in model.features if _of_words(model.reference[c]) and not _of_words(frame[c])]
    return frame.assign(**{c: frame[c].astype(object).map(str, na_action="ignore") for c in words})


def _numeric(model: MonitoredModel) -> list[str]:
    return [c for c in model.features if model.dtypes[c] != "str"]


def _of_words(column: pd.Series) -> bool:
    """Whether every value that is there is text."""
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return bool(pd.api.types.infer_dtype(values, skipna=True) == "string")


def _finite(model: MonitoredModel, frame: pd.DataFrame) -> NDArray[np.bool_]:
    values = frame[_numeric(model)].to_numpy(dtype=np.float64)
    strict = frame[[c for c in _numeric(model) if c not in model.nullable]].to_numpy(dtype=np.float64)
    return np.asarray(~np.isinf(values).any(axis=1) & np.isfinite(strict).all(axis=1))


def _wild(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        finite = np.where(np.isfinite(values), values, np.nan)
        usable = ~np.isnan(finite).all(axis=0)
        finite = finite[:, usable]
        middle, low, high = np.nanquantile(finite, (0.5, 0.25, 0.75), axis=0)
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
