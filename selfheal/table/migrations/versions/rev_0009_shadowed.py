"""Which versions score beside the one that serves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make room for them."""
    op.create_table(
        "shadowed",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("base_digest", sa.Text, nullable=False),
        sa.Column("base_manifest", sa.Text, nullable=False),
        sa.Column("adapter", sa.LargeBinary, nullable=False),
        sa.Column("adapter_digest", sa.Text, nullable=False),
    )
