"""Rows into the inference table, and windows out of it, column by column."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import sqlalchemy as sa

from selfheal.errors import InputError
from selfheal.table.schema import LABELS, ModelSchema
from selfheal.table.values import to_us
from selfheal.table.windows import Window, WindowRef

CHUNK = 20_000
"""Rows fetched at once: bounds the Python objects alive while a window is read (about 10 MB at 20 columns)."""
LONGEST_ID = 128
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
    columns = tuple(list(column) for column in zip(*rows, strict=True))
    # The text holds quoted identifiers and types only, never a value.
    statement = f"{head} SELECT * FROM unnest({arrays}) ON CONFLICT (prediction_id) DO NOTHING"  # noqa: S608
    connection.exec_driver_sql(statement, columns)


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
    times = [to_us(at) for at in event_times]
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


def read_window(connection: sa.Connection, schema: ModelSchema, ref: WindowRef, limit: int | None = None) -> Window:
    """All rows of a window, or ``limit`` of them spread evenly over its event time."""
    table = schema.table
    inside = _inside(table, ref)
    chosen: list[npt.NDArray[np.int64]] | None = None
    if limit is not None:
        keys = connection.execute(sa.select(table.c.event_time, table.c.seq).where(inside)).fetchall()
        if len(keys) > limit:
            order = np.array(sorted(tuple(key) for key in keys), dtype=np.int64).reshape(-1, 2)[:, 1]
            seqs = np.sort(order[spread(len(order), limit)])
            chosen = np.array_split(seqs, max(1, -(-len(seqs) // 5_000)))
    conditions = [inside] if chosen is None else [table.c.seq.in_(part.tolist()) for part in chosen]
    labelled = connection.execute(sa.select(LABELS.c.model).where(LABELS.c.model == schema.model).limit(1)).first()
    sink = _Columns(schema)
    for condition in conditions:
        sink.fetch(connection, _window_query(schema, condition, labelled is not None))
    return sink.window(ref)


def read_latencies(
    connection: sa.Connection, schema: ModelSchema, ref: WindowRef, limit: int
) -> npt.NDArray[np.float64]:
    """Milliseconds that requests of a window took, of at most ``limit`` of its rows."""
    query = sa.select(schema.table.c.latency_ms).where(_inside(schema.table, ref)).limit(limit)
    return np.array(connection.execute(query).scalars().all(), dtype=np.float64)


def spread(n: int, limit: int) -> npt.NDArray[np.int64]:
    """``min(n, limit)`` positions spread evenly over ``0 … n-1``.

    >>> spread(10, 4).tolist()
    [0, 2, 5, 7]
    """
    kept = min(n, limit)
    return np.arange(kept, dtype=np.int64) * n // max(kept, 1)


def _inside(table: sa.Table, ref: WindowRef) -> sa.ColumnElement[bool]:
    if ref.seqs is not None:
        return sa.and_(table.c.seq > ref.seqs[0], table.c.seq <= ref.seqs[1])
    return sa.and_(table.c.event_time >= to_us(ref.start), table.c.event_time < to_us(ref.end))


def _window_query(schema: ModelSchema, condition: sa.ColumnElement[bool], labelled: bool) -> sa.Select[Any]:
    table = schema.table
    columns = [table.c.seq, *(table.c[name] for name in schema.written if name != "latency_ms")]
    if not labelled:
        return sa.select(*columns, sa.null()).where(condition)
    join = table.outerjoin(
        LABELS, sa.and_(LABELS.c.model == schema.model, LABELS.c.prediction_id == table.c.prediction_id)
    )
    return sa.select(*columns, LABELS.c.label).select_from(join).where(condition)


class _Columns:
    """Collects fetched rows as numpy columns, so that a million rows never exist as Python objects at once."""

    def __init__(self, schema: ModelSchema) -> None:
        self.schema = schema
        kinds = ["seq", "str", "seq", *schema.dtypes.values(), *("float" for _ in schema.classes), "seq", "float"]
        self.kinds = kinds
        self.parts: list[list[npt.NDArray[Any]]] = [[] for _ in kinds]

    def fetch(self, connection: sa.Connection, query: sa.Select[Any]) -> None:
        if connection.dialect.name != "sqlite":
            for rows in connection.execution_options(yield_per=CHUNK).execute(query).partitions():
                self._take(rows)
            return
        result = connection.execute(query)
        assert result.cursor is not None  # noqa: S101 - a SELECT has one
        while rows := result.cursor.fetchmany(CHUNK):  # straight from the driver: half the time of row objects
            self._take(rows)
        result.close()

    def _take(self, rows: Sequence[Any]) -> None:
        for column, kind, part in zip(zip(*rows, strict=True), self.kinds, self.parts, strict=True):
            part.append(_array(column, kind))

    def window(self, ref: WindowRef) -> Window:
        arrays = [
            np.concatenate(part) if part else _array((), kind)
            for part, kind in zip(self.parts, self.kinds, strict=True)
        ]
        self.parts = []
        seq, ids, times = arrays[:3]
        order = np.lexsort((seq, times))
        if not np.array_equal(order, np.arange(len(order))):
            arrays = [array[order] for array in arrays]
            seq, ids, times = arrays[:3]
        width = len(self.schema.dtypes)
        index = pd.Index(ids, name="prediction_id", dtype=object)
        features = {
            name: _as_declared(values, dtype)
            for (name, dtype), values in zip(self.schema.dtypes.items(), arrays[3 : 3 + width], strict=True)
        }
        frame = pd.DataFrame(features, index=index, columns=list(self.schema.dtypes), copy=False)
        scores = arrays[3 + width : -2]
        return Window(
            ref=ref,
            frame=frame,
            probabilities=np.column_stack(scores),
            versions=arrays[-2],
            event_times=pd.DatetimeIndex(times.astype("datetime64[us]")).tz_localize("UTC"),
            labels=_labels(arrays[-1], self.schema.classes, index),
        )


def _array(column: Sequence[Any], kind: str) -> npt.NDArray[Any]:
    if kind == "seq":
        return np.array(column, dtype=np.int64)
    if kind != "str":
        return np.array(column, dtype=np.float64)  # None becomes NaN
    out = np.empty(len(column), dtype=object)
    out[:] = column
    return out


def _as_declared(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Integers and truth values again, unless something else was sent in such a column."""
    if dtype == "int" and bool(np.isfinite(values).all() and (values % 1 == 0).all() and (abs(values) < 2**63).all()):
        return values.astype(np.int64)
    if dtype == "bool" and bool(np.isin(values, (0.0, 1.0)).all()):
        return values.astype(np.bool_)
    return values


def _labels(codes: npt.NDArray[np.float64], classes: tuple[Any, ...], index: pd.Index) -> pd.Series:
    known = ~np.isnan(codes)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in classes):
        values = np.full(len(codes), np.nan)
        values[known] = np.asarray(classes, dtype=np.float64)[codes[known].astype(np.int64)]
        return pd.Series(values, index=index, name="label")
    out = np.full(len(codes), np.nan, dtype=object)
    out[known] = np.array(classes, dtype=object)[codes[known].astype(np.int64)]
    return pd.Series(out, index=index, name="label", dtype=object)
