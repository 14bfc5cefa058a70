"""Rows that were answered and are in no log, by minute and reason: no window holds them, and they must not vanish.

A count is what one process has counted in all, never an increment: writing it again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from selfheal.table.database import Database
from selfheal.table.refusals import Refusal, in_minutes
from selfheal.table.schema import CYCLES, GAPS, REFUSED
from selfheal.table.state import insert_into
from selfheal.table.values import to_us
from selfheal.table.windows import WindowRef


@dataclass(frozen=True)
class Gap:
    """So many answered ``rows`` that are not logged, for one ``reason``."""

    reason: str
    rows: int

    def __str__(self) -> str:
        return f"{self.rows} rows: {self.reason}"


class Gaps:
    """The counts of every model in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, model: str, source: str, counts: Mapping[tuple[int, str], int]) -> None:
        """Write down the rows that ``source`` has counted by (start of the minute in microseconds since 1970, reason).

        A count that is smaller than the one held is older than it, and changes nothing.
        """
        rows = [
            {"model": model, "minute": minute, "reason": reason, "source": source, "row_count": count}
            for (minute, reason), count in counts.items()
        ]
        if not rows:
            return
        with self._database.write() as connection:
            insert = insert_into(connection, GAPS)
            new = insert.excluded.row_count
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=[*GAPS.primary_key], set_={"row_count": new}, where=new > GAPS.c.row_count
                ),
                rows,
            )

    def between(self, model: str, start: datetime | None = None, end: datetime | None = None) -> list[Gap]:
        """What is missing of the minutes that end after ``start`` and not after ``end``, the most first."""
        rows = sa.func.sum(GAPS.c.row_count)
        query = sa.select(GAPS.c.reason, rows).where(*in_minutes(GAPS, model, start, end)).group_by(GAPS.c.reason)
        with self._database.read() as connection:
            counts = connection.execute(query.order_by(rows.desc(), GAPS.c.reason))
            return [Gap(reason, int(count)) for reason, count in counts]

    def around(self, ref: WindowRef) -> tuple[list[Refusal], list[Gap]]:
        """What was refused, and what is missing, since the window before this one ended; of the first: in its time.

        Each as ``between`` has them, the most first; one statement, for that is asked of every window.
        """
        model, start = ref.model, sa.literal(to_us(ref.start), CYCLES.c.end_us.type)
        before = (CYCLES.c.model == model) & (CYCLES.c.window_index == ref.index - 1)
        since = sa.func.coalesce(sa.select(CYCLES.c.end_us).where(before).scalar_subquery(), start)
        refused, missing = (
            sa.select(column.label("feature"), table.c.reason, sa.func.sum(table.c.row_count).label("rows"))
            .where(*in_minutes(table, model, since, ref.end))
            .group_by("feature", table.c.reason)
            for table, column in ((REFUSED, REFUSED.c.feature), (GAPS, sa.literal(None, sa.Text)))
        )
        query = sa.union_all(refused, missing)
        with self._database.read() as connection:
            counts = sorted(connection.execute(query), key=lambda row: (-row.rows, row.reason, row.feature or ""))
        gaps = [Gap(reason, int(rows)) for feature, reason, rows in counts if feature is None]
        return [Refusal(reason, of, int(rows)) for of, reason, rows in counts if of is not None], gaps
