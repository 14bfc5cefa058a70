"""Rows that were answered and are in no log, by minute, reason and the process that counted them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Make room for them."""
    op.create_table(
        "gaps",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("reason", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("row_count", sa.BigInteger, nullable=False),
    )
