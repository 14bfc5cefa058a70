"""The chain of a model's journal: each entry, once it is closed, is hashed over the one before it.

What was journaled can't be changed, taken out or put in later without another hash of everything after it. An entry's
place is the order in which entries were closed: while one is open it has none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from selfheal.table.database import Database
from selfheal.table.schema import JOURNAL, JOURNAL_ACTS

GENESIS = "0" * 64
"""What the first entry is hashed over."""


@dataclass(frozen=True)
class Link:
    """A closed entry in its place, its parts as the texts that were stored.

    Attributes
    ----------
    link
        Its place: 1, 2, 3 … for each model.
    hash
        Of its digest, its place, and the hash before.
    """

    id: int
    model: str
    kind: str
    at: int
    intent: str
    acts: tuple[str, ...]
    outcome: str
    link: int
    hash: str

    @property
    def digest(self) -> str:
        """SHA-256 of what it says."""
        return digest_of(self.id, self.model, self.kind, self.at, self.intent, self.acts, self.outcome)


@dataclass(frozen=True)
class Head:
    """The newest link of a chain."""

    link: int
    hash: str

    def __str__(self) -> str:
        return f"{self.link} {self.hash}"


def digest_of(id_: int, model: str, kind: str, at: int, intent: str, acts: Sequence[str], outcome: str) -> str:
    """SHA-256 of an entry: a JSON list of its parts, those that are records as their texts."""
    parts: list[Any] = [id_, model, kind, at, intent, list(acts), outcome]
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()).hexdigest()


def hash_of(before: str, link: int, digest: str) -> str:
    """SHA-256 of a link.

    >>> hash_of(GENESIS, 1, "ab" * 32)[:12]
    '355bec7ebbb1'
    """
    return hashlib.sha256(f"{before}\n{link}\n{digest}".encode()).hexdigest()


def broken(links: Iterable[tuple[int, str, str]], before: str = GENESIS, first: int = 1) -> str:
    """Where a chain of (link, digest, hash), oldest first, breaks, in words; empty where it is whole."""
    for place, (link, digest, stored) in enumerate(links, first):
        if link != place:
            return f"entry {place} of the journal is missing: entry {link} follows entry {place - 1}"
        before = hash_of(before, link, digest)
        if stored != before:
            return f"entry {link} of the journal is not what was journaled: hash {stored[:12]}, found {before[:12]}"
    return ""


def linked(connection: sa.Connection, model: str, entry: tuple[int, str, int, str, str]) -> dict[str, Any]:
    """The place and the hash of an entry that is being closed. One at a time for each model.

    Parameters
    ----------
    entry
        Its id, kind, time, intent and outcome; the last two as the texts that are stored.
    """
    if connection.dialect.name == "postgresql":  # SQLite's writers wait for each other anyway
        alone = sa.func.hashtextextended(f"journal of {model}", 0)
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(alone)))
    id_, kind, at, intent, outcome = entry
    head, this = newest_link(model).subquery(), sa.select(sa.literal(id_, JOURNAL.c.id.type).label("id")).subquery()
    tables = this.outerjoin(head, sa.true()).outerjoin(JOURNAL_ACTS, JOURNAL_ACTS.c.journal_id == this.c.id)
    query = sa.select(head.c.link, head.c.hash, JOURNAL_ACTS.c.act).select_from(tables)
    rows = connection.execute(query.order_by(JOURNAL_ACTS.c.number)).fetchall()
    acts = [act for *_, act in rows if act is not None]
    before = Head(0, GENESIS) if rows[0].link is None else Head(int(rows[0].link), str(rows[0].hash))
    digest = digest_of(id_, model, kind, at, intent, acts, outcome)
    return {"link": before.link + 1, "hash": hash_of(before.hash, before.link + 1, digest)}


def newest_link(model: str) -> sa.Select[Any]:
    """Place and hash of the newest link."""
    query = sa.select(JOURNAL.c.link, JOURNAL.c.hash).where(JOURNAL.c.model == model, JOURNAL.c.link.is_not(None))
    return query.order_by(JOURNAL.c.link.desc()).limit(1)


def _head(connection: sa.Connection, model: str) -> Head | None:
    row = connection.execute(newest_link(model)).first()
    return None if row is None else Head(int(row[0]), str(row[1]))


def _acts(connection: sa.Connection, entries: Sequence[int]) -> dict[int, tuple[str, ...]]:
    query = sa.select(JOURNAL_ACTS.c.journal_id, JOURNAL_ACTS.c.act).where(JOURNAL_ACTS.c.journal_id.in_(entries))
    texts: dict[int, list[str]] = {}
    for entry, act in connection.execute(query.order_by(JOURNAL_ACTS.c.journal_id, JOURNAL_ACTS.c.number)):
        texts.setdefault(entry, []).append(act)
    return {entry: tuple(acts) for entry, acts in texts.items()}


class Chain:
    """The chains of every model in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def head(self, model: str) -> Head | None:
        """The newest link; None where nothing was journaled yet."""
        with self._database.read() as connection:
            return _head(connection, model)

    def hashes(self, model: str, places: Collection[int]) -> dict[int, str]:
        """Place → hash, of those of these places that there are."""
        query = sa.select(JOURNAL.c.link, JOURNAL.c.hash).where(JOURNAL.c.model == model, JOURNAL.c.link.in_(places))
        with self._database.read() as connection:
            return {int(link): str(hashed) for link, hashed in connection.execute(query)}

    def links(self, model: str, after: int = 0, last: int | None = None) -> list[Link]:
        """The links after place ``after``, oldest first; at most the ``last`` of them."""
        query = sa.select(JOURNAL).where(JOURNAL.c.model == model, JOURNAL.c.link > after)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(JOURNAL.c.link.desc()).limit(last)).mappings().fetchall()[::-1]
            acts: dict[int, tuple[str, ...]] = {}
            for start in range(0, len(rows), 5_000):  # SQLite takes 32,766 variables
                acts |= _acts(connection, [row["id"] for row in rows[start : start + 5_000]])
        names = ("id", "model", "kind", "at", "intent", "outcome", "link", "hash")
        return [Link(**{n: row[n] for n in names}, acts=acts.get(row["id"], ())) for row in rows]
