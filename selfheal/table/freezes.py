"""Freezes: from one until its end the loop of a model begins no change of what serves.

The flag and its journal entry are one transaction, and so are a look at the flag and the intent of a change of the
loop's: whatever is journaled after a freeze was begun before it, or is somebody else's. Times are the database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from selfheal.errors import HeldError, InputError
from selfheal.table import journal
from selfheal.table.database import Database
from selfheal.table.schema import FREEZES
from selfheal.table.state import Claim, database_now, keep, put_row
from selfheal.table.values import from_us, to_us

FREEZE, UNFREEZE = "freeze", "unfreeze"
"""Kinds of the journal entries."""


@dataclass(frozen=True)
class Freeze:
    """Somebody's word that the loop of a model changes nothing.

    Attributes
    ----------
    by, why
        Who said so, and the reason.
    since, until
        From when, and to when, UTC; ``until`` is None where only an unfreeze ends it.
    """

    by: str
    why: str
    since: datetime
    until: datetime | None

    def __str__(self) -> str:
        end = f", until {_minute(self.until)}" if self.until is not None else ""
        return f"by {self.by} since {_minute(self.since)}{end}: {self.why}"


class Freezes:
    """The freezes of every model in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, model: str) -> Freeze | None:
        """The freeze in force."""
        with self._database.read() as connection:
            return _in_force(connection, model)

    def set(self, model: str, by: str, why: str, until: datetime | None, at: datetime) -> Freeze | None:
        """Freeze a model and journal it; returns the freeze that was in force before, which ends with this one.

        Raises
        ------
        InputError
            ``until`` is over by the database's clock.
        """
        with self._database.write(alone=_alone(model)) as connection:
            now, before = _now(connection), _in_force(connection, model)
            if until is not None and to_us(until) <= now:
                raise InputError(
                    f"the freeze would end at {_minute(until)}, which is over: the database's clock says "
                    f"{_minute(from_us(now))}; give a later --until, or none"
                )
            end = None if until is None else to_us(until)
            put_row(connection, FREEZES, {"model": model, "by": by, "why": why, "since": now, "until": end})
            intent = {"actor": by, "reasons": [why], "until": None if until is None else until.isoformat()}
            journal.note(connection, model, FREEZE, intent, {"result": "frozen"}, at)
            return before

    def lift(self, model: str, by: str, at: datetime) -> Freeze | None:
        """End a freeze and journal it; returns the one that was in force, None (and no entry) where there was none."""
        with self._database.write(alone=_alone(model)) as connection:
            before = _in_force(connection, model)
            connection.execute(FREEZES.delete().where(FREEZES.c.model == model))
            if before is not None:
                intent = {"actor": by, "reasons": [f"ends the freeze {before}"]}
                journal.note(connection, model, UNFREEZE, intent, {"result": "unfrozen"}, at)
            return before

    def begin(self, model: str, kind: str, intent: dict[str, Any], at: datetime, under: Claim | None = None) -> int:
        """Write the intent of a change of the loop's before acting on it; returns the entry's id.

        Raises
        ------
        HeldError, BusyError
            The model is frozen; the lease ``under`` which it is written is lost. Nothing was written.
        """
        with self._database.write(alone=_alone(model)) as connection:
            keep(connection, under)
            freeze = _in_force(connection, model)
            if freeze is not None:
                raise HeldError(f"the end of the freeze {freeze} (selfheal unfreeze {model})")
            return journal.begin(connection, model, kind, intent, at)


def _alone(model: str) -> str:
    return f"freeze of {model}"


def _in_force(connection: sa.Connection, model: str) -> Freeze | None:
    query = sa.select(FREEZES).where(FREEZES.c.model == model)
    ends = (FREEZES.c.until.is_(None)) | (FREEZES.c.until > database_now(connection))
    row = connection.execute(query.where(ends)).mappings().first()
    if row is None:
        return None
    until = None if row["until"] is None else from_us(row["until"])
    return Freeze(row["by"], row["why"], from_us(row["since"]), until)


def _now(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(database_now(connection))).scalar_one())


def _minute(at: datetime) -> str:
    return f"{from_us(to_us(at)):%Y-%m-%d %H:%M} UTC"
