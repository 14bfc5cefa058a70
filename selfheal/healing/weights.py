"""A log that samples: how many served rows a logged one stands for, and a fair draw of the served ones out of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.errors import InputError

MOST = 0.01
"""Share of a window that one row may stand for: a single odd one must not be a hundred."""


def fair_draw(window: pd.DataFrame, weights: pd.Series, seed: int) -> NDArray[np.int64]:
    """Positions of rows that are a fair draw of what was served, in order: drawn by weight, none twice.

    A row drawn twice would look like one that was sent again; so of rows that stand for many all are kept, and of the
    others as many as their weights ask for (systematic sampling, Madow 1949).

    Raises
    ------
    InputError
        Weights that are not on the window's index, not finite or not above zero.
    """
    w = capped(_checked(window, weights))
    inclusion = w / w.max()
    start = np.random.default_rng([seed, len(w)]).random()
    reached = np.floor(np.cumsum(inclusion) + start)
    return np.flatnonzero(np.diff(reached, prepend=np.floor(start)) >= 1)


def capped(weights: Floats) -> Floats:
    """Weights of which none is more than :data:`MOST` of their sum; of a hundred rows or fewer all are equal."""
    if len(weights) * MOST <= 1.0:
        return np.ones(len(weights))
    order = np.sort(weights)[::-1]
    for k in range(len(order)):  # the k heaviest are cut to one height, of which the rest leaves 1 - k · MOST
        height = order[k:].sum() * MOST / (1 - k * MOST)
        if order[k] <= height:
            return np.asarray(np.minimum(weights, height))
    return np.ones(len(weights))


def _checked(window: pd.DataFrame, weights: pd.Series) -> Floats:
    if not weights.index.equals(window.index):
        raise InputError(
            f"weights: {len(weights)} values whose index is not the window's {len(window)} rows; give one a row, on "
            "the window's index"
        )
    values = weights.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(values) | (values <= 0)
    if bad.any():
        row = window.index[int(np.flatnonzero(bad)[0])]
        raise InputError(
            f"weights: {values[bad][0]:g} of row {row!r} is not a finite number above zero: it says how many served "
            "rows a logged one stands for, 1 where the log keeps all"
        )
    return np.asarray(values)
