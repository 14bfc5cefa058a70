"""What labelled rows say of themselves before anybody declares anything: columns, blocks, steps, units, classes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from selfheal.drift.context import of_the_calendar
from selfheal.drift.grid import Grid
from selfheal.errors import InputError, nearest
from selfheal.parts import columns as kinds
from selfheal.parts import lists
from selfheal.policy.units import unit, words

BLOCK = 4
"""Columns that are called alike, but for a number, from which they are a block."""

STRETCHES, STILL = 10, 0.8
"""A column that keeps one value in this share of so many stretches of the rows places them and says nothing of them."""

FEW = 20
"""Values that may well differ by chance."""

SPREAD = 12
"""Distinct values from which a number can be a measurement: fewer are codes or counts."""

QUANTITIES = frozenset({
    "temperature", "temp", "dew", "pressure", "speed", "wind", "visibility", "distance", "height", "width",
    "length", "depth", "radius", "diameter", "perimeter", "area", "weight", "mass", "volume", "amount", "price",
    "cost", "income", "inc", "salary", "balance", "fee", "revenue", "duration", "elapsed", "latency", "energy",
    "power", "voltage", "current", "flow", "altitude", "elevation", "concentration", "alkalinity", "acid",
    "humidity", "rain", "precipitation", "carat", "alcohol",
})  # fmt: skip
"""Words in a column's name that are measured in some unit, whichever it is."""

_SPANS = frozenset({"min", "sec", "hr", "hrs", "yr", "yrs"})
"""Last words of a name that are a time, or the least of what is measured."""

_CODES = frozenset({
    "code", "id", "key", "type", "kind", "class", "category", "group", "level", "flag", "status", "zip", "postcode",
    "no", "nr", "number", "index",
})  # fmt: skip
"""Words in the name of whole numbers that count and measure nothing."""


@dataclass(frozen=True)
class Column:
    """One column of the rows.

    Attributes
    ----------
    name, kind
        ``"float" | "int" | "bool" | "str"``, or empty where a model cannot have it.
    distinct, missing
        Distinct values, and the share of rows without one.
    step
        The decimal step that its values are written in; 0 where there is none.
    unit
        What its name says; empty where it says nothing.
    measured, numeric
        Whether it is a measurement by its name, whose unit, scale or offset may change while the concept stays; whether
        its values let it be one, see :func:`measurable`.
    calendar, places
        Whether it is a part of date or time; whether it stands still over stretches of the rows.
    unfit
        Why a model should not have it; empty where it can.
    """

    name: str
    kind: str
    distinct: int
    missing: float
    step: float = 0.0
    unit: str = ""
    measured: bool = False
    numeric: bool = False
    calendar: bool = False
    places: bool = False
    unfit: str = ""


@dataclass(frozen=True)
class Recognised:
    """What the rows say.

    Attributes
    ----------
    rows, target
        How many there are, and the column of the label.
    classes
        Label → its share, in the order of the classes.
    columns
        In the order of the rows.
    blocks
        Names of columns that are alike: numbered ones of one kind.
    """

    rows: int
    target: str
    classes: Mapping[Any, float]
    columns: tuple[Column, ...]
    blocks: tuple[tuple[str, ...], ...]

    @property
    def features(self) -> tuple[str, ...]:
        """The columns that a model can have."""
        return tuple(c.name for c in self.columns if not c.unfit)


