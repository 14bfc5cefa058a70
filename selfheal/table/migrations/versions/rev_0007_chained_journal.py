"""Each closed entry of the journal is hashed over the one before; those that are there, in the order of their ids."""

from __future__ import annotations

import hashlib
import json
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add place and hash, and fill them."""
    op.add_column("journal", sa.Column("link", sa.BigInteger))
    op.add_column("journal", sa.Column("hash", sa.Text))
    names = ("id", "model", "kind", "at", "intent", "outcome", "link", "hash")
    journal = sa.table("journal", *map(sa.column, names))
    acts = sa.table("journal_acts", *map(sa.column, ("journal_id", "number", "act")))
    connection = op.get_bind()
    done: dict[int, list[str]] = {}
    for row in connection.execute(sa.select(acts).order_by(acts.c.journal_id, acts.c.number)):
        done.setdefault(row.journal_id, []).append(row.act)
    closed = sa.select(journal).where(journal.c.outcome.is_not(None)).order_by(journal.c.model, journal.c.id)
    for _, entries in groupby(connection.execute(closed).fetchall(), key=lambda row: row.model):
        before = "0" * 64
        for link, row in enumerate(entries, 1):
            parts = [row.id, row.model, row.kind, row.at, row.intent, done.get(row.id, []), row.outcome]
            text = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
            digest = hashlib.sha256(text.encode()).hexdigest()
            before = hashlib.sha256(f"{before}\n{link}\n{digest}".encode()).hexdigest()
            connection.execute(journal.update().where(journal.c.id == row.id).values(link=link, hash=before))
    op.create_index("ix_journal_link", "journal", ["model", "link"], unique=True)
