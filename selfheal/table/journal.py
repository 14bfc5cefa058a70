"""The journal: every stage change writes its intent, then its acts, then that it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

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
    time, text, closed = to_us(at), to_json(intent), _closed(outcome)
    values = {"model": model, "kind": kind, "at": time, "intent": text, **closed}
    entry = int(connection.execute(JOURNAL.insert().values(values).returning(JOURNAL.c.id)).scalar_one())
    linked = chain.linked(connection, model, (entry, kind, time, text, closed["outcome"]))
    connection.execute(JOURNAL.update().where(JOURNAL.c.id == entry).values(linked))


def act(connection: sa.Connection, entry: int, what: dict[str, Any]) -> None:
    """Add an act to an open entry."""
    _check_open(connection, entry)
    number = sa.select(sa.func.count()).where(JOURNAL_ACTS.c.journal_id == entry).scalar_subquery()
    connection.execute(JOURNAL_ACTS.insert().values(journal_id=entry, number=number, act=to_json(what)))


def done(connection: sa.Connection, entry: int, outcome: dict[str, Any]) -> None:
    """Close an entry."""
    row, closed = _check_open(connection, entry), _closed(outcome)
    linked = chain.linked(connection, row.model, (entry, row.kind, row.at, row.intent, closed["outcome"]))
    connection.execute(JOURNAL.update().where(JOURNAL.c.id == entry).values(closed | linked))


def _closed(outcome: dict[str, Any]) -> dict[str, str]:
    return {"outcome": to_json(outcome), "state": SETTLED if "look" in outcome else CLOSED}


def _check_open(connection: sa.Connection, entry: int) -> sa.Row[Any]:
    # The row is locked (PostgreSQL) so that two writers of one entry number their acts one after the other.
    row = connection.execute(sa.select(JOURNAL).where(JOURNAL.c.id == entry).with_for_update()).first()
    if row is None or row.outcome is not None:
        raise NotFoundError(f"the journal has no open entry {entry}")
    return row


class Part(NamedTuple):
    """Which entries: of some kinds, or of all; in one state, or in any; all of them, or the ``last``."""

    kinds: tuple[str, ...] = ()
    state: str | None = None
    last: int | None = None

    def of(self, model: str, name: str) -> sa.Select[Any]:
        """Their ids, each beside the name of the part."""
        query = sa.select(JOURNAL.c.id, sa.literal(name).label("part")).where(JOURNAL.c.model == model)
        if self.kinds:
            query = query.where(JOURNAL.c.kind.in_(self.kinds))
        if self.state is not None:
            query = query.where(JOURNAL.c.state == self.state)
        newest = query.order_by(JOURNAL.c.id.desc()).limit(self.last).subquery()
        return sa.select(newest.c.id, newest.c.part)


LAST_SETTLED, ALL_OPEN = Part(state=SETTLED, last=1), Part(state=OPEN)
"""Where the stages stand: what was settled last, and what was begun and not closed."""


def parts(connection: sa.Connection, model: str, wanted: Mapping[str, Part]) -> dict[str, list[JournalEntry]]:
    """Parts of a model's journal by their names, each oldest first: as they stood at one time, read in one go."""
    chosen = sa.union_all(*(part.of(model, name) for name, part in wanted.items())).subquery()
    acts = JOURNAL_ACTS.c.journal_id == JOURNAL.c.id
    tables = chosen.join(JOURNAL, JOURNAL.c.id == chosen.c.id).outerjoin(JOURNAL_ACTS, acts)
    query = sa.select(chosen.c.part, JOURNAL, JOURNAL_ACTS.c.number, JOURNAL_ACTS.c.act).select_from(tables)
    rows = connection.execute(query).mappings().fetchall()
    named: dict[str, list[JournalEntry]] = {name: [] for name in wanted}
    ordered = sorted(rows, key=lambda row: (row["part"], row["id"], row["number"] or 0))
    for (name, _), same in groupby(ordered, key=lambda row: (row["part"], row["id"])):
        named[name].append(_entry(list(same)))
    return named


def entries(
    connection: sa.Connection,
    model: str,
    *,
    last: int | None = None,
    kind: str | Sequence[str] | None = None,
    state: str | None = None,
) -> list[JournalEntry]:
    """Entries of a model, oldest first; all, or of a kind, some kinds or one state."""
    kinds = (kind,) if isinstance(kind, str) else tuple(kind or ())
    return parts(connection, model, {"": Part(kinds, state, last)})[""]


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