def recognise(frame: pd.DataFrame, target: str) -> Recognised:
    """Look at labelled rows.

    Parameters
    ----------
    frame : DataFrame [n, d + 1]
        In time order where there is one.
    target
        The column of the label.

    Raises
    ------
    InputError
        There is no such column, a label is missing, or there are fewer than two classes.
    """
    if target not in frame.columns:
        raise InputError(f"the rows have no column {target!r}{nearest(target, frame.columns)}; name the label's column")
    labels = frame[target]
    if labels.isna().any():
        raise InputError(f"{int(labels.isna().sum())} of {len(frame)} rows have no {target!r}; leave them out")
    plain = kinds.plain(frame[[target]])[target]
    classes = [label.item() if hasattr(label, "item") else label for label in kinds.classes_of(plain, None)]
    if len(classes) > max(20, len(frame) // 20):
        raise InputError(
            f"{target!r} has {len(classes)} different values in {len(frame)} rows, so it is no class; selfheal heals "
            "classifiers: cut it into classes, such as above and below a bound, or name another column"
        )
    shares = {label: float((plain == label).mean()) for label in classes}
    columns = tuple(column for name in frame.columns if name != target for column in _columns(frame[[name]]))
    return Recognised(len(frame), target, shares, columns, _blocks(columns))


def _columns(frame: pd.DataFrame) -> tuple[Column, ...]:
    """A column; one of lists is as many as it stands for, each of which the model has."""
    try:
        spread, given = lists.made_plain(frame)
    except InputError as error:
        name = str(frame.columns[0])
        return (Column(name, "", 0, float(frame.iloc[:, 0].isna().mean()), unfit=_unfit(error)),)
    columns = tuple(_column(spread[[name]]) for name in spread.columns)
    return tuple(replace(column, unfit="") for column in columns) if given else columns


def _unfit(error: InputError) -> str:
    return str(error).removeprefix("reference: ")


def _column(frame: pd.DataFrame) -> Column:
    name = frame.columns[0]
    raw = frame.iloc[:, 0]
    try:
        column = kinds.plain(frame).iloc[:, 0]
    except InputError as error:
        return Column(str(name), "", 0, float(raw.isna().mean()), unfit=_unfit(error))
    kind, known = kinds.kind(column), column.dropna()
    distinct, missing = int(known.nunique()), float(column.isna().mean())
    if distinct < 2:
        return Column(name, kind, distinct, missing, unfit="it has one value, so nothing can be learnt of it")
    if kind == "int" and distinct == len(known) > FEW and known.is_monotonic_increasing:
        return Column(name, kind, distinct, missing, unfit="it numbers the rows: no later row is like them")
    if _identifies(name, kind, distinct, len(known)):
        return Column(name, kind, distinct, missing, unfit="it seems to name rows: every value is another")
    number = kind in ("int", "float") and distinct > 2
    said, called = unit(name), words(name)
    quantity = bool(said) or bool(QUANTITIES & set(called)) or (len(called) > 1 and called[-1] in _SPANS)
    numeric, calendar = measurable(column), of_the_calendar(name, column)
    return Column(
        name, kind, distinct, missing,
        step=Grid.decimal(known.to_numpy(dtype=np.float64)).step if number else 0.0,
        unit=said,
        measured=numeric and quantity,
        numeric=numeric,
        calendar=calendar,
        places=not calendar and _places(column),
    )  # fmt: skip


def measurable(column: pd.Series[Any]) -> bool:
    """Whether values and name let a plain column have a unit: numbers of many values, no codes and no part of a date.

    >>> measurable(pd.Series(range(60), name="waited")), measurable(pd.Series(range(60), name="zip code"))
    (True, False)
    """
    kind, name = kinds.kind(column), str(column.name)
    if kind not in ("int", "float") or column.nunique() < SPREAD or of_the_calendar(name, column):
        return False
    return kind == "float" or not _CODES & set(words(name))


def _identifies(name: str, kind: str, distinct: int, known: int) -> bool:
    """Whether each row has a value of its own, in a column of words or one that is called an id."""
    named = bool({"id", "uuid", "guid", "key"} & {words(name)[0], words(name)[-1]})
    return distinct == known > FEW and kind in ("str", "int") and (kind == "str" or named)


def _places(column: pd.Series[Any]) -> bool:
    stretches = np.array_split(np.arange(len(column)), STRETCHES)
    if len(column) < 20 * STRETCHES:
        return False
    return float(np.mean([column.iloc[rows].nunique(dropna=False) == 1 for rows in stretches])) >= STILL


def _blocks(columns: Sequence[Column]) -> tuple[tuple[str, ...], ...]:
    """Numbered columns of one stem and one kind."""
    stems: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        numbered = re.fullmatch(r"(.*?\D|)0*\d+", column.name)
        if numbered and not column.unfit:
            stems.setdefault((numbered[1], column.kind), []).append(column.name)
    return tuple(tuple(names) for names in stems.values() if len(names) >= BLOCK)
