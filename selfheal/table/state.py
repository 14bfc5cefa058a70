"""Leases (who may act) and the pointer (which version serves)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from selfheal.errors import BusyError
from selfheal.table.schema import ADOPTED_POLICIES, LEASES, POINTER
from selfheal.table.values import duration_us, from_us, to_us


@dataclass(frozen=True)
class Pointer:
    """The settled version: what every replica serves.

    Attributes
    ----------
    model
        Its name.
    version, base_version
        Of the adapter (registered model ``<model>``) and of the base it belongs to (``<model>-base``).
    base_digest
        Digest of the base's parameters, buffers and preprocessing.
    adapter, adapter_digest
        The adapter's safetensors bytes, and their sha256.
    settled_at
        When the change was settled, UTC.
    pinned
        Whether a person forbade rollback.
    base_manifest
        SHA-256 of the base's manifest: all that was adopted. Empty in a pointer that an older release wrote.
    """

    model: str
    version: int
    base_version: int
    base_digest: str
    adapter: bytes
    adapter_digest: str
    settled_at: datetime
    pinned: bool
    base_manifest: str = ""

    def is_of(self, digest: str, manifest: str) -> bool:
        """Whether it belongs to the base with this frozen digest and manifest."""
        return self.base_digest == digest and self.base_manifest in ("", manifest)


class Claim(NamedTuple):
    """A lease that somebody believes to hold, and for how long it is held anew when something is written under it."""

    lease: str
    holder: str
    ttl: timedelta

    @property
    def lost(self) -> str:
        """What to say once somebody else has it."""
        return f"lease {self.lease!r} ran out after {self.ttl.total_seconds():g} s and was taken over"


def keep(connection: sa.Connection, claim: Claim | None) -> None:
    """Renew the lease under which something is written, in the same transaction; nothing happens without one.

    Raises
    ------
    BusyError
        Somebody else took it: a process that stood still for longer than its lease writes nothing more.
    """
    if claim is not None and not renew(connection, *claim):
        raise BusyError(claim.lost)


def acquire(connection: sa.Connection, lease: str, holder: str, ttl: timedelta) -> bool:
    """Take a lease that is free, expired, or already this holder's; atomic between processes.

    All go by the database's clock. An expiry beyond the time to live was written by another clock: it is expired.
    """
    now = database_now(connection)
    insert = insert_into(connection, LEASES).values(lease=lease, holder=holder, expires=now + duration_us(ttl))
    live = LEASES.c.expires.between(now + 1, now + duration_us(ttl))
    values = {"holder": insert.excluded.holder, "expires": insert.excluded.expires}
    upsert = insert.on_conflict_do_update(
        index_elements=[LEASES.c.lease], set_=values, where=~live | (LEASES.c.holder == holder)
    )
    return connection.execute(upsert.returning(LEASES.c.lease)).first() is not None


def renew(connection: sa.Connection, lease: str, holder: str, ttl: timedelta) -> bool:
    """Hold a lease for another ``ttl``; one that somebody else took meanwhile is lost, given back or not."""
    mine = LEASES.update().where(LEASES.c.lease == lease, LEASES.c.holder == holder)
    return connection.execute(mine.values(expires=database_now(connection) + duration_us(ttl))).rowcount == 1


def release(connection: sa.Connection, lease: str, holder: str) -> None:
    """Give a lease back; nothing happens if somebody else holds it by now."""
    connection.execute(LEASES.delete().where(LEASES.c.lease == lease, LEASES.c.holder == holder))


def lease_holder(connection: sa.Connection, lease: str) -> tuple[str, int] | None:
    """Who holds a lease and when it runs out; grows with each renewal. None when nobody does."""
    row = connection.execute(sa.select(LEASES.c.holder, LEASES.c.expires).where(LEASES.c.lease == lease)).first()
    return None if row is None else (row[0], row[1])


def set_pointer(connection: sa.Connection, pointer: Pointer) -> None:
    """Replace a model's pointer as one row."""
    put_row(connection, POINTER, vars(pointer) | {"settled_at": to_us(pointer.settled_at)})


def get_pointer(connection: sa.Connection, model: str) -> Pointer | None:
    """A model's pointer, or None before adoption."""
    row = connection.execute(sa.select(POINTER).where(POINTER.c.model == model)).mappings().first()
    return None if row is None else Pointer(**{**row, "settled_at": from_us(row["settled_at"])})


def put_row(
    connection: sa.Connection, table: sa.Table, values: Mapping[str, Any], *, changed: Sequence[str] = ()
) -> None:
    """Write a model's one row; where it is there, ``changed`` of its columns, by default all."""
    insert = insert_into(connection, table).values(values)
    new = {name: insert.excluded[name] for name in changed or values if name != "model"}
    connection.execute(insert.on_conflict_do_update(index_elements=[table.c.model], set_=new))


def database_now(connection: sa.Connection) -> sa.ColumnElement[int]:
    """The database's clock, microseconds since 1970; on PostgreSQL the wall's, not that of the transaction's start."""
    if connection.dialect.name == "sqlite":
        return sa.cast((sa.func.julianday("now") - 2440587.5) * 86_400_000_000, sa.BigInteger)
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()) * 1_000_000, sa.BigInteger)


def keep_policy(connection: sa.Connection, model: str, base_manifest: str, yaml: str) -> None:
    """Keep the policy that a base was last adopted with."""
    insert = insert_into(connection, ADOPTED_POLICIES).values(model=model, base_manifest=base_manifest, yaml=yaml)
    key = [ADOPTED_POLICIES.c.model, ADOPTED_POLICIES.c.base_manifest]
    connection.execute(insert.on_conflict_do_update(index_elements=key, set_={"yaml": insert.excluded.yaml}))


def get_policy(connection: sa.Connection, model: str, base_manifest: str) -> str | None:
    """The policy that was kept, or None: then the one stored with the base is it."""
    here = (ADOPTED_POLICIES.c.model == model) & (ADOPTED_POLICIES.c.base_manifest == base_manifest)
    text: str | None = connection.execute(sa.select(ADOPTED_POLICIES.c.yaml).where(here)).scalar()
    return text


def insert_into(connection: sa.Connection, table: sa.Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that can say what becomes of a row that is there."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
