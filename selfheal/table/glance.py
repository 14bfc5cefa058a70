"""What a glance tells: figures about windows and labels for which no record and no row is read."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from selfheal.table.database import Database
from selfheal.table.schema import CYCLES, LABELS
from selfheal.table.values import from_us


class Glance:
    """Glances at the models of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def spans(self, model: str, last: int) -> list[tuple[datetime, datetime]]:
        """Start and end of the last processed windows, oldest first."""
        done = (CYCLES.c.model == model) & CYCLES.c.record.is_not(None) & CYCLES.c.start_us.is_not(None)
        query = sa.select(CYCLES.c.start_us, CYCLES.c.end_us).where(done).order_by(CYCLES.c.window_index.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.limit(last)).fetchall()[::-1]
        return [(from_us(start), from_us(end)) for start, end in rows]

    def labels(self, model: str) -> tuple[int, int]:
        """How many labels have come, and when the newest did, µs since 1970 (0 where there is none)."""
        newest = sa.func.coalesce(sa.func.max(LABELS.c.at), 0)
        query = sa.select(sa.func.count(), newest).where(LABELS.c.model == model)
        with self._database.read() as connection:
            count, at = connection.execute(query).one()
        return int(count), int(at)
