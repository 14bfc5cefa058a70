"""Columns of a request as numbers and words: looked through at once where they are usual, else judged as a frame.

There is one judge of what is a good row, the model's own check, whose words the client then reads.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfheal.errors import InputError, shown
from selfheal.parts.lists import NUMBERS
from selfheal.parts.signature import Signature
from selfheal.serving.scorer import NotHereError, Scorer
from selfheal.table.predictions import storable_text

Columns = Mapping[str, Sequence[Any]]
Checked = tuple[NDArray[np.float64], list[Sequence[str | None]]]
"""The numeric features float64 [n, d] and the text features, one list a column, each in the model's order."""

_NUMBERS_OR_NULL = NUMBERS | {type(None)}


def checked(columns: Columns, scorer: Scorer, *, waits: bool) -> Checked:
    """A request's columns, each with every feature.

    Parameters
    ----------
    waits
        Whether the caller may be kept for as long as loading pandas takes, the first time that something is odd.

    Raises
    ------
    InputError
        Naming column, row and value.
    NotHereError
        Something is odd, and the caller can't wait.
    """
    known = [_NUMBERS_OR_NULL if name in scorer.signature.nullable else NUMBERS for name in scorer.numeric]
    numeric = [columns[name] for name in scorer.numeric]
    if all(each.issuperset(map(type, column)) for each, column in zip(known, numeric, strict=True)):
        try:
            numbers = np.array(numeric, dtype=np.float64).T if numeric else np.empty((_length(columns), 0))
        except OverflowError:
            numbers = np.full((1, 1), np.inf)  # an integer beyond any float: the model's check names it
        finite = np.isfinite(numbers).all(axis=0) if len(numbers) else np.ones(len(known), dtype=bool)
        if finite.all() or not (np.isinf(numbers).any() or any(known[j] is NUMBERS for j in np.flatnonzero(~finite))):
            return numbers, checked_words(columns, scorer)
    if not waits and "pandas" not in sys.modules:
        raise NotHereError
    return _judged(columns, scorer)


def _judged(columns: Columns, scorer: Scorer) -> Checked:
    """The model's own check of the rows: raises, or takes what the quick look could not."""
    import pandas as pd

    frame = pd.DataFrame({name: pd.Series(list(column), dtype=object) for name, column in columns.items()})
    try:
        rows = scorer.signature.checked(frame)[0]
        numbers = rows[list(scorer.numeric)].to_numpy(dtype=np.float64)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        words = f"a numeric column holds a value that is not a number: {error}"
        raise InputError(words, reason="not a number") from error
    return numbers, checked_words(columns, scorer)


def checked_words(columns: Columns, scorer: Scorer) -> list[Sequence[str | None]]:
    """The text features in the model's order: text that a database can hold, None where a gap is known.

    Raises
    ------
    InputError
    """
    words: list[Sequence[str | None]] = []
    for name in scorer.texts:
        column = columns[name]
        if not all(type(value) is str and storable_text(value) for value in column):
            column = [_word(value, row, name, scorer.signature) for row, value in enumerate(column)]
        words.append(column)
    return words


def _word(value: Any, row: int, name: str, model: Signature) -> str | None:
    if type(value) is str:
        if storable_text(value):
            return value
        words = f"column {name!r}, row {row}: the text holds a NUL or a lone surrogate; remove it"
        raise InputError(words, reason="not text", column=name)
    null = value is None or value != value
    if null and name in model.nullable:
        return None
    raise InputError(
        f"column {name!r}, row {row}: {shown(value)} is not text; send a JSON string",
        reason="null" if null else "not text",
        column=name,
    )


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values()), ()))
