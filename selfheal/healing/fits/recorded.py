"""Columns that left the grid they are recorded on, or their codes, and come back under exactly one known conversion.

That is proof of a kind no distribution gives: wind speeds are whole knots, written in miles per hour; in m/s none of
them is, and 2.23694 alone makes all of them so again. It holds on a day that is unlike the days before.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from selfheal.adapter import ColumnMap, InputMap
from selfheal.drift.context import of_the_calendar
from selfheal.drift.grid import DECIMALS, written
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import Distance
from selfheal.healing.case import Case
from selfheal.healing.conversions import Conversion, same
from selfheal.healing.fits.known import FINER, HALVED, Maps, plausible, rounding, stepped
from selfheal.healing.fits.placed import placed

LEFT_GRID = 0.5
"""Share of the rows that are not zero, with values that the column can not have had, from which it was converted."""

BACK = 0.05
"""Share of rows that may stay such after the conversion: wild rows, and a record heat."""

BESIDE = 0.2
"""Share of rows of any other column off its grid or its codes from which something else is broken too."""

FEWEST_VALUES = 5
"""Fewer distinct values could come back by chance."""

FEWEST_TELLING = 20
"""Rows that are not zero from which a column, or half a window of it, is asked."""

COARSE = (2, 3, 5)
"""A true conversion uses the whole grid. One that only ever hits each second, third or fifth mark of it, as 3.6 does
with whole °F in °C, would fit any column that is recorded so."""

FEWEST_ROWS = 3
"""Rows with values never seen from which a column asks for its neighbours' conversion: a pixel that is mostly dark."""


def recovered(case: Case) -> Maps:
    """The conversion of every column for which there is exactly one that brings the values back."""
    conversions = {}
    for j, column in enumerate(case.model.features):
        informed = case.stick.support.codes[j] is not None or case.stick.support.grids[j].step > 0
        values = _telling(case, case.raw, column) if informed and column in case.numeric else np.empty(0)
        if len(values) >= FEWEST_TELLING and _lost(case, values, j) >= LEFT_GRID:
            step = written(values)
            fits = [c for c in plausible(case, j) if _back(case, c, values, step, j)]
            if fits and _alike(fits):
                conversions[column] = min(fits, key=lambda c: c.rank).map
    return conversions


def refused(case: Case, maps: Maps) -> list[str]:
    """Why recovered columns do not prove a change of the whole window; empty if they do."""
    middle = len(case.raw) // 2
    mapped = InputMap(maps).apply(case.raw)
    failed = []
    for when, rows in (("first", slice(0, middle)), ("second", slice(middle, None))):
        for column in maps:
            j = case.model.features.index(column)
            values = _telling(case, case.raw.iloc[rows], column)
            slack = rounding(case, maps[column], written(values), j)
            after = case.stick.support.unrecorded(case.present(mapped.iloc[rows], column), j, slack)
            if len(values) >= FEWEST_TELLING and (_lost(case, values, j) < LEFT_GRID or after > BACK):
                failed.append(f"{column} was not converted in the {when} half of the window")
    # A date that moves on holds values never seen, and is whole.
    asked = [c for c in case.numeric if c not in maps and not of_the_calendar(c, case.raw[c])]
    broken = [c for c in asked if _unread(case, c, maps) > BESIDE]
    return failed + [f"{column} holds values never seen beside it" for column in broken]


