"""What a glance tells: how the bookkeeping of a model stands, and the last windows, for which no row is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from selfheal.table import cycles
from selfheal.table.chain import Head, newest_link
from selfheal.table.database import Database
from selfheal.table.schema import ALERT_MARKS, LABELS, SENTINELS


@dataclass(frozen=True)
class Books:
    """How the bookkeeping of a model stood at one time.

    Attributes
    ----------
    head
        The newest link of the journal's chain; None where nothing was journaled yet.
    labels
        How many labels have come, and when the newest did, µs since 1970 (0 where there is none).
    marks
        What each mark says, by its name.
    plan
        What a service is to count, see :meth:`Sentinels.plan`.
    """

    head: Head | None
    labels: tuple[int, int]
    marks: Mapping[str, str]
    plan: str


class Glance:
    """Glances at the models of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def books(self, model: str) -> Books:
        """How the bookkeeping stands now: one statement, and so one time."""
        newest = sa.func.coalesce(sa.func.max(LABELS.c.at), 0).label("at")
        labels = sa.select(sa.func.count().label("count"), newest).where(LABELS.c.model == model).subquery()
        head, plan = newest_link(model).subquery(), sa.select(SENTINELS.c.plan).where(SENTINELS.c.model == model)
        marks = labels.outerjoin(head, sa.true()).outerjoin(ALERT_MARKS, ALERT_MARKS.c.model == model)
        columns = (*labels.c, *head.c, plan.scalar_subquery(), ALERT_MARKS.c.mark, ALERT_MARKS.c.value)
        with self._database.read() as connection:
            rows = connection.execute(sa.select(*columns).select_from(marks)).fetchall()
        count, at, link, hashed, plan_, *_ = rows[0]
        said = {str(mark): str(value) for *_, mark, value in rows if mark is not None}
        return Books(None if link is None else Head(int(link), str(hashed)), (int(count), int(at)), said, plan_ or "")

    def windows(
        self, model: str, last: int, among: int
    ) -> tuple[list[dict[str, Any]], list[tuple[datetime, datetime]]]:
        """The ``last`` records (:meth:`InferenceTable.cycles`), start and end of the last ``among``, oldest first."""
        with self._database.read() as connection:
            return cycles.recorded_among(connection, model, last, among)
