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
from scipy.stats import norm
from sklearn.covariance import ledoit_wolf

from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.fits.label_shift import em_prior
from selfheal.healing.fits.shares import Shift, log_ratio

Places = NDArray[np.int64]

PART = 0.4
"""Of the shift, what a column must look like by itself to be its rival. Of 15 that moved alone, or that rows were drawn
by, 14 looked like .94 to 1.35 of one, the other like .55 (docs/notes.md)."""

FOLLOWED = float(norm.isf(0.01))
"""Standard errors by which the other columns must have followed: 2.3. Where they tell the classes too they do by more
than three (12 true shifts in six worlds); where they hardly do, most true shifts are asked about as well."""

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
    stick, names = case.stick, list(case.model.features)
    moved = case.judged_raw.distance.marginal
    tried = sorted(case.numeric, key=lambda c: -moved[names.index(c)])[:MOST]
    rivals = [c for c in tried if _part(case, shift, c) >= PART]
    if not rivals:
        return ""
    pool, window, *blocks = (stick.scale.z(x) for x in (stick.pool, case.encoded, *map(stick.encode, stick.blocks)))
    for column in rivals:
        others = [j for j, name in enumerate(names) if name != column]
        if not others:
            return f"{column} is all there is to tell class shares by: did it move by itself?"
        places = _groups(stick.pool_frame[column])
        groups = [places(rows[column]) for rows in (stick.pool_frame, case.raw, *stick.blocks)]
        rows = [x[:, others] for x in (pool, window, *blocks)]
        followed = min(_followed(rows, weights), _followed(_within(rows, groups), weights))
        if followed < FOLLOWED:
            return (
                f"{column} by itself would look the same, and the other columns do not say that the classes came "
                f"otherwise ({followed:.1f} standard errors, at least {FOLLOWED:.1f}): did {column} alone change?"
            )
    return ""


def _part(case: Case, shift: Shift, column: str) -> float:
    """Which part of the shift the pool shows once one column has the window's values, in their order."""
    pool, values = case.stick.pool_frame, case.raw[column].dropna().sort_values()
    there = np.flatnonzero(pool[column].notna())
    if not len(values) or not len(there):
        return 0.0
    tie = np.random.default_rng(case.seed).random(len(there))
    rank = np.empty(len(there), dtype=np.int64)
    rank[np.lexsort((tie, pool[column].iloc[there].to_numpy(dtype=float)))] = np.arange(len(there))
    replaced = pool[column].copy()
    replaced.iloc[there] = values.iloc[rank * len(values) // len(there)].to_numpy()
    seen = log_ratio(em_prior(case.calibrated(pool.assign(**{column: replaced})), case.prior), shift.pool)
    whole = log_ratio(shift.window, shift.pool)
    most = int(np.abs(whole).argmax())
    return float(seen[most] / whole[most])


def _groups(pool: pd.Series) -> Callable[[pd.Series], Places]:
    """What puts values into groups of equally many of the pool's rows; missing ones are a group of their own."""
    edges = np.unique(np.nanquantile(pool.to_numpy(dtype=float, na_value=np.nan), np.arange(1, STEPS) / STEPS))

    def places(values: pd.Series) -> Places:
        x = values.to_numpy(dtype=float, na_value=np.nan)
        return np.where(np.isnan(x), len(edges) + 1, np.searchsorted(edges, x, side="right"))

    return places


def _within(rows: list[Floats], groups: list[Places]) -> list[Floats]:
    """What the groups of the pool's rows, the first, leave unexplained of each."""
    count = max(int(g.max()) for g in groups) + 1
    size = np.bincount(groups[0], minlength=count)
    usual = (
        np.stack([np.bincount(groups[0], x, minlength=count) for x in rows[0].T], axis=1) / np.maximum(size, 1)[:, None]
    )
    usual[size == 0] = rows[0].mean(axis=0)
    return [x - usual[g] for x, g in zip(rows, groups, strict=True)]


def _followed(rows: list[Floats], weights: Floats) -> float:
    """By how many standard errors rows went from the pool's mean towards that of the weighted pool.

    Along the direction that tells the two means apart best (Fisher's); healthy windows show how far any goes by itself.

    Parameters
    ----------
    rows : the pool float [m, p], the window float [n, p], then healthy windows.
    """
    pool, window, *blocks = rows
    middle = pool.mean(axis=0)
    gap = weights @ pool / weights.sum() - middle
    covariance, _ = ledoit_wolf(pool)
    direction = np.linalg.lstsq(covariance, gap, rcond=None)[0]
    chance = np.var(window @ direction) / len(window) + np.var(pool @ direction) / len(pool)
    natural = float(np.mean([((block.mean(axis=0) - middle) @ direction) ** 2 for block in blocks]))
    return float((window.mean(axis=0) - middle) @ direction / np.sqrt(max(chance, natural, 1e-18)))
