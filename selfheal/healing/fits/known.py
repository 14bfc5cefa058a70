"""Which known conversions a column could have been through, and how exactly such a one shows in what was written."""

from __future__ import annotations

import numpy as np

from selfheal.adapter import ColumnMap
from selfheal.drift.grid import written
from selfheal.healing.case import Case
from selfheal.healing.conversions import CODE_SHIFTS, CONVERSIONS, HOUR_SHIFTS, Conversion, declared, of_unit, same
from selfheal.policy.units import clear_unit, family

Maps = dict[str, ColumnMap]

HALVED = 0.5
"""A conversion is worth a look when it takes away half of the column's distance."""

FINER = 0.25
"""A recorder's own step, converted, must be at most this part of the healthy step to say anything: what was written in
steps of ten lies on a grid of ones under ×0.1, ×1 and ×10 alike, and one value in four on any grid four times finer."""


def plausible(case: Case, j: int) -> tuple[Conversion, ...]:
    """Conversions that the column could have gone through: its owner's units; of codes and hours where it holds such.

    Not those of which its owner has said that they are not so.
    """
    column = case.model.features[j]
    ruled_out = case.answered(column, False)
    units = case.model.policy.declare.units.get(column, {})
    known = of_unit(units) if isinstance(units, str) else (*declared(units), *_of_kind(case, j))
    return tuple(c for c in known if not any(same(c.map, one) for one in ruled_out))


def by_declaration(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether a map is between units that the column's owner has declared."""
    units = case.model.policy.declare.units.get(column, {})
    known = of_unit(units) if isinstance(units, str) else declared(units)
    return any(c.map == one and (isinstance(units, dict) or " → " in one.words) for c in known)


def by_name(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether a map leads to the unit that the column's name says, from another one of its family.

    Nothing is tried for it that is not tried without, and a declaration counts in its place.
    """
    if column in case.model.policy.declare.units or not (said := clear_unit(column)):
        return False
    return any(" → " in c.map.words and same(c.map, one) for c in of_unit(said))


def against_name(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether a map is a conversion of another quantity than that of the unit which the column's name says."""
    if " → " not in one.words or column in case.model.policy.declare.units or not (said := clear_unit(column)):
        return False
    return not any(" → " in c.map.words and same(c.map, one) for unit in family(said) for c in of_unit(unit))


def _of_kind(case: Case, j: int) -> tuple[Conversion, ...]:
    codes = case.stick.support.codes[j]
    if codes is None:
        return CONVERSIONS
    values = case.present(case.raw, case.model.features[j])
    of_a_day = [v for v in (codes, values) if len(v) and v.min() >= 0 and v.max() < 24]
    hours = HOUR_SHIFTS if len(of_a_day) == 2 and len(codes) > 12 else ()
    return CONVERSIONS + CODE_SHIFTS + hours


def rounding(case: Case, one: ColumnMap, step: float, j: int) -> float:
    """By how much converted values may miss the marks that they were recorded on: half a step of who writes them.

    Nothing where such a step is no finer than the marks: whole tenths of °C are whole marks in °F.
    """
    half = 0.5 * abs(one.scale) * step
    return half if half <= 0.5 * FINER * case.stick.support.grids[j].step else 0.0


def stepped(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether a factor is the very ratio of the steps in which a column is written now and was written before.

    Of values that grew, and end in zeros. How many decimals a smaller one has is its writer's habit: rain in inches
    with two of them is no tenth of what it was in millimetres with one.
    """
    grid, values = case.stick.support.grids[case.model.features.index(column)], case.present(case.raw, column)
    step = written(values[values != 0])
    shrinks = abs(one.scale) < 1 and one.offset == 0
    return bool(shrinks and grid.step > 0 and np.isclose(step * abs(one.scale), grid.step))