def brings_codes(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether a column of codes holds such as it never had, as the change that a map undoes would have brought them.

    Five stars that all got one more are the scale from 0 to 4 counted from 1 where there are sixes; a better-liked
    range of goods has none. A shift of hours stays within the day and is told otherwise.
    """
    if one.modulo is not None or one.knots is not None:
        return True
    j, support = case.model.features.index(column), case.stick.support
    sent, usual = (case.present(rows, column) for rows in (case.raw, case.stick.pool_frame))
    new, due = support.unrecorded(sent, j), support.unrecorded((usual - one.offset) / one.scale, j)
    return bool(new * len(sent) >= FEWEST_ROWS and new >= due / 2)


def _unread(case: Case, column: str, maps: Maps) -> float:
    """Share of a column's values off its codes or its grid, as they are or under a conversion of its neighbours.

    That they lie beyond its range may be the weather.
    """
    j, values = case.model.features.index(column), case.present(case.raw, column)
    support = case.stick.support
    ways = [values, *(one.apply(values) for one in dict.fromkeys(maps.values()))]
    return min(_lost(case, v, j) if support.codes[j] is not None else support.grids[j].off(v) for v in ways)


def neighbours(case: Case, sure: Maps) -> Maps:
    """Further columns that are unusual, and natural under a conversion that is proven for others: the same upstream.

    Where at least half of all columns have been through one, so have all that do not speak against it.
    """
    mapped = InputMap(sure).apply(case.raw)
    x, judged = case.stick.encode(mapped), case.stick.judge(mapped)
    conversions = {}
    for j, column in enumerate(case.model.features):
        strays = judged.distance.outside[j] * len(x) >= FEWEST_ROWS
        if column in case.numeric and column not in sure and (strays or judged.columns[column] > 1.0):
            fits = [m for m in dict.fromkeys(sure.values()) if _natural(case, judged.distance, x[:, j], m, j)]
            if fits:
                conversions[column] = fits[0]
    most, count = Counter(sure.values()).most_common(1)[0]
    if 2 * count < len(case.numeric):
        return conversions
    rest = [c for c in case.numeric if c not in sure and c not in conversions]
    return conversions | {c: most for c in rest if _no_worse(case, judged.distance, x, most, c)}


def _no_worse(case: Case, before: Distance, x: Floats, one: ColumnMap, column: str) -> bool:
    """Whether nothing in a column speaks against a map that most have been through: a pixel that stayed dark."""
    j = case.model.features.index(column)
    mapped = one.apply(x[:, j])
    marginal, outside = case.stick.ks(mapped, j), _lost(case, mapped, j)
    return bool(marginal <= before.marginal[j] and outside <= before.outside[j])


def _natural(case: Case, before: Distance, values: Floats, one: ColumnMap, j: int) -> bool:
    """Whether a map makes a column natural: by half of its distance, or by the last of the values never seen."""
    mapped, bounds = one.apply(values), case.stick.bounds
    marginal, outside = case.stick.ks(mapped, j), _lost(case, mapped, j)
    if marginal > bounds.marginal[j] or outside > bounds.outside[j]:
        return False
    halved = marginal + 2 * outside <= HALVED * (before.marginal[j] + 2 * before.outside[j])
    return bool(halved or (before.outside[j] > 0 and outside == 0 and marginal <= before.marginal[j]))


def _telling(case: Case, frame: pd.DataFrame, column: str) -> Floats:
    """A column's values without zeros: nothing is nothing in every unit."""
    values = case.present(frame, column)
    return np.asarray(values[values != 0])


def _lost(case: Case, values: Floats, j: int) -> float:
    return case.stick.support.unrecorded(values, j)


def _back(case: Case, conversion: Conversion, values: Floats, step: float, j: int) -> bool:
    """Whether a conversion brings values [n], recorded in steps of ``step``, back to those that the column has had."""
    support, mapped = case.stick.support, conversion.map.apply(values)
    known = mapped[support.recorded(mapped, j, rounding(case, conversion.map, step, j))]
    if len(known) < (1 - BACK) * len(mapped) or len(np.unique(np.round(known, 6))) < FEWEST_VALUES:
        return False
    grid = support.grids[j]
    if support.codes[j] is not None or grid.step <= 0:
        return True
    # Decimals land on decimals; an odd grid, whole tenths of °C in °F, is hit by the true conversion alone. Of decimals
    # the ratio of the steps tells, where the column is in its place again: what is rounded to thousands is not.
    if any(np.isclose(grid.step, d) for d in DECIMALS) and abs(conversion.map.scale) * step > FINER * grid.step:
        column = case.model.features[j]
        if not stepped(case, column, conversion.map) or placed(case, column, mapped).ratio > 1:
            return False
    marks, usual = (np.round((v - grid.origin) / grid.step) for v in (known, case.stick.pool[:, j]))
    whole = all(_one_rest(usual, m) > 1 - BACK or _one_rest(marks, m) <= 1 - BACK for m in COARSE)
    return whole and len(np.unique(marks)) >= FEWEST_VALUES


def _one_rest(marks: Floats, m: int) -> float:
    """Largest share of the marks with the same rest modulo m."""
    return float(np.bincount((marks % m).astype(np.int64)).max() / len(marks))


def _alike(fits: list[Conversion]) -> bool:
    """Whether they are one map under several names: minutes to hours, seconds to minutes."""
    return all(same(fit.map, fits[0].map) for fit in fits)
