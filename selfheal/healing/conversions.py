"""Known conversions: what a column's unit, sign or coding is changed to by mistake, and how to undo it.

A conversion maps raw values to the model's unit. A factor nearer to 1 than |log s| = 0.4 is not in the table:
knots and miles per hour (1.15) look like two natural years, and in a first harness such factors caused false heals.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from selfheal.adapter import ColumnMap
from selfheal.drift.stats import Floats
from selfheal.policy.units import ZEROS, family, plain

SMALLEST_LOG_FACTOR = 0.4

# words for (small unit → large unit) and the factor by which a value in the small unit is smaller.
_FACTORS: tuple[tuple[float, str, str], ...] = (
    (0.3048, "feet", "metres"),
    (25.4, "inches", "millimetres"),
    (2.54, "inches", "centimetres"),
    (1.609344, "miles", "kilometres"),
    (1.852, "knots", "km/h"),
    (0.514444, "knots", "m/s"),
    (0.44704, "mph", "m/s"),
    (3.6, "m/s", "km/h"),
    (33.86389, "inHg", "hPa"),
    (6.894757, "psi", "kPa"),
    (0.45359237, "pounds", "kilograms"),
    (28.349523, "ounces", "grams"),
    (3.785412, "gallons", "litres"),
    (4.184, "calories", "joules"),
    (57.29577951308232, "radians", "degrees"),
    (60.0, "minutes", "seconds"),
    (3600.0, "hours", "seconds"),
    (24.0, "days", "hours"),
    (1440.0, "days", "minutes"),
    (86400.0, "days", "seconds"),
    (7.0, "weeks", "days"),
    (12.0, "years", "months"),
    (365.25, "years", "days"),
    (1024.0, "KiB", "bytes"),
    (8.0, "bytes", "bits"),
)
_POWERS = (10.0, 100.0, 1e3, 1e4, 1e6)
_TEMPERATURES = (
    (1.8, 32.0, "°C → °F"),
    (1 / 1.8, -32 / 1.8, "°F → °C"),
    (1.0, -273.15, "K → °C"),
    (1.0, 273.15, "°C → K"),
    (1.8, -459.67, "K → °F"),
    (1 / 1.8, 459.67 / 1.8, "°F → K"),
)


@dataclass(frozen=True)
class Conversion:
    """A named map raw → model unit. ``rank`` orders ties: simpler first."""

    map: ColumnMap
    rank: int


def _table() -> tuple[Conversion, ...]:
    conversions = [Conversion(ColumnMap(s, c, words), 1) for s, c, words in _TEMPERATURES]
    for factor in _POWERS:
        conversions += [
            Conversion(ColumnMap(factor, 0.0, f"×{factor:g}"), 0),
            Conversion(ColumnMap(1 / factor, 0.0, f"÷{factor:g}"), 0),
        ]
    for factor, one, other in _FACTORS:
        conversions += [
            Conversion(ColumnMap(factor, 0.0, f"{one} → {other}"), 2),
            Conversion(ColumnMap(1 / factor, 0.0, f"{other} → {one}"), 2),
        ]
    conversions.append(Conversion(ColumnMap(-1.0, 0.0, "sign flipped"), 0))
    return tuple(
        c for c in conversions if c.map.offset or c.map.scale < 0 or abs(math.log(c.map.scale)) >= SMALLEST_LOG_FACTOR
    )


CONVERSIONS = _table()
"""Every conversion that may be recognised without a declaration."""


def declared(units: Mapping[str, float]) -> tuple[Conversion, ...]:
    """Conversions between units of the owner's own: the same amount, as a number in each.

    >>> [c.map.scale for c in declared({"ct": 1.0, "g": 0.2}) if c.map.words == "g → ct"]
    [5.0]
    """
    return tuple(
        Conversion(ColumnMap(there / here, 0.0, f"{raw} → {model}"), 0)
        for raw, here in units.items()
        for model, there in units.items()
        if raw != model
    )


MEASURED = 0.2
"""The same of units of one family, where the model's is declared: mmHg and hPa are 1.33, bar and atm 1.01. What is near
1 is asked about all the same unless the rows tell it."""


@cache
def of_unit(unit: str) -> tuple[Conversion, ...]:
    """Conversions into a declared unit: from the others of its family, by powers of ten, and of the sign.

    Nobody reads a pressure as miles by mistake, so no other listed one is tried.

    >>> [c.map.words for c in of_unit("mg/dl glucose")][:2]
    ['mmol/l glucose → mg/dl glucose', '×10']
    """
    name, worths = plain(unit), family(unit)
    conversions: list[Conversion] = []
    for other in worths:
        scale = worths[other] / worths[name]
        one = ColumnMap(scale, (ZEROS.get(other, 0.0) - ZEROS.get(name, 0.0)) / worths[name], f"{other} → {unit}")
        known = next((k for k, c in enumerate(conversions) if same(c.map, one)), None)
        if known is not None:  # hPa and mbar
            both = conversions[known].map.words.replace(" → ", f" or {other} → ")
            conversions[known] = replace(conversions[known], map=replace(one, words=both))
        elif one.offset or abs(math.log(scale)) >= MEASURED:
            conversions.append(Conversion(one, 0))
    general = [c for c in CONVERSIONS if c.rank == 0 and not any(same(c.map, one.map) for one in conversions)]
    return (*conversions, *general)


def same(one: ColumnMap, other: ColumnMap) -> bool:
    """Whether two maps do the same, under whatever names: minutes to hours, seconds to minutes."""
    return bool(np.isclose(one.scale, other.scale) and np.isclose(one.offset, other.offset)) and (
        (one.modulo, one.knots) == (other.modulo, other.knots)
    )


AMOUNTS = frozenset({"bytes", "KiB", "bits", "pounds", "kilograms", "ounces", "grams", "gallons", "litres", "K"})
"""Units of what there is nothing less of than none."""

COUNTED = frozenset({"bytes", "bits"})
"""Units of memory ..."""

MEMORY = re.compile(r"byte|bits?\b|size|memory|disk|traffic|payload|[kmg]i?b\b", re.I)
"""... and how columns are called that hold them: few do, and ×1000 is near ×1024."""

TURN = 4 * math.pi
"""Radians beyond which no angle is written: two turns."""

AIR = {"inHg": (15.0, 33.0), "hPa": (500.0, 1100.0)}
"""Where the middle value of an air pressure lies, from mountains to deep valleys: of little else they are used."""


def implausible(one: ColumnMap, column: str, raw: Floats, usual: Floats) -> bool:
    """Whether a conversion reads a column's values as what it hardly holds.

    Parameters
    ----------
    raw, usual
        Values as they were sent [n], and as they are in the model's unit [m].

    >>> implausible(ColumnMap(1 / 2.2, words="pounds → kilograms"), "income", np.array([-9.4, 3.0]), np.array([0.1]))
    True
    """
    units = one.words.split(" → ")
    if len(AIR.keys() & units) == 1:  # of a family that was declared
        return False
    given = zip(units, (raw, usual), strict=True) if len(units) == 2 else ()
    return any(_no_such(unit, column, values) for unit, values in given if len(values))


def _no_such(unit: str, column: str, values: Floats) -> bool:
    low, high = AIR.get(unit, (-math.inf, math.inf))
    return bool(
        (unit in AMOUNTS and values.min() < 0)
        or (unit in COUNTED and not MEMORY.search(column))
        or (unit == "radians" and np.quantile(np.abs(values), 0.9) > TURN)
        or not low <= np.median(values) <= high
    )


CODE_SHIFTS = tuple(Conversion(ColumnMap(1.0, float(k), f"code {k:+d}"), 3) for k in (-1, 1))
"""For columns that hold codes: counting from 0 instead of 1, or the other way round."""

HOUR_SHIFTS = tuple(
    Conversion(ColumnMap(1.0, float(h), f"hours shifted by {h if h <= 12 else h - 24:+d}", modulo=24.0), 3)
    for h in range(1, 24)
)
"""For columns that hold the hour of the day: another time zone."""
