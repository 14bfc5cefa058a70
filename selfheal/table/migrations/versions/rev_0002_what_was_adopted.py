"""The pointer names its base by the manifest, and a policy adopted again is kept beside its base."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """A pointer of before names no manifest: the next look at the stages fills it in."""
    op.add_column("pointer", sa.Column("base_manifest", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "adopted_policies",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("base_manifest", sa.Text, primary_key=True),
        sa.Column("yaml", sa.Text, nullable=False),
    )
