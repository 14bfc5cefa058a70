"""What the state database remembers of a log that lies elsewhere: bounds of windows, and labels that were sent here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from selfheal.table import cycles
from selfheal.table.cycles import Mark
from selfheal.table.database import Database
from selfheal.table.schema import LABELS
from selfheal.table.windows import WindowRef


class Elsewhere:
    """State of models whose rows are read from their owner's log. Times are microseconds since 1970."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def mark(self, model: str) -> Mark:
        """How far the model's windows go."""
        with self._database.read() as connection:
            return cycles.newest_bounds(connection, model)

    def fix(self, model: str, mark: Mark, fresh: Sequence[Mapping[str, Any]], horizon: int) -> list[WindowRef]:
        """Write the bounds of windows that closed since ``mark``; return all by ``horizon`` that wait to be processed.

        Where another run has written some since ``mark`` was read, its bounds stand and none are written: no row
        counts twice.
        """
        with self._database.write(alone=f"windows of {model}") as connection:
            now = cycles.newest_bounds(connection, model)
            if (now.number, now.end) == (mark.number, mark.end):
                cycles.fix_bounds(connection, model, mark, fresh)
            return cycles.waiting(connection, model, horizon)

    def labels(self, model: str) -> list[tuple[str, int]]:
        """Prediction id and position of the class of every label that was sent here."""
        query = sa.select(LABELS.c.prediction_id, LABELS.c.label).where(LABELS.c.model == model)
        with self._database.read() as connection:
            return [(str(row[0]), int(row[1])) for row in connection.execute(query)]
