"""Whether an entry of the journal is open, closed, or closed with a look; indexes by state and by kind."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Fill the column from the outcomes."""
    op.add_column("journal", sa.Column("state", sa.Text, nullable=False, server_default="closed"))
    journal = sa.table("journal", *map(sa.column, ("id", "outcome", "state")))
    connection = op.get_bind()
    connection.execute(journal.update().where(journal.c.outcome.is_(None)).values(state="open"))
    likely = sa.select(journal.c.id, journal.c.outcome).where(journal.c.outcome.contains('"look"'))
    settled = [row.id for row in connection.execute(likely).all() if "look" in json.loads(row.outcome)]
    for entry in settled:
        connection.execute(journal.update().where(journal.c.id == entry).values(state="settled"))
    op.create_index("ix_journal_kind", "journal", ["model", "kind", "id"])
    op.create_index("ix_journal_state", "journal", ["model", "state", "id"])
