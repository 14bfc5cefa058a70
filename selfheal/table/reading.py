"""Windows out of the inference table, in numpy columns."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from selfheal.table.schema import LABELS, ModelSchema
from selfheal.table.values import to_us
from selfheal.table.windows import Window, WindowRef, spread

if TYPE_CHECKING:
    import pandas as pd

LABELLED_ROWS = 10_000
"""Labelled rows of a window that are read, and counted, at most."""
CHUNK = 20_000
"""Rows fetched at once: bounds the Python objects alive while a window is read (about 10 MB at 20 columns)."""
_STATEMENT_KEYS = 5_000
"""Row numbers named in one statement: SQLite takes 32,766 variables."""


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
            chosen = np.array_split(seqs, max(1, -(-len(seqs) // _STATEMENT_KEYS)))
    conditions = [inside] if chosen is None else [table.c.seq.in_(part.tolist()) for part in chosen]
    any_label = sa.exists().where(LABELS.c.model == schema.model)
    counted = sa.select(sa.func.count(), any_label).select_from(table).where(inside)
    rows, labelled = connection.execute(counted).one()
    sink = _Columns(schema, rows if chosen is None else sum(map(len, chosen)))
    for condition in conditions:
        sink.fetch(connection, sink.query(condition, bool(labelled)))
    return sink.window(ref)


def read_labelled(connection: sa.Connection, schema: ModelSchema, ref: WindowRef, limit: int) -> Window:
    """The rows of a window whose label has come, the first ``limit`` by arrival."""
    table = schema.table
    known = sa.select(LABELS.c.prediction_id).where(LABELS.c.model == schema.model)
    chosen = sa.select(table.c.seq).where(_inside(table, ref), table.c.prediction_id.in_(known))
    seqs = connection.execute(chosen.order_by(table.c.seq).limit(limit)).scalars().all()
    sink = _Columns(schema, len(seqs))
    for begin in range(0, len(seqs), _STATEMENT_KEYS):
        sink.fetch(connection, sink.query(table.c.seq.in_(seqs[begin : begin + _STATEMENT_KEYS]), labelled=True))
    return sink.window(ref)


def read_latencies(
    connection: sa.Connection, schema: ModelSchema, ref: WindowRef, limit: int
) -> npt.NDArray[np.float64]:
    """Milliseconds that requests of a window took, of at most ``limit`` of its rows."""
    query = sa.select(schema.table.c.latency_ms).where(_inside(schema.table, ref)).limit(limit)
    return np.array(connection.execute(query).scalars().all(), dtype=np.float64)


def _inside(table: sa.Table, ref: WindowRef) -> sa.ColumnElement[bool]:
    inside = sa.and_(table.c.event_time >= to_us(ref.start), table.c.event_time < to_us(ref.end))
    if ref.seqs is not None:  # between them lie rows that no window can hold: see cycles.AHEAD_US
        return sa.and_(table.c.seq > ref.seqs[0], table.c.seq <= ref.seqs[1], inside)
    return inside


class _Columns:
    """Collects fetched rows as numpy columns, so that a million rows never exist as Python objects, nor twice.

    A fetched row is ``(seq, event_time, prediction_id, texts…, numbers…, probabilities…, version, label)``: what is
    no float comes first, so that the rest of many rows is one array.
    """

    def __init__(self, schema: ModelSchema, expected: int) -> None:
        self.schema = schema
        self.texts = [name for name, dtype in schema.dtypes.items() if dtype == "str"]
        self.numbers = [name for name, dtype in schema.dtypes.items() if dtype != "str"]
        self.first = 3 + len(self.texts)
        self.width = len(self.numbers) + len(schema.classes) + 2
        self.rows = 0
        self.keys = np.empty((2, expected), dtype=np.int64)
        self.words = np.empty((1 + len(self.texts), expected), dtype=object)
        self.floats = np.empty((self.width, expected))

    def query(self, condition: sa.ColumnElement[bool], labelled: bool) -> sa.Select[Any]:
        """The rows to fetch, each with its label's code, or -1."""
        table, columns = self.schema.table, self.schema.columns
        names = [columns[name] for name in (*self.texts, *self.numbers)] + self.schema.probabilities
        chosen = [table.c.seq, table.c.event_time, table.c.prediction_id, *(table.c[name] for name in names)]
        if not labelled:
            return sa.select(*chosen, table.c.model_version, sa.literal_column("-1")).where(condition)
        same = (LABELS.c.model == self.schema.model) & (LABELS.c.prediction_id == table.c.prediction_id)
        code = sa.func.coalesce(LABELS.c.label, -1)
        return (
            sa.select(*chosen, table.c.model_version, code).select_from(table.outerjoin(LABELS, same)).where(condition)
        )

    def fetch(self, connection: sa.Connection, query: sa.Select[Any]) -> None:
        """Take the query's rows, chunk by chunk."""
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
        here = slice(self.rows, self.rows + len(rows))
        self.rows = here.stop
        if here.stop > self.keys.shape[1]:  # rows that came since they were counted
            more = here.stop - self.keys.shape[1]
            self.keys, self.words, self.floats = (
                np.pad(array, ((0, 0), (0, more))) for array in (self.keys, self.words, self.floats)
            )
        self.keys[:, here] = np.array([row[:2] for row in rows], dtype=np.int64).T
        for place in range(len(self.words)):
            self.words[place, here] = [row[2 + place] for row in rows]
        tails = [row[self.first :] for row in rows]
        try:
            flat = np.fromiter(itertools.chain.from_iterable(tails), np.float64, count=len(rows) * self.width)
        except TypeError:  # a missing value: numpy makes NaN of None only the slower way
            flat = np.array(tails, dtype=np.float64)
        self.floats[:, here] = flat.reshape(len(rows), self.width).T

    def window(self, ref: WindowRef) -> Window:
        """Everything that was fetched, in order of event time."""
        import pandas as pd

        keys, words, floats = (array[:, : self.rows] for array in (self.keys, self.words, self.floats))
        order = np.lexsort((keys[0], keys[1]))
        if not np.array_equal(order, np.arange(len(order))):
            for column in (*keys, *words, *floats):  # one at a time: no second copy of the whole
                column[:] = column[order]
        columns: dict[str, npt.NDArray[Any]] = dict(zip(self.texts, words[1:], strict=True))
        for name, values in zip(self.numbers, floats, strict=False):
            columns[name] = as_declared(values, self.schema.dtypes[name])
        index = pd.Index(words[0], name="prediction_id", dtype=object)
        ordered = {name: columns[name] for name in self.schema.dtypes}
        return Window(
            ref=ref,
            frame=pd.DataFrame(ordered, index=index, columns=list(self.schema.dtypes), copy=False),
            probabilities=np.column_stack(list(floats[len(self.numbers) : -2])),
            versions=floats[-2].astype(np.int64),
            event_times=pd.DatetimeIndex(keys[1].astype("datetime64[us]")).tz_localize("UTC"),
            labels=label_series(floats[-1], self.schema.classes, index),
        )


def as_declared(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """Integers and truth values again, unless something else was sent in such a column."""
    if dtype == "int" and bool(np.isfinite(values).all() and (values % 1 == 0).all() and (abs(values) < 2**63).all()):
        return values.astype(np.int64)
    if dtype == "bool" and bool(np.isin(values, (0.0, 1.0)).all()):
        return values.astype(np.bool_)
    return values


def label_series(codes: npt.NDArray[np.float64], classes: tuple[Any, ...], index: pd.Index) -> pd.Series:
    """Class labels by their positions, NaN for -1: float64 where every class is a number, else objects."""
    import pandas as pd

    known = codes >= 0
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in classes):
        values = np.full(len(codes), np.nan)
        values[known] = np.asarray(classes, dtype=np.float64)[codes[known].astype(np.int64)]
        return pd.Series(values, index=index, name="label")
    out = np.full(len(codes), np.nan, dtype=object)
    out[known] = np.array(classes, dtype=object)[codes[known].astype(np.int64)]
    return pd.Series(out, index=index, name="label", dtype=object)
