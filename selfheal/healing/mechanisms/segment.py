"""A part of the rows sends a column in another unit: a country, a client, a version of an app. Named, and refused.

Two senders are told apart by the values of the column itself, which must not overlap; here each level of another column
is held against its own healthy rows, so one that sends what only it could not have sent is found, too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.adapter import ColumnMap
from selfheal.drift import stats
from selfheal.drift.context import calendar
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case, once_a_case
from selfheal.healing.fits import known, matching
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding
from selfheal.healing.segments import levels, where

FEWEST = 30
"""Rows from which a level is held against its own healthy ones: fewer may differ by a quarter of their spread."""

SHIFTED = 0.35
"""Of the healthy spread (10 to 90 %): by so much must a level's middle or its 90 % quantile have moved ..."""

APART = 0.5
"""... and by this KS distance its values, before a conversion is looked for ..."""

NATURAL = 2.0
"""... and by this many times the largest distance of a healthy window's rows with these levels: of calm hours the air
is dry in one week and damp in the next."""

WITNESSES = 3
"""Healthy windows that must have had such rows to say how far they may move."""

MOST = 0.5
"""Share of the rows up to which it is a segment where a conversion of all rows would do: the others may be too few."""

ALIKE = 0.3
"""Of what is natural: conversions that leave so much more than the best one fit alike: the one that the column's name
says is named, or the simplest."""

ZEROS = 0.2
"""Share of zeros from which they hide what happened to the other values."""


@dataclass(frozen=True)
class Part:
    """Levels of a column in whose rows another column has been converted.

    Attributes
    ----------
    by, levels
        The column that tells the rows, and which of its values they have.
    columns
        What undoes it, per converted column, in model units.
    share
        Of the window's rows.
    left
        How far the columns lie from their healthy values once it is undone, at most 1: in what is natural.
    """

    by: str
    levels: tuple[object, ...]
    columns: dict[str, ColumnMap]
    share: float
    left: float

    def __str__(self) -> str:
        parts = [f"column {c!r} is {one.describe()}" for c, one in self.columns.items()]
        rows = f"in the rows where {where(self.by, self.levels)} ({self.share:.0%}), and as ever in the others"
        return f"{'; '.join(parts)} {rows}"


def explain(case: Case) -> Finding | None:
    """Whether a known conversion of a segment's rows makes it natural, where the other rows are."""
    part = converted(case)
    if part is None:
        return None
    n = len(part.columns)
    return Finding("segment", "data_fault", True, "columns", n, 0.0, str(part), decision="refuse")


@once_a_case
def converted(case: Case) -> Part | None:
    """The segment in which most columns have been converted; of several the one that is natural again."""
    rows = case.model.model_units(case.sent)
    pool = case.stick.pool_frame
    counted = {c for j, c in enumerate(case.model.features) if case.stick.support.counted(j)}
    # A month is no sender: what its rows are like is the season's, or of the few storms that there were.
    dated = calendar(case.model)
    columns = [c for c in case.numeric if c not in dated and (c in counted or c not in case.code_columns)]
    apart, bounds = case.judged_raw.distance, case.stick.bounds
    moved = (apart.marginal > bounds.marginal) | (apart.outside > bounds.outside)
    senders = [c for c, odd in zip(case.model.features, moved, strict=True) if c not in dated and not odd]
    parts = [part for by in senders for part in _parts(case, rows, pool, by, columns)]
    return min(parts, key=lambda part: (-len(part.columns), part.left), default=None)


