"""Words and codes that preprocessing refuses: an encoder that was not told what to do with one it never met."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.errors import InputError, shown
from selfheal.parts.signature import REFUSES

UNKNOWN = "unknown categor"
"""In what scikit-learn's and category_encoders' encoders say of a value that they never met."""

CODES = 256
"""Values of a column of numbers up to which they may be codes, each known to an encoder."""

Transform = Callable[[pd.DataFrame], object]


def coded(reference: pd.DataFrame) -> tuple[str, ...]:
    """The columns of words, and of numbers that may be codes."""
    return tuple(str(c) for c, values in reference.items() if values.dtype == object or values.nunique() <= CODES)


def refused(
    transform: Transform, known: pd.DataFrame, rows: pd.DataFrame, columns: Iterable[str]
) -> dict[str, NDArray[np.bool_]]:
    """Per column, the rows [n] whose word or code preprocessing refuses; columns that it takes whole are left out.

    Parameters
    ----------
    transform
        The preprocessing.
    known
        Rows that it is known to take; only values that they lack are asked. An infinity is no code.
    """
    masks = {}
    for column in columns:
        met = set(known[column])
        strange = [word for word in rows[column].dropna().unique() if word not in met and word not in (np.inf, -np.inf)]
        words = _refused(transform, known.iloc[:1], column, strange)
        if words:
            masks[column] = rows[column].isin(words).to_numpy()
    return masks


@contextmanager
def named(transform: Transform, known: pd.DataFrame, rows: pd.DataFrame) -> Iterator[None]:
    """What a transformer raises on rows is raised as :func:`refusal` says it; other refusals as they are."""
    try:
        yield
    except InputError:
        raise
    except REFUSES as error:
        raise refusal(transform, known, rows, error) from error


def refusal(transform: Transform, known: pd.DataFrame, rows: pd.DataFrame, error: Exception) -> InputError:
    """What is said of rows [n] that preprocessing refused with ``error``: scikit-learn counts columns alone.

    Parameters
    ----------
    transform
        Raw rows through the preprocessing.
    known
        Raw rows that it is known to take; one of them is asked, with values of the refused row.
    """
    row = _first(lambda low, high: _refuses(transform, rows.iloc[low:high]), len(rows))
    if row is None:
        return InputError(f"the model's preprocessing refuses these rows: {error}")
    one, healthy = rows.iloc[[row]], known.iloc[[0]].set_axis(rows.index[[row]])

    def spoils(low: int, high: int) -> bool:
        return _refuses(transform, healthy.assign(**{c: one[c] for c in known.columns[low:high]}))

    place = None if _refuses(transform, healthy) else _first(spoils, len(known.columns))
    if place is None:
        return InputError(f"row {row}: the model's preprocessing refuses it: {error}")
    column = known.columns[place]
    value = one[column].iloc[0]
    where, said = f"column {column!r}, row {row}", shown(value.item() if isinstance(value, np.generic) else value)
    if not isinstance(value, str) and UNKNOWN not in str(error):  # a logarithm or root, say
        words = f"{where}: the model's preprocessing refuses {said}: {error}"
        return InputError(words, reason="refused value", column=str(column))
    what = "word" if isinstance(value, str) else "value"
    return InputError(
        f"{where}: {said} is a {what} that the model's encoder does not know and refuses; a new value, or another "
        "spelling? Correct it, or adopt the model with an encoder that takes what it never met: "
        "OneHotEncoder(handle_unknown='ignore')",
        reason=f"unknown {what}",
        column=str(column),
    )


def _first(refused: Callable[[int, int], bool], n: int) -> int | None:
    """A place of n that is refused alone, by halving: a client's request must not cost a pass for each row."""
    low, high = 0, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if refused(low, middle) else (middle, high)
    return low if refused(low, high) else None


def _refuses(transform: Transform, rows: pd.DataFrame) -> bool:
    try:
        transform(rows)
    except REFUSES:
        return True
    return False


def _refused(transform: Transform, row: pd.DataFrame, column: str, words: Sequence[Any]) -> list[Any]:
    """Those of some words, found by halving: all are asked at once, and mostly none is refused."""
    if not words:
        return []
    asked = row.loc[row.index.repeat(len(words))].assign(**{column: list(words)})
    if _refuses(transform, asked):
        half = len(words) // 2
        if not half:
            return [*words]
        parts = (words[:half], words[half:])
        return [word for part in parts for word in _refused(transform, row, column, part)]
    return []
