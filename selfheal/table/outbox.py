"""The outbox: an alert is a row here before it is a message, and each place is told the rows in order.

A place (a target) is a cursor: the last row that it was told. So a message is sent again only where a process died
between sending it and saying so, under the same number. Times are the database's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from selfheal.table.database import Database
from selfheal.table.schema import ALERT_MARKS, ALERT_TARGETS, ALERTS
from selfheal.table.state import database_now, insert_into
from selfheal.table.values import duration_us, from_us, to_json

TOLD_FROM = timedelta(days=1)
"""A target that was never told before begins with the alerts of the last day."""

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=5), timedelta(hours=1)
"""Before a message that failed is sent again: the first, doubled each time, up to the longest."""

AT_ONCE = 20
"""Alerts that are read for one round of sending."""


@dataclass(frozen=True)
class AlertRow:
    """An alert as it was written: its number grows with time, and names it in every message."""

    id: int
    model: str
    at: datetime
    record: dict[str, Any]


@dataclass(frozen=True)
class Target:
    """How far a place was told.

    Attributes
    ----------
    shown
        The place without its secrets.
    waiting
        Alerts that it was not told yet.
    tries, error
        How often the oldest of them failed, and why the last time.
    tried
        When something was last sent, or tried.
    """

    target: str
    shown: str
    waiting: int
    tries: int
    error: str
    tried: datetime


class Outbox:
    """The alerts of every model in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, model: str, name: str) -> tuple[str, datetime] | None:
        """A mark of a model and when it was made; None where it was not."""
        query = sa.select(ALERT_MARKS.c.value, ALERT_MARKS.c.at).where(_of(ALERT_MARKS, model, mark=name))
        with self._database.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else (str(row[0]), from_us(row[1]))

    def set_mark(self, model: str, name: str, value: str) -> None:
        """Make a mark now; it replaces the one of that name."""
        with self._database.write() as connection:
            _mark(connection, model, name, value)

    def marks(self, model: str) -> tuple[datetime, dict[str, tuple[str, datetime]]]:
        """The database's clock, and each mark of a model by its name: what it says and when it was made."""
        one = sa.select(sa.literal(1).label("one")).subquery()
        with self._database.read() as connection:
            clock = database_now(connection).label("now")
            query = sa.select(clock, ALERT_MARKS.c.mark, ALERT_MARKS.c.value, ALERT_MARKS.c.at)
            rows = connection.execute(query.select_from(one.outerjoin(ALERT_MARKS, _of(ALERT_MARKS, model)))).fetchall()
        marks = {str(name): (str(value), from_us(at)) for _, name, value, at in rows if name is not None}
        return from_us(rows[0][0]), marks

    def now(self) -> datetime:
        """The database's clock."""
        with self._database.read() as connection:
            return from_us(_now(connection))

    def add(self, model: str, records: Sequence[Mapping[str, Any]], name: str, value: str, seen: str | None) -> bool:
        """Write alerts, and in the same transaction the mark that says what they were made from.

        Parameters
        ----------
        name, value, seen
            The mark, what it is to say, and what it said when the alerts were made (None: it was not there). Where it
            says something else by now, another process has written them, and nothing happens.
        """
        with self._database.write(alone=f"alerts of {model}") as connection:
            if not _mark_if(connection, model, name, value, seen):
                return False
            if records:
                rows = [{"model": model, "record": to_json(dict(record))} for record in records]
                connection.execute(ALERTS.insert().values(at=database_now(connection)), rows)
            return True

    def due(self, model: str, target: str) -> list[AlertRow]:
        """What a target is to be told now, in order; nothing while it waits after a failure."""
        with self._database.read() as connection:
            now = _now(connection)
            targets = connection.execute(sa.select(ALERT_TARGETS).where(_of(ALERT_TARGETS, model, target=target)))
            row = targets.mappings().first()
            if row is not None and row["due"] > now:
                return []
            upto = _begin(connection, model, now) if row is None else row["upto"]
            query = sa.select(ALERTS).where(ALERTS.c.model == model, ALERTS.c.id > upto).order_by(ALERTS.c.id)
            return [_alert(each) for each in connection.execute(query.limit(AT_ONCE)).mappings()]

    def sent(self, alert: AlertRow, target: str, shown: str) -> None:
        """A target was told this one; the next is due at once. A cursor never goes back."""
        with self._database.write() as connection:
            now = _now(connection)
            values = {"upto": alert.id, "tries": 0, "due": now, "tried": now, "error": ""}
            row = {"model": alert.model, "target": target, "shown": shown, **values}
            _put(connection, ALERT_TARGETS, row, where=ALERT_TARGETS.c.upto < alert.id)

    def failed(self, alert: AlertRow, target: str, shown: str, error: str) -> timedelta:
        """A target could not be told; how long it now waits."""
        with self._database.write() as connection:
            now = _now(connection)
            query = sa.select(ALERT_TARGETS.c.tries).where(_of(ALERT_TARGETS, alert.model, target=target))
            tries = (connection.execute(query).scalar() or 0) + 1
            wait: timedelta = min(FIRST_WAIT * 2 ** min(tries - 1, 30), LONGEST_WAIT)
            values = {"upto": alert.id - 1, "tries": tries, "due": now + duration_us(wait), "tried": now}
            row = {"model": alert.model, "target": target, "shown": shown, "error": error, **values}
            _put(connection, ALERT_TARGETS, row, where=ALERT_TARGETS.c.upto < alert.id)
        return wait

    def alerts(self, model: str, last: int | None = None) -> list[AlertRow]:
        """A model's alerts, oldest first."""
        query = sa.select(ALERTS).where(ALERTS.c.model == model).order_by(ALERTS.c.id.desc()).limit(last)
        with self._database.read() as connection:
            return [_alert(row) for row in connection.execute(query).mappings()][::-1]

    def targets(self, model: str) -> list[Target]:
        """Every place that was told, or could not be."""
        more = (ALERTS.c.model == model) & (ALERTS.c.id > ALERT_TARGETS.c.upto)
        waiting = sa.select(sa.func.count()).where(more).correlate(ALERT_TARGETS).scalar_subquery()
        query = sa.select(ALERT_TARGETS, waiting.label("waiting")).where(ALERT_TARGETS.c.model == model)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(ALERT_TARGETS.c.target)).mappings().fetchall()
        names = ("target", "shown", "waiting", "tries", "error")
        return [Target(**{n: row[n] for n in names}, tried=from_us(row["tried"])) for row in rows]


