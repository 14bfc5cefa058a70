"""Alerts are rows before they are messages. What was journaled before is told to nobody."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

_SERIAL = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Make room for them, and mark how far each journal and each model's windows have come."""
    op.create_table(
        "alerts",
        sa.Column("id", _SERIAL, primary_key=True, autoincrement=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
    )
    op.create_index("ix_alerts_model", "alerts", ["model", "id"])
    op.create_table(
        "alert_targets",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("shown", sa.Text, nullable=False),
        sa.Column("upto", sa.BigInteger, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("due", sa.BigInteger, nullable=False),
        sa.Column("tried", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
    )
    marks = op.create_table(
        "alert_marks",
        sa.Column("model", sa.Text, primary_key=True),
        sa.Column("mark", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )
    connection = op.get_bind()
    journal = sa.table("journal", sa.column("model"), sa.column("link"))
    cycles = sa.table("cycles", sa.column("model"), sa.column("window_index"), sa.column("record"))
    links = sa.select(journal.c.model, sa.func.max(journal.c.link)).group_by(journal.c.model)
    progress = {model: {"link": link or 0} for model, link in connection.execute(links)}
    newest = sa.select(cycles.c.model, sa.func.max(cycles.c.window_index)).where(cycles.c.record.is_not(None))
    for model, window in connection.execute(newest.group_by(cycles.c.model)):
        progress.setdefault(model, {"link": 0})["window"] = window
    for model, value in progress.items():
        row = {"model": model, "mark": "told", "at": 0, "value": json.dumps(value)}
        connection.execute(marks.insert().values(row))
