"""Rows that the service refused, counted by minute, reason and column: they are in no window, and must not vanish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from selfheal.table.database import Database
from selfheal.table.schema import REFUSED
from selfheal.table.state import insert_into
from selfheal.table.values import to_us

MINUTE_US = 60_000_000
"""A minute's count belongs to the window in which the minute ends."""


@dataclass(frozen=True)
class Refusal:
    """So many ``rows`` refused for one ``reason`` because of one ``column`` (empty: of no column)."""

    reason: str
    column: str
    rows: int

    def __str__(self) -> str:
        return f"{self.rows} rows: {self.reason}{f' {self.column!r}' if self.column else ''}"


def in_minutes(
    table: sa.Table, model: str, start: datetime | sa.ColumnElement[int] | None, end: datetime | None
) -> Iterator[sa.ColumnElement[bool]]:
    """What holds for the counts of a model's minutes that end after ``start`` and not after ``end``."""
    yield table.c.model == model
    if start is not None:
        yield table.c.minute > (to_us(start) if isinstance(start, datetime) else start) - MINUTE_US
    if end is not None:
        yield table.c.minute <= to_us(end) - MINUTE_US


class Refusals:
    """The counts of every model in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, model: str, counts: Mapping[tuple[int, str, str], int]) -> None:
        """Add rows by (start of the minute in microseconds since 1970, reason, column)."""
        rows = [
            {"model": model, "minute": minute, "reason": reason, "feature": column, "row_count": count}
            for (minute, reason, column), count in counts.items()
        ]
        with self._database.write() as connection:
            insert = insert_into(connection, REFUSED)
            more = {"row_count": REFUSED.c.row_count + insert.excluded.row_count}
            connection.execute(insert.on_conflict_do_update(index_elements=[*REFUSED.primary_key], set_=more), rows)

    def between(self, model: str, start: datetime | None = None, end: datetime | None = None) -> list[Refusal]:
        """What was refused in the minutes that end after ``start`` and not after ``end``, the most first."""
        rows = sa.func.sum(REFUSED.c.row_count)
        query = sa.select(REFUSED.c.reason, REFUSED.c.feature, rows).where(*in_minutes(REFUSED, model, start, end))
        query = query.group_by(REFUSED.c.reason, REFUSED.c.feature)
        with self._database.read() as connection:
            counts = connection.execute(query.order_by(rows.desc(), REFUSED.c.reason, REFUSED.c.feature))
            return [Refusal(reason, column, int(count)) for reason, column, count in counts]

    def served_since(self, model: str, start: datetime | None) -> bool:
        """Whether a row of that time or later was logged: then the windows will speak."""
        logged = sa.table(f"predictions_{model}", sa.column("event_time"))
        query = sa.select(1).select_from(logged).limit(1)
        if start is not None:
            query = query.where(logged.c.event_time >= to_us(start))
        with self._database.read() as connection:
            return connection.execute(query).first() is not None
