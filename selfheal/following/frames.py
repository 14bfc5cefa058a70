"""A data frame as a request: the same checks, in the same words, as of rows that come over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from selfheal.errors import InputError, shown
from selfheal.serving.checked import checked_words
from selfheal.serving.ids import next_ids
from selfheal.serving.params import checked_ids, checked_times, now_us
from selfheal.serving.requests import Request
from selfheal.serving.scorer import Scorer
from selfheal.table.values import EARLIEST, LATEST, to_us


def frame_of(rows: Any) -> pd.DataFrame:
    """Rows as a pandas frame: one, or what says how it becomes one (Polars, Arrow).

    Raises
    ------
    InputError
        It is no table, or names a column twice.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else rows.to_pandas() if hasattr(rows, "to_pandas") else None
    if not isinstance(frame, pd.DataFrame):
        raise InputError(
            f"rows must be a DataFrame with a column per feature, not {type(rows).__name__}; a dict is made one by "
            "pd.DataFrame([row])"
        )
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"the frame names column {shown(twice)} twice; leave one out", column=str(twice))
    return frame


def request_of(
    frame: pd.DataFrame, scorer: Scorer, ids: Any, event_times: Any, *, latest_us: float
) -> tuple[Request, pd.DataFrame]:
    """The checked request that a frame is, and its checked rows as the model takes them.

    Parameters
    ----------
    frame : DataFrame [n, >= d]
        Columns that are no features are left alone.
    ids, event_times
        A list, Series, index or array [n]; None: new ids, and now.
    latest_us
        Event times after this are refused.

    Raises
    ------
    InputError
        Naming what is wrong, and the remedy.
    """
    n = len(frame)
    rows, numbers = scorer.signature.checked(frame)
    words = checked_words({name: _texts(rows[name]) for name in scorer.texts}, scorer) if scorer.texts else []
    names = next_ids(n) if ids is None else checked_ids(_listed(ids), n, "ids")
    times = [now_us()] * n if event_times is None else _times(event_times, n, latest_us)
    return Request(numbers, words, names, times, durable=False), rows


def _texts(column: pd.Series[Any]) -> Sequence[Any]:
    """Values of a text column, every kind of gap as None."""
    gaps = column.isna()
    return column.astype(object).mask(gaps, None).tolist() if gaps.any() else column.tolist()


def _times(event_times: Any, n: int, latest_us: float) -> list[int]:
    kept = event_times if isinstance(event_times, pd.DatetimeIndex) else getattr(event_times, "dt", None)
    if n and kept is not None and kept.tz is not None and len(event_times) == n and not event_times.isna().any():
        made = pd.DatetimeIndex(event_times).as_unit("us").tz_convert(None).to_numpy().astype(np.int64)
        if to_us(EARLIEST) <= made.min() and made.max() < min(latest_us, to_us(LATEST)):
            return [int(at) for at in made.tolist()]
    return checked_times(_listed(event_times), n, latest_us, "event_times")


def _listed(values: Any) -> Any:
    """A Series, index or array as a list; numpy's times with their zone missing stay refusable."""
    if isinstance(values, pd.Series | pd.Index):
        return values.astype(object).tolist()
    return values.tolist() if hasattr(values, "tolist") else list(values) if isinstance(values, tuple) else values
