"""The state database's revisions, oldest first in ``versions``; :mod:`selfheal.table.upgrade` runs them.

A revision is final once released. It may import SQLAlchemy, alembic and this module, never
:mod:`selfheal.table.schema`, which goes on changing.
"""

from __future__ import annotations

import sqlalchemy as sa


def predictions_tables(connection: sa.Connection) -> list[str]:
    """Names of the tables ``predictions_<model>``, one for each model that was ever created."""
    models = sa.table("models", sa.column("model"))
    names = connection.execute(sa.select(models.c.model).order_by(models.c.model)).scalars()
    return [f"predictions_{model}" for model in names]