def _begin(connection: sa.Connection, model: str, now: int) -> int:
    """The last alert that a new target is not told any more."""
    old = (ALERTS.c.model == model) & (ALERTS.c.at < now - duration_us(TOLD_FROM))
    return int(connection.execute(sa.select(sa.func.max(ALERTS.c.id)).where(old)).scalar() or 0)


def _alert(row: sa.RowMapping) -> AlertRow:
    return AlertRow(row["id"], row["model"], from_us(row["at"]), json.loads(row["record"]))


def _put(
    connection: sa.Connection, table: sa.Table, values: Mapping[str, Any], where: sa.ColumnElement[bool] | None = None
) -> None:
    """Write a row; the one that is there only where ``where`` holds of it."""
    insert = insert_into(connection, table).values(values)
    keys = [column.name for column in table.primary_key]
    new = {name: insert.excluded[name] for name in values if name not in keys}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=new, where=where))


def _mark(connection: sa.Connection, model: str, name: str, value: str) -> None:
    values = {"model": model, "mark": name, "at": database_now(connection), "value": value}
    _put(connection, ALERT_MARKS, values)


def _mark_if(connection: sa.Connection, model: str, name: str, value: str, seen: str | None) -> bool:
    """Make a mark where it still says what was seen (None: where there is none); whether it was made."""
    values = {"model": model, "mark": name, "at": database_now(connection), "value": value}
    if seen is None:
        made = insert_into(connection, ALERT_MARKS).values(values).on_conflict_do_nothing()
        return connection.execute(made.returning(ALERT_MARKS.c.mark)).first() is not None
    same = _of(ALERT_MARKS, model, mark=name, value=seen)
    return connection.execute(ALERT_MARKS.update().where(same).values(values)).rowcount == 1


def _of(table: sa.Table, model: str, **more: str) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.model == model, *(table.c[name] == value for name, value in more.items()))


def _now(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(database_now(connection))).scalar_one())
