"""What the own table holds no longer: old rows with their labels, a few thousand a transaction."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from selfheal.table.cycles import newest_bounds, waiting
from selfheal.table.database import Database
from selfheal.table.schema import LABELS, ModelSchema
from selfheal.table.values import to_us
from selfheal.table.windows import WindowRef

BATCH_ROWS = 5_000
"""Rows in one transaction: some 0.1 s of SQLite, so that a service that logs is not kept waiting."""

Span = tuple[datetime, datetime]


class Forgotten(NamedTuple):
    """Rows deleted, and whether it stopped before it had looked at all."""

    rows: int
    more: bool


class Retention:
    """Deletes rows of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unhandled(self, model: str) -> list[WindowRef]:
        """The windows that have closed and were not processed yet."""
        with self._database.read() as connection:
            return waiting(connection, model, 2**62)

    def forget(self, schema: ModelSchema, before: datetime, kept: Iterable[Span], most: int) -> Forgotten:
        """Delete rows dated before a time, with their labels; each batch is committed.

        Parameters
        ----------
        before
            Never a row that no window has counted yet is deleted, however old it is.
        kept
            Spans of event time whose rows stay, [start, end).
        most
            So many rows, and those of the batch that reaches it.
        """
        deleted, place = 0, -(2**63)
        ends = [*_merged(kept), (to_us(before), None)]
        for start, end in ends:  # what lies before each span that stays, then from its end on
            while place < start:
                with self._database.write() as connection:
                    rows = _next(connection, schema, place, min(start, to_us(before)))
                    _delete(connection, schema, rows)
                deleted += len(rows)
                if not rows:
                    break
                if deleted >= most:
                    return Forgotten(deleted, more=True)
            if end is not None:
                place = end
        return Forgotten(deleted, more=False)


def _merged(spans: Iterable[Span]) -> list[tuple[int, int]]:
    """Spans in order, in µs, those that touch as one."""
    out: list[tuple[int, int]] = []
    for start, end in sorted((to_us(start), to_us(end)) for start, end in spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def _next(connection: sa.Connection, schema: ModelSchema, start: int, end: int) -> list[tuple[int, str]]:
    """Some rows dated [start, end), as number and id, that a window has counted, or none will count any more."""
    rows, mark = schema.table.c, newest_bounds(connection, schema.model)
    if mark.end is None:
        return []
    query = sa.select(rows.seq, rows.prediction_id).where(
        rows.event_time >= start, rows.event_time < min(end, mark.end)
    )
    if mark.seq is not None:
        query = query.where(rows.seq <= mark.seq)
    return [(seq, prediction_id) for seq, prediction_id in connection.execute(query.limit(BATCH_ROWS))]


def _delete(connection: sa.Connection, schema: ModelSchema, rows: list[tuple[int, str]]) -> None:
    if not rows:
        return
    ids = [prediction_id for _, prediction_id in rows]
    connection.execute(LABELS.delete().where(LABELS.c.model == schema.model, LABELS.c.prediction_id.in_(ids)))
    connection.execute(schema.table.delete().where(schema.table.c.seq.in_([seq for seq, _ in rows])))
