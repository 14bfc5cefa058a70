"""What a service holds the rows of an open window against, and where it asked that one be closed early."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make room for both."""
    op.create_table(
        "sentinels",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("plan", sa.Text, nullable=False),
    )
    op.create_table(
        "cuts",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("start_us", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("cut_us", sa.BigInteger, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("told", sa.Boolean, nullable=False),
    )
