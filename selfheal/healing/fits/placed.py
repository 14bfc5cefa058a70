"""Whether a column is back in its place and as wide as it was: a conversion that it did not go through leaves a slope.

A distribution test is blind to a factor near 1: at 1,000 rows the KS bound lets a column through that is a quarter too
narrow, and `1.4·x + 25` then passes for a known conversion. Place and width themselves say more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from selfheal.adapter import ColumnMap
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import MARGIN
from selfheal.healing.case import Case, once_a_case

QUANTILES = np.linspace(0.04, 0.96, 24)
"""Of a column, through which the line is laid: without the tails, as fits are (lines)."""

Z = 3.0
"""Standard errors that chance may take: of right conversions three in a thousand are then asked about."""

RESAMPLES = 60
"""Of the healthy rows, in the window's length: they give the standard errors, whatever the column's shape."""

NEAR = 1.0
"""Log of a factor up to which an instrument could as well have been set anew: nothing recalibrates by 25.4."""

TOLD = 0.15
"""Width within which a column must be known to tell a conversion from a line near it: 300 rows of a normal column. At
200 rows `1.4·x + 25` passed for km/h → knots in 12 of 12 worlds, and `0.7·x − 5` for miles → kilometres."""


FACTOR = 0.015
"""The same for a factor without an offset. Listed ones near 1 lie some 8 % apart: of thirty changes by 1.5 to 2.2, 2.5
and their inverses fifteen had gone out at 1,000 rows under the name of a unit that was not theirs."""


AWAY = 10.0
"""Spreads from zero at which a factor moves a column to where no recalibration and no population goes: volts, kelvin,
years. Pulses lie at six, and those of infants at 1.9 times them. Nor does a population go so far by an offset alone:
revolutions a minute that fell by 250 to 290 were "°C → K", 1.5 of their spreads."""

FAR, FAR_ROOM = float(np.log(10)), 2.0
"""Log of a factor whose neighbours lie so far away that a window unlike the ones before is none of them, and the bounds
of place and width within which it is back then: right ones by 100 and more were asked about at 1.00 to 1.61."""


def leeway(one: ColumnMap) -> float:
    """Within how many bounds of its place a column is back beside drift."""
    return FAR_ROOM if not one.offset and abs(np.log(max(abs(one.scale), 1e-300))) >= FAR - 1e-9 else 1.0


@dataclass(frozen=True)
class Placed:
    """Where a mapped column lies.

    Attributes
    ----------
    ratio
        How far place and width lie from healthy ones, over what chance and nature do: > 1 where it is not back.
    width
        Within which share so many rows tell its width.
    factor
        The same of a factor by its place: 281 kelvin ± 9 know one to a few percent. Infinite around zero.
    near
        Within which share of the usual place it lies, seen from zero: 244 volts for 241 are within 2 %.
    spread
        Standard deviation of its usual values, without the tails.
    """

    ratio: float = 0.0
    width: float = 0.0
    factor: float = np.inf
    near: float = np.inf
    spread: float = 0.0


def placed(case: Case, column: str, mapped: Floats) -> Placed:
    """Hold place and width of a mapped column against those of healthy windows.

    Parameters
    ----------
    mapped : float [m], the column's values that are there, in model units.
    """
    usual = _usual(case)(column, len(mapped))
    if usual is None:
        return Placed()
    off = np.abs(_line(mapped, usual.levels))
    ratio, spread = float((off / np.maximum(usual.bound, 1e-9)).max()), float(usual.levels.std())
    spreads = abs(usual.levels.mean()) / spread
    if spreads < AWAY:
        return Placed(ratio, usual.width, spread=spread)
    return Placed(ratio, usual.width, float(usual.bound[1] / spreads), float(off[1] / spreads), spread)


def too_few(columns: Mapping[str, ColumnMap], column: str, where: Placed) -> bool:
    """Whether so many rows cannot tell a conversion from a line near it.

    Two columns that went through the same one are not two lines that look like it by chance; nor is a scale and an
    offset that are both as listed, or one factor that is right for the width and for a place far from zero. But of
    other factors the listed ones lie so close that any from 1.5 to 2.7 is near one.
    """
    one = columns[column]  # a sign alone is like no line near it
    if one.scale < 0 or abs(np.log(abs(one.scale))) >= NEAR or sum(m.words == one.words for m in columns.values()) > 1:
        return False
    if one.scale == 1 and one.modulo is None and " → " in one.words:
        return abs(one.offset) < AWAY * where.spread
    return where.width > (TOLD if one.offset or where.factor <= TOLD else FACTOR)


@dataclass(frozen=True)
class _Usual:
    """A column's healthy quantiles [24], how far [log slope, shift] may lie from them, and the slope by chance."""

    levels: Floats
    bound: Floats
    width: float


@once_a_case
def _usual(case: Case) -> Callable[[str, int], _Usual | None]:
    """What is usual of a column in so many rows; it is the same for every map that is tried."""

    @cache
    def measured(column: str, n: int) -> _Usual | None:
        pool = case.present(case.stick.pool_frame, column)
        levels = np.quantile(pool, QUANTILES) if min(len(pool), n) >= 2 else np.zeros(1)
        if levels.std() == 0:
            return None
        rng = np.random.default_rng(case.seed)
        drawn = np.array([_line(rng.choice(pool, n), levels) for _ in range(RESAMPLES)])
        blocks = np.array([_line(case.present(block, column), levels) for block in case.stick.blocks])
        chance = Z * drawn.std(axis=0) * np.sqrt(1 + n / len(pool))
        return _Usual(levels, np.maximum(chance, MARGIN * np.abs(blocks).max(axis=0)), float(chance[0]))

    return measured


def _line(values: Floats, levels: Floats) -> Floats:
    """[log slope, shift in spreads] of the line from healthy quantiles to those of some values."""
    quantiles = np.quantile(values, QUANTILES)
    centred = levels - levels.mean()
    slope = max(float((quantiles * centred).sum() / (centred**2).sum()), 1e-6)
    return np.array([np.log(slope), (quantiles.mean() - levels.mean()) / levels.std()])
