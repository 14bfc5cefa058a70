"""One column that came otherwise can look like other shares of the classes: the model's score cannot tell them apart.

A rating that rose by half a point, or customers who are drawn by their income, move the score as other shares would;
undone as such they cost two to six points. But other shares move every column that tells the classes: those beside the
one that moved must have followed, as they came (it moved on its own) and beyond what its values tell of them (rows were
drawn by it).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.fits.label_shift import em_prior
from selfheal.healing.fits.shares import Shift, log_ratio

PART = 0.4
"""Of the shift, what a column must look like by itself to be its rival. Of 15 that moved alone, or that rows were drawn
by, 14 looked like .94 to 1.35 of one, the other like .55 (docs/notes.md)."""

FOLLOWED = 2.0
"""Standard errors by which the other columns must have followed. Of 41 columns that moved alone, or that rows were
drawn by, the largest figure was 1.9; of true shifts in fourteen worlds in which others tell the classes too 38 of 43
lay above, up to 12."""

MOST = 12
"""Columns that are tried, those first that moved most: one that carries a shift by itself is among them."""

STEPS = 20
"""Groups of equally many rows, by a column's values, within which the others are compared."""


def rival(case: Case, shift: Shift, weights: Floats) -> str:
    """The column that explains a shift of class shares as well as the shift does, in words; empty where none does.

    Parameters
    ----------
    weights : float [m], what turns the pool's rows into ones with the shifted shares (:func:`pool_weights`).
    """
    names = list(case.model.features)
    moved = case.judged_raw.distance.marginal
    for column in sorted(case.numeric, key=lambda c: -moved[names.index(c)])[:MOST]:
        alone = _alone(case, column)
        if alone is None or _part(case, shift, alone) < PART:
            continue
        if len(names) == 1:
            return f"{column} is all there is to tell class shares by: did it move by itself?"
        followed = _followed(case, column, alone, weights)
        if followed < FOLLOWED:
            return (
                f"{column} by itself would look the same, and the other columns do not say that the classes came "
                f"otherwise ({followed:.1f} standard errors, at least {FOLLOWED:.1f}): did {column} alone change?"
            )
    return ""


def _alone(case: Case, column: str) -> pd.DataFrame | None:
    """The pool once one column has the window's values, in their order, and every other its own; None without any."""
    pool, values = case.stick.pool_frame, case.raw[column].dropna().sort_values()
    there = np.flatnonzero(pool[column].notna())
    if not len(values) or not len(there):
        return None
    tie = np.random.default_rng(case.seed).random(len(there))
    rank = np.empty(len(there), dtype=np.int64)
    rank[np.lexsort((tie, pool[column].iloc[there].to_numpy(dtype=float)))] = np.arange(len(there))
    replaced = pool[column].copy()
    replaced.iloc[there] = values.iloc[rank * len(values) // len(there)].to_numpy()
    return pool.assign(**{column: replaced})


def _part(case: Case, shift: Shift, alone: pd.DataFrame) -> float:
    """Which part of the shift such a pool shows."""
    seen = log_ratio(em_prior(case.calibrated(alone), case.prior), shift.pool)
    whole = log_ratio(shift.window, shift.pool)
    most = int(np.abs(whole).argmax())
    return float(seen[most] / whole[most])


def _followed(case: Case, column: str, alone: pd.DataFrame, weights: Floats) -> float:
    """By how many standard errors the others came as with other shares, and not as with one column: the lesser of two.

    Of each other column what the one column's value leaves unexplained in the pool, along the direction that tells two
    means apart best (Fisher's): that of the weighted pool from that where the column moved alone, and from the pool's
    own, as where rows are drawn by the column. Healthy windows show how far any goes by itself.
    """
    stick = case.stick
    others = [j for j, name in enumerate(case.model.features) if name != column]
    beside = _beside(stick.scale.z(stick.pool)[:, others], stick.pool_frame[column])

    def unexplained(frame: pd.DataFrame) -> Floats:
        return beside(stick.scale.z(stick.encode(frame))[:, others], frame[column])

    pool, window, moved = (unexplained(frame) for frame in (stick.pool_frame, case.raw, alone))
    blocks = np.array([unexplained(block).mean(axis=0) for block in stick.blocks])
    covariance, _ = ledoit_wolf(pool)
    shares = weights @ pool / weights.sum()
    followed = []
    for other in (moved.mean(axis=0), np.zeros(len(others))):
        direction = np.linalg.lstsq(covariance, shares - other, rcond=None)[0]
        chance = np.var(window @ direction) / len(window) + np.var(pool @ direction) / len(pool)
        natural = float(np.mean((blocks @ direction) ** 2))
        followed.append(float((window.mean(axis=0) - other) @ direction / np.sqrt(max(chance, natural, 1e-18))))
    return min(followed)


def _beside(rows: Floats, by: pd.Series) -> Callable[[Floats, pd.Series], Floats]:
    """What takes from rows the mean of those of like value, in groups of equally many; missing ones are a group."""
    edges = np.unique(np.nanquantile(by.to_numpy(dtype=float, na_value=np.nan), np.arange(1, STEPS) / STEPS))

    def groups(values: pd.Series) -> NDArray[np.int64]:
        x = values.to_numpy(dtype=float, na_value=np.nan)
        return np.where(np.isnan(x), len(edges) + 1, np.searchsorted(edges, x, side="right"))

    place, count = groups(by), len(edges) + 2
    size = np.bincount(place, minlength=count)
    usual = np.stack([np.bincount(place, x, minlength=count) for x in rows.T], axis=1) / np.maximum(size, 1)[:, None]
    usual[size == 0] = rows.mean(axis=0)
    return lambda frame, values: frame - usual[groups(values)]
