"""Columns of lists, an embedding say: each stands for as many columns of numbers, and a model has only these."""

from __future__ import annotations

import decimal
import numbers
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from selfheal.errors import InputError, shown

if TYPE_CHECKING:
    import pandas as pd

Lists = Mapping[str, tuple[str, ...]]
"""A column of lists → the columns that it stands for, in order."""

NUMBERS = frozenset((int, float, bool))
"""Types of a value that is a number without more ado."""


def block_of(column: str) -> str:
    """The name that columns of one list have in common; empty where a column has no number.

    >>> block_of("emb_12"), block_of("rain_mm")
    ('emb', '')
    """
    name, _, number = column.rpartition("_")
    return name if number.isdecimal() else ""


def raw_names(features: Sequence[str], lists: Lists) -> tuple[str, ...]:
    """The columns as a reference had them: each of lists in place of those that it stands for.

    >>> raw_names(["age", "at_0", "at_1"], {"at": ("at_0", "at_1")})
    ('age', 'at')
    """
    of = {column: name for name, columns in lists.items() for column in columns}
    return tuple(dict.fromkeys(of.get(column, column) for column in features))


def spread_names(names: Collection[str], lists: Lists) -> list[str]:
    """The names, with those that each column of lists stands for in its place.

    Raises
    ------
    InputError
        A column is given in both ways.
    """
    for name, columns in lists.items():
        twice = next((column for column in columns if column in names), None) if name in names else None
        if twice is not None:
            words = f"column {name!r} is given as lists and, by {twice!r}, number by number too; give one of the two"
            raise InputError(words, reason="given twice", column=name)
    return [column for name in names for column in lists.get(name, (name,))]


def spread(columns: Mapping[str, Sequence[Any]], lists: Lists, nullable: Collection[str]) -> dict[str, Sequence[Any]]:
    """Values by column, each column of lists as the columns that it stands for.

    Raises
    ------
    InputError
        Naming column, row and value that is no list of so many numbers.
    """
    made: dict[str, Sequence[Any]] = {}
    for name, values in columns.items():
        if name in lists:
            table = as_table(values, name, lists[name], gaps=nullable)
            made |= dict(zip(lists[name], table.T.tolist(), strict=True))
        else:
            made[name] = values
    return made


def spread_frame(frame: pd.DataFrame, lists: Lists, nullable: Collection[str]) -> pd.DataFrame:
    """The same of a frame: columns of lists go, those that they stand for come last; raises as :func:`spread` does."""
    given = [name for name in lists if name in frame.columns]
    if not given:
        return frame
    import pandas as pd

    spread_names(frame.columns, lists)
    made = [
        pd.DataFrame(as_table(frame[name].tolist(), name, lists[name], gaps=nullable), frame.index, list(lists[name]))
        for name in given
    ]
    return pd.concat([frame.drop(columns=given), *made], axis=1)


def lists_of(frame: pd.DataFrame, target: str) -> dict[str, tuple[str, ...]]:
    """The columns of lists that a reference has beside its target, by its first row that has one.

    Raises
    ------
    InputError
        A list is empty, or a column that it would stand for is there already.
    """
    lists: dict[str, tuple[str, ...]] = {}
    for name in frame.columns:
        if name == target or not isinstance(name, str) or frame[name].dtype.kind != "O":
            continue
        place = next((row for row, value in enumerate(frame[name].tolist()) if not is_null(value)), None)
        first = None if place is None else frame[name].iloc[place]
        if not isinstance(first, list | tuple | np.ndarray):
            continue
        if not len(first):
            raise InputError(
                f"reference: column {name!r}, row {place}: an empty list; give lists of numbers, all of one length, or "
                "leave the column out"
            )
        lists[name] = tuple(f"{name}_{k}" for k in range(len(first)))
        twice = next((column for column in lists[name] if column in frame.columns), None)
        if twice is not None:
            raise InputError(
                f"reference: column {name!r} holds lists of {len(first)} numbers, which become the columns "
                f"{span(lists[name])}, and {twice!r} is there already; rename one of the two"
            )
    return lists


