"""Words that preprocessing refuses: an encoder that was not told what to do with one it never met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def refused(
    transform: Callable[[pd.DataFrame], object], known: pd.DataFrame, rows: pd.DataFrame, columns: Iterable[str]
) -> dict[str, NDArray[np.bool_]]:
    """Per column of words, the rows [n] whose word preprocessing refuses; columns that it takes whole are left out.

    Parameters
    ----------
    transform
        The preprocessing.
    known
        Rows that it is known to take; only words that they lack are asked.
    """
    found = {}
    for column in columns:
        met = set(known[column])
        strange = [word for word in rows[column].dropna().unique() if word not in met]
        words = _refused(transform, known.iloc[:1], column, strange)
        if words:
            found[column] = rows[column].isin(words).to_numpy()
    return found


def _refused(
    transform: Callable[[pd.DataFrame], object], row: pd.DataFrame, column: str, words: Sequence[str]
) -> list[str]:
    """Those of some words, found by halving: all are asked at once, and mostly none is refused."""
    if not words:
        return []
    asked = row.loc[row.index.repeat(len(words))].assign(**{column: list(words)})
    try:
        transform(asked)
    except (ValueError, TypeError, KeyError):
        half = len(words) // 2
        if not half:
            return [*words]
        parts = (words[:half], words[half:])
        return [word for part in parts for word in _refused(transform, row, column, part)]
    return []
