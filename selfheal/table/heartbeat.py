"""Heartbeats: when some reconciler last looked at a model's stages, and what it found wrong.

Times are the database's: a service and the reconciler of another host agree on them whatever their clocks say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from selfheal.table.database import Database
from selfheal.table.schema import HEARTBEATS
from selfheal.table.state import database_now, put_row
from selfheal.table.values import from_us

STALE_S = 30.0
"""A look takes a second and is told every five: after this long without one, nobody looks."""


@dataclass(frozen=True)
class Trouble:
    """Something that a person should look at.

    Attributes
    ----------
    words
        What it is, and the remedy.
    since
        When it was first found, UTC.
    """

    words: str
    since: datetime

    def __str__(self) -> str:
        return f"{self.words} (since {self.since:%Y-%m-%d %H:%M:%S} UTC)"


@dataclass(frozen=True)
class Heartbeat:
    """What the reconcilers of a model last said.

    Attributes
    ----------
    holder
        Which of them looked last.
    looked
        When a look last succeeded, UTC; where none ever did, when the first failed.
    age
        Seconds since then, by the database's clock.
    error
        Why the newest look failed, or empty.
    troubles
        Kind (``"production"``, ``"policy"``, ``"restored"``) → what the last look that succeeded found wrong.
    """

    holder: str
    looked: datetime
    age: float
    error: str
    troubles: Mapping[str, Trouble]

    def complaints(self) -> dict[str, str]:
        """What is wrong, by kind, each with the time since when; ``"stages"``: nobody looks at them any more."""
        words = {kind: str(trouble) for kind, trouble in self.troubles.items()}
        if self.age > STALE_S:
            why = self.error or f"the reconciler {self.holder} says no more: was it killed, stopped, or does it hang?"
            words["stages"] = (
                f"nobody has looked at the stages in MLflow since {self.looked:%Y-%m-%d %H:%M:%S} UTC "
                f"({self.age:.0f} s, limit {STALE_S:g} s), so that no change of them is served: {why}"
            )
        return words


class Heartbeats:
    """The heartbeats of every model, in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def beat(self, model: str, holder: str, troubles: Mapping[str, str]) -> None:
        """Say that the stages were looked at, and what is wrong by kind; what was wrong before keeps its time."""
        with self._database.write(alone=f"heartbeat {model}") as connection:
            now = _now(connection)
            text = connection.execute(sa.select(HEARTBEATS.c.troubles).where(HEARTBEATS.c.model == model)).scalar()
            before = json.loads(text or "{}")
            kept = {
                kind: {"words": words, "since": before[kind]["since"] if kind in before else now}
                for kind, words in troubles.items()
            }
            said = {"model": model, "holder": holder, "looked": now, "error": "", "troubles": json.dumps(kept)}
            put_row(connection, HEARTBEATS, said)

    def miss(self, model: str, holder: str, error: str) -> None:
        """Say that the stages could not be looked at: the time and what the last good look found stay."""
        with self._database.write() as connection:
            now = _now(connection)
            values = {"model": model, "holder": holder, "looked": now, "error": error, "troubles": "{}"}
            put_row(connection, HEARTBEATS, values, changed=("error",))

    def end(self, model: str, holder: str) -> None:
        """Say that this reconciler was stopped on purpose; what another one said stays."""
        mine = (HEARTBEATS.c.model == model) & (HEARTBEATS.c.holder == holder)
        with self._database.write() as connection:
            connection.execute(HEARTBEATS.delete().where(mine))

    def last(self, model: str) -> Heartbeat | None:
        """What the reconcilers last said; None where none runs."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(HEARTBEATS).where(HEARTBEATS.c.model == model)).mappings().first()
            if row is None:
                return None
            return Heartbeat(
                holder=row["holder"],
                looked=from_us(row["looked"]),
                age=(_now(connection) - row["looked"]) / 1e6,
                error=row["error"],
                troubles={k: Trouble(t["words"], from_us(t["since"])) for k, t in json.loads(row["troubles"]).items()},
            )


def _now(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(database_now(connection))).scalar_one())
