"""Rows into the inference table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from selfheal.errors import InputError
from selfheal.table.schema import ModelSchema
from selfheal.table.values import event_us

if TYPE_CHECKING:
    import pandas as pd
    import sqlalchemy as sa

LONGEST_ID = 128
_encode = msgspec.json.Encoder(enc_hook=lambda value: value.item()).encode  # a scalar of numpy
_STATEMENT_ROWS = (64, 8, 1)
"""Rows in one SQLite statement: with one row each, the thread that logs would hand the interpreter's lock back and
forth with the thread that scores at every row. 64 rows of 500 columns stay below SQLite's 32,766 variables."""


def insert_rows(connection: sa.Connection, schema: ModelSchema, rows: Sequence[tuple[Any, ...]]) -> None:
    """Append rows (tuples in the order of ``schema.written``); an id that is there already is left as it is."""
    if not rows:
        return
    quote = connection.dialect.identifier_preparer.quote
    names = ", ".join(quote(name) for name in schema.written)
    head = f"INSERT INTO {quote(schema.table.name)} ({names})"
    if connection.dialect.name == "sqlite":
        marks = f"({', '.join('?' for _ in schema.written)})"
        begin = 0
        for size in _STATEMENT_ROWS:
            statement = f"{head} VALUES {', '.join([marks] * size)} ON CONFLICT (prediction_id) DO NOTHING"
            while len(rows) - begin >= size:
                values = tuple(itertools.chain.from_iterable(rows[begin : begin + size]))
                connection.exec_driver_sql(statement, values)
                begin += size
        return
    # One statement with an array per column: one round trip, however many rows.
    casts = [str(schema.table.c[name].type.compile(connection.dialect)).lower() for name in schema.written]
    arrays = ", ".join(f"%s::{cast.replace('bigserial', 'bigint')}[]" for cast in casts)
    columns = tuple(map(_array, zip(*rows, strict=True), casts))
    # The text holds quoted identifiers and types only, never a value.
    statement = f"{head} SELECT * FROM unnest({arrays}) ON CONFLICT (prediction_id) DO NOTHING"  # noqa: S608
    connection.exec_driver_sql(statement, columns)


def _array(values: Sequence[Any], cast: str) -> str:
    """A column as PostgreSQL writes an array: a tenth of what psycopg takes, which asks each value for its type."""
    if cast == "text":
        return f"{{{','.join(['NULL' if text is None else _quoted(text) for text in values])}}}"
    return f"{{{_encode(values)[1:-1].decode()}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def rows_of_frame(
    schema: ModelSchema,
    *,
    frame: pd.DataFrame,
    probabilities: npt.NDArray[Any],
    prediction_ids: Sequence[str],
    event_times: Sequence[Any],
    version: int,
    latency_ms: float,
) -> list[tuple[Any, ...]]:
    """Rows ready for :func:`insert_rows`, checked.

    Raises
    ------
    InputError
        If a column is missing, lengths differ, an id is malformed or a value does not fit its column.
    """
    missing = [name for name in schema.dtypes if name not in frame.columns]
    if missing:
        raise InputError(f"column {missing[0]!r} of model {schema.model!r} is missing from the rows to log")
    n, k = len(frame), len(schema.classes)
    if np.shape(probabilities) != (n, k) or len(prediction_ids) != n or len(event_times) != n:
        raise InputError(
            f"{n} rows need probabilities of shape ({n}, {k}), {n} ids and {n} event times; got "
            f"{np.shape(probabilities)}, {len(prediction_ids)} and {len(event_times)}"
        )
    for prediction_id in prediction_ids:
        check_id(prediction_id)
    times = [event_us(at) for at in event_times]
    features = [_storable(name, frame[name], dtype) for name, dtype in schema.dtypes.items()]
    scores = np.asarray(probabilities, dtype=np.float64).T.tolist()
    return list(
        zip(prediction_ids, times, *features, *scores, [int(version)] * n, [float(latency_ms)] * n, strict=True)
    )


def check_id(prediction_id: Any) -> None:
    """Refuse what cannot name a prediction.

    >>> check_id("")
    Traceback (most recent call last):
    selfheal.errors.InputError: '' is not a prediction id: 1 to 128 printable characters, as answered by /invocations
    """
    good = isinstance(prediction_id, str) and 0 < len(prediction_id) <= LONGEST_ID and prediction_id.isprintable()
    if not good:
        shown = repr(prediction_id)
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        raise InputError(
            f"{shown} is not a prediction id: 1 to {LONGEST_ID} printable characters, as answered by /invocations"
        )


def _storable(name: str, column: pd.Series, dtype: str) -> list[Any]:
    """A column as Python values that both databases take; missing values become None."""
    if dtype != "str":
        try:
            values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"column {name!r} holds a value that is not a number: {error}") from error
        return [None if math.isnan(value) else value for value in values.tolist()]
    out = [None if missing else str(value) for value, missing in zip(column.tolist(), column.isna(), strict=True)]
    if any(not storable_text(value) for value in out if value is not None):
        raise InputError(f"column {name!r} holds text with a NUL character or a lone surrogate; remove it")
    return out


def storable_text(text: str) -> bool:
    """Whether PostgreSQL and UTF-8 can hold the text (no NUL, no lone surrogate)."""
    return "\x00" not in text and (text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
