"""Windows of time that are to be closed early, each once: a service asks for it, the planning of windows obeys."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from selfheal.table.cycles import newest_bounds
from selfheal.table.database import Database
from selfheal.table.schema import CUTS, SENTINELS, ModelSchema
from selfheal.table.state import insert_into, put_row
from selfheal.table.values import to_us


class Cut(NamedTuple):
    """A window that is to be closed early: its nominal start and its end, µs, and why."""

    start: int
    end: int
    why: str


class Sentinels:
    """The plans and the cuts of every model in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def plan(self, model: str) -> str:
        """What a service is to count, as text; empty where nothing."""
        with self._database.read() as connection:
            plan = connection.execute(sa.select(SENTINELS.c.plan).where(SENTINELS.c.model == model)).scalar()
            return str(plan or "")

    def set_plan(self, model: str, plan: str) -> None:
        """Replace it."""
        with self._database.write() as connection:
            put_row(connection, SENTINELS, {"model": model, "plan": plan})

    def ask(self, schema: ModelSchema, start: int, end: int, min_rows: int, why: str) -> bool:
        """Ask that the window that nominally starts at ``start`` (µs) be closed at ``end``, once it holds enough rows.

        Returns
        -------
        bool
            Whether it will be, by this call or by one before: a window is cut once.
        """
        with self._database.write(alone=f"windows of {schema.model}") as connection:
            if connection.execute(sa.select(CUTS.c.cut_us).where(_here(schema.model, start))).first() is not None:
                return True
            mark, time = newest_bounds(connection, schema.model), schema.table.c.event_time
            begun = start if mark.end is None else max(start, mark.end)
            some = sa.select(sa.literal(1)).where(time >= begun, time < end).limit(min_rows).subquery()
            if int(connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one()) < min_rows:
                return False
            row = {"model": schema.model, "start_us": start, "cut_us": end, "why": why, "told": False}
            connection.execute(insert_into(connection, CUTS).values(row).on_conflict_do_nothing())
        return True

    def due(self, model: str, before: datetime) -> Cut | None:
        """The newest cut by then for which no monitor run was started yet; it counts as told from here on."""
        due = (CUTS.c.model == model) & CUTS.c.told.is_(False) & (CUTS.c.cut_us <= to_us(before))
        query = sa.select(CUTS.c.start_us, CUTS.c.cut_us, CUTS.c.why).where(due).order_by(CUTS.c.start_us.desc())
        with self._database.read() as connection:
            row = connection.execute(query.limit(1)).first()
        if row is None:
            return None
        with self._database.write() as connection:
            connection.execute(CUTS.update().where(due).values(told=True))
        return Cut(*row)

    def cut_at(self, model: str, end: datetime) -> str:
        """Why a window was closed early that ends there; empty where it was not."""
        query = sa.select(CUTS.c.why).where(CUTS.c.model == model, CUTS.c.cut_us == to_us(end))
        with self._database.read() as connection:
            return str(connection.execute(query).scalar() or "")


def _here(model: str, start: int) -> sa.ColumnElement[bool]:
    return (CUTS.c.model == model) & (CUTS.c.start_us == start)
