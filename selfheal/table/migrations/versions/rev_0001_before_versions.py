"""The state tables as they were before the database had a version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TABLES = sa.MetaData()
_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")

sa.Table(
    "models",
    TABLES,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("dtypes", sa.Text, nullable=False),
    sa.Column("classes", sa.Text, nullable=False),
)
sa.Table(
    "labels",
    TABLES,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("prediction_id", sa.Text, primary_key=True),
    sa.Column("label", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)
sa.Table(
    "cycles",
    TABLES,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("window_index", sa.BigInteger, primary_key=True),
    sa.Column("start_us", sa.BigInteger),
    sa.Column("end_us", sa.BigInteger),
    sa.Column("after_seq", sa.BigInteger),
    sa.Column("last_seq", sa.BigInteger),
    sa.Column("row_count", sa.BigInteger),
    sa.Column("joined", sa.Integer),
    sa.Column("too_few", sa.Boolean),
    sa.Column("record", sa.Text),
)
sa.Table(
    "healthy_samples",
    TABLES,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("window_index", sa.BigInteger, primary_key=True),
    sa.Column("healthy", sa.Boolean, nullable=False),
    sa.Column("parquet", sa.LargeBinary, nullable=False),
)
sa.Table(
    "journal",
    TABLES,
    sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
    sa.Column("model", sa.Text, nullable=False, index=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("intent", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text),
)
sa.Table(
    "journal_acts",
    TABLES,
    sa.Column("journal_id", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("act", sa.Text, nullable=False),
)
sa.Table(
    "leases",
    TABLES,
    sa.Column("lease", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
)
sa.Table(
    "pointer",
    TABLES,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("base_version", sa.BigInteger, nullable=False),
    sa.Column("base_digest", sa.Text, nullable=False),
    sa.Column("adapter", sa.LargeBinary, nullable=False),
    sa.Column("adapter_digest", sa.Text, nullable=False),
    sa.Column("settled_at", sa.BigInteger, nullable=False),
    sa.Column("pinned", sa.Boolean, nullable=False),
)


def upgrade() -> None:
    """Create them."""
    TABLES.create_all(op.get_bind())