def _parts(case: Case, rows: pd.DataFrame, pool: pd.DataFrame, by: str, columns: list[str]) -> list[Part]:
    """What the levels of one column tell: levels with the same columns converted by the same maps are one part."""
    known = levels(pool[by], len(pool) // FEWEST)
    if not known:
        return []
    now, usual = ({level: (frame[by] == level).to_numpy() for level in known} for frame in (rows, pool))
    asked = [level for level in known if min(now[level].sum(), usual[level].sum()) >= FEWEST]
    parts: dict[tuple[object, ...], dict[str, tuple[ColumnMap, float]]] = {}
    for column in columns:
        if column == by:
            continue
        x, y = rows[column].to_numpy(np.float64, na_value=np.nan), pool[column].to_numpy(np.float64, na_value=np.nan)
        odd = tuple(level for level in asked if _shifted(x[now[level]], y[usual[level]]))
        if not odd or len(odd) == len(known):
            continue
        inside, before = (np.logical_or.reduce([of[level] for level in odd]) for of in (now, usual))
        if inside.mean() > MOST and column in matching.conversions(case):
            continue
        one = _conversion(case, case.model.features.index(column), (x, inside), (y, before))
        if one is not None and _unnatural(case, by, odd, column, stats.ks(*_telling(x[inside], y[before]))):
            parts.setdefault(odd, {})[column] = one
    return [
        Part(
            by,
            odd,
            {column: one for column, (one, _) in maps.items()},
            float(np.logical_or.reduce([now[level] for level in odd]).mean()),
            max(left for _, left in maps.values()),
        )
        for odd, maps in parts.items()
    ]


def _unnatural(case: Case, by: str, odd: tuple[object, ...], column: str, apart: float) -> bool:
    """Whether the rows with some levels lie farther from the pool's than those of any healthy window did."""
    usual = case.stick.pool_frame.loc[case.stick.pool_frame[by].isin(odd), column].to_numpy(np.float64, na_value=np.nan)
    seen = 0
    for block in case.stick.blocks:
        values, before = _telling(block.loc[block[by].isin(odd), column].to_numpy(np.float64, na_value=np.nan), usual)
        if len(values) >= FEWEST // 3 and len(before):
            seen += 1
            if NATURAL * stats.ks(values, before) > apart:
                return False
    return seen >= min(WITNESSES, len(case.stick.blocks))


def _shifted(values: Floats, usual: Floats) -> bool:
    """Whether a level's values have moved or widened beyond what is to be expected of so few."""
    values, usual = _telling(values, usual)
    if min(len(values), len(usual)) < FEWEST:
        return False
    now, before = (np.quantile(sample, [0.5, 0.9]) for sample in (values, usual))
    wide = float(np.ptp(np.quantile(usual, [0.1, 0.9]))) or float(np.ptp(usual))
    return bool((np.abs(now - before) > SHIFTED * wide).any()) and stats.ks(values, usual) >= APART


Sample = tuple[Floats, NDArray[np.bool_]]


def _conversion(case: Case, j: int, now: Sample, usual: Sample) -> tuple[ColumnMap, float] | None:
    """The known conversion under which a part's values are those of its healthy rows; the rest are so only without."""
    (x, inside), (y, before) = now, usual
    if case.stick.bounds.marginal[j] >= APART or _far(case, j, x[~inside], y[~before]) > 1:
        return None
    tried = [(c, _far(case, j, c.map.apply(x[inside]), y[before])) for c in known.plausible(case, j)]
    least = min(left for _, left in tried)
    alike = [(c, left) for c, left in tried if left <= least + ALIKE]
    named = [(c, left) for c, left in alike if known.by_name(case, case.model.features[j], c.map)]
    best, left = min(named or alike, key=lambda one: (one[0].rank, one[1]))
    fits = left <= 1 < _far(case, j, best.map.apply(x[~inside]), y[~before])
    return (best.map, left) if fits else None


def _far(case: Case, j: int, values: Floats, usual: Floats) -> float:
    """KS distance of two samples of one column, over what is natural and what so few may have by chance."""
    values, usual = _telling(values, usual)
    if min(len(values), len(usual)) < FEWEST:
        return np.inf
    natural = max(case.stick.bounds.marginal[j], stats.ks_chance(len(values), len(usual)))
    return float(stats.ks(values, usual) / natural)


def _telling(values: Floats, usual: Floats) -> tuple[Floats, Floats]:
    """The values that are there; without zeros, which are zeros in both units, where as many are as ever."""
    values, usual = values[np.isfinite(values)], usual[np.isfinite(usual)]
    zeros = [float((sample == 0).mean()) if len(sample) else 0.0 for sample in (values, usual)]
    if min(zeros) < ZEROS or abs(zeros[0] - zeros[1]) > ZEROS / 2:
        return values, usual
    return values[values != 0], usual[usual != 0]


MECHANISM = Mechanism("segment", rank=35, explain=explain, needs=(UNUSUAL_AS_SENT,))
