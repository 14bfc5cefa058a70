"""The journal: every stage change writes its intent, then its acts, then that it is done."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from selfheal.errors import NotFoundError
from selfheal.table import chain
from selfheal.table.schema import JOURNAL, JOURNAL_ACTS
from selfheal.table.values import from_us, to_json, to_us

OPEN, CLOSED, SETTLED = "open", "closed", "settled"
"""States of an entry. The outcome of a settled one carries a look: which stages there were then."""


@dataclass(frozen=True)
class JournalEntry:
    """One intent and what came of it.

    Attributes
    ----------
    id
        Grows with time.
    model, kind, at
        Whose, what (``"promote"``, ``"rollback"`` …) and when it was begun, UTC.
    intent
        What was to be done: enough to finish or undo it after a crash.
    acts
        What has been done so far, in order.
    outcome
        None while the entry is open.
    """

    id: int
    model: str
    kind: str
    at: datetime
    intent: dict[str, Any]
    acts: list[dict[str, Any]]
    outcome: dict[str, Any] | None


def begin(connection: sa.Connection, model: str, kind: str, intent: dict[str, Any], at: datetime) -> int:
    """Open an entry; returns its id."""
    values = {"model": model, "kind": kind, "at": to_us(at), "intent": to_json(intent), "state": OPEN}
    return int(connection.execute(JOURNAL.insert().values(values).returning(JOURNAL.c.id)).scalar_one())


def note(
    connection: sa.Connection, model: str, kind: str, intent: dict[str, Any], outcome: dict[str, Any], at: datetime
) -> None:
    """An entry that is done as it is written: there is nothing to finish."""
    values = {"model": model, "kind": kind, "at": to_us(at), "intent": to_json(intent)}
    entry = connection.execute(JOURNAL.insert().values(values | _closed(outcome)).returning(JOURNAL.c.id)).scalar_one()
    chain.append(connection, int(entry), model)


def act(connection: sa.Connection, entry: int, what: dict[str, Any]) -> None:
    """Add an act to an open entry."""
    _check_open(connection, entry)
    number = sa.select(sa.func.count()).where(JOURNAL_ACTS.c.journal_id == entry).scalar_subquery()
    connection.execute(JOURNAL_ACTS.insert().values(journal_id=entry, number=number, act=to_json(what)))


def done(connection: sa.Connection, entry: int, outcome: dict[str, Any]) -> None:
    """Close an entry."""
    _check_open(connection, entry)
    closed = JOURNAL.update().where(JOURNAL.c.id == entry).values(_closed(outcome)).returning(JOURNAL.c.model)
    chain.append(connection, entry, connection.execute(closed).scalar_one())


def _closed(outcome: dict[str, Any]) -> dict[str, str]:
    return {"outcome": to_json(outcome), "state": SETTLED if "look" in outcome else CLOSED}


def _check_open(connection: sa.Connection, entry: int) -> None:
    # The row is locked (PostgreSQL) so that two writers of one entry number their acts one after the other.
    found = connection.execute(sa.select(JOURNAL.c.outcome).where(JOURNAL.c.id == entry).with_for_update()).first()
    if found is None or found[0] is not None:
        raise NotFoundError(f"the journal has no open entry {entry}")


def entries(
    connection: sa.Connection,
    model: str,
    *,
    last: int | None = None,
    kind: str | Sequence[str] | None = None,
    state: str | None = None,
) -> list[JournalEntry]:
    """Entries of a model, oldest first; all, or of a kind, some kinds or one state."""
    query = sa.select(JOURNAL).where(JOURNAL.c.model == model).order_by(JOURNAL.c.id.desc()).limit(last)
    if kind is not None:
        query = query.where(JOURNAL.c.kind.in_([kind] if isinstance(kind, str) else kind))
    if state is not None:
        query = query.where(JOURNAL.c.state == state)
    chosen = query.subquery()
    with_acts = sa.select(chosen, JOURNAL_ACTS.c.number, JOURNAL_ACTS.c.act).outerjoin_from(
        chosen, JOURNAL_ACTS, JOURNAL_ACTS.c.journal_id == chosen.c.id
    )
    rows = sorted(connection.execute(with_acts).mappings(), key=lambda row: (row["id"], row["number"] or 0))
    return [_entry(list(same)) for _, same in groupby(rows, key=lambda row: row["id"])]


def _entry(rows: Sequence[sa.RowMapping]) -> JournalEntry:
    """An entry out of a row for each of its acts, or one without an act."""
    row = rows[0]
    return JournalEntry(
        id=row["id"],
        model=row["model"],
        kind=row["kind"],
        at=from_us(row["at"]),
        intent=json.loads(row["intent"]),
        acts=[json.loads(each["act"]) for each in rows if each["act"] is not None],
        outcome=None if row["outcome"] is None else json.loads(row["outcome"]),
    )