def made_plain(reference: pd.DataFrame, target: str = "") -> tuple[pd.DataFrame, dict[str, tuple[str, ...]]]:
    """A reference whose columns of lists are columns of numbers, float64, in their places; and which those are.

    A missing list is as many missing numbers.

    Raises
    ------
    InputError
        Naming column, row and value: lists of several lengths, or of something else than numbers.
    """
    lists = lists_of(reference, target)
    if not lists:
        return reference, lists
    try:
        made = spread_frame(reference, lists, [column for columns in lists.values() for column in columns])
    except InputError as error:
        raise InputError(f"reference: {error}") from error
    return made[spread_names(reference.columns, lists)], lists


def spread_inputs(inputs: Any, lists: Lists) -> Any:
    """The inputs of a network; lists of names among them have, for a column of lists, those that it stands for."""
    if isinstance(inputs, Mapping):
        return {name: _spread_input(one, lists) for name, one in inputs.items()}
    return [_spread_input(one, lists) for one in inputs] if isinstance(inputs, list | tuple) else inputs


def _spread_input(given: Any, lists: Lists) -> Any:
    named = isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
    return spread_names(given, lists) if named else given


def as_table(
    cells: Sequence[Any], name: str, columns: Sequence[str], *, gaps: Collection[str] = ()
) -> NDArray[np.float64]:
    """Lists [n] as numbers float64 [n, width]; NaN for what is missing.

    Parameters
    ----------
    name, columns
        Of the lists, and of their numbers.
    gaps
        Columns that may miss a number: where all of these may, a whole list may be missing.

    Raises
    ------
    InputError
        Naming row and value of the first that is no list of so many numbers.
    """
    whole = all(column in gaps for column in columns)
    made = np.empty((len(cells), len(columns)))
    for row, cell in enumerate(cells):
        where = f"column {name!r}, row {row}: "
        try:
            made[row] = np.nan if whole and is_null(cell) else _numbers(cell, where, name, columns)
        except OverflowError:
            words = f"{where}a whole number in the list is beyond what 64 bits hold; give numbers within 1e308"
            raise InputError(words, reason="not finite", column=name) from None
    return made


def is_null(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA."""
    return value is None or type(value).__name__ == "NAType" or (isinstance(value, float) and value != value)


def _numbers(cell: Any, where: str, name: str, columns: Sequence[str]) -> Any:
    if isinstance(cell, np.ndarray) and cell.shape == (len(columns),) and cell.dtype.kind in "fiub":
        return cell
    if hasattr(cell, "tolist"):  # another array, or a tensor
        cell = cell.tolist()
    if not isinstance(cell, list | tuple):
        if is_null(cell):
            words = (
                f"{where}null, and {_wanted(columns)}; was none computed for it? Leave the row out until there is one"
            )
            raise InputError(words, reason="null", column=name)
        words = f"{where}{shown(cell)} is no list, and {_wanted(columns)}: give the latter where a format has no lists"
        raise InputError(words, reason="not a list", column=name)
    if len(cell) != len(columns):
        raise InputError(
            f"{where}a list of {len(cell)}, and {_wanted(columns)}; was it cut short, or made by another encoder?",
            reason="wrong length",
            column=name,
        )
    return cell if NUMBERS.issuperset(map(type, cell)) else [*_values(cell, where, name)]


def _values(cell: Sequence[Any], where: str, name: str) -> Iterator[float]:
    for place, value in enumerate(cell):
        if is_null(value):
            yield float("nan")
        elif isinstance(value, numbers.Real | decimal.Decimal):
            yield float(value)
        else:
            raise InputError(
                f"{where}{shown(value)} in place {place} of the list is not a number; give numbers, and words as "
                "columns of their own",
                reason="not a number",
                column=name,
            )


def _wanted(columns: Sequence[str]) -> str:
    return f"a list of {len(columns)} numbers is wanted, or the columns {span(columns)}"


def span(columns: Sequence[str]) -> str:
    """Columns in words: the first and the last."""
    return f"{columns[0]} to {columns[-1]}" if len(columns) > 1 else columns[0]
