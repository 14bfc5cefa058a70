"""Versions that score beside the one that serves, and what they answered: kept apart from what was served.

``shadow_<model>`` has an answer a row: the probabilities of both versions, no feature. It is made with the first
answer, and nothing that reads predictions reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from selfheal.table.database import Database
from selfheal.table.schema import SHADOWED, ModelSchema
from selfheal.table.state import insert_into
from selfheal.table.values import to_us

MOST = 100_000
"""Answers of a window that are compared at most: a share is known to a hundredth of a percent by then."""


@dataclass(frozen=True)
class Shadowed:
    """A version that is to score beside the one that serves; the fields are those of a pointer."""

    version: int
    base_digest: str
    base_manifest: str
    adapter: bytes
    adapter_digest: str


class ShadowRow(NamedTuple):
    """One answer of a shadow.

    Attributes
    ----------
    prediction_id, event_time
        Of the row that was answered; µs since 1970.
    version, served_version
        Who scored it here, and who answered it.
    shadow, served
        What each said: k probabilities.
    """

    prediction_id: str
    event_time: int
    version: int
    served_version: int
    shadow: Sequence[float]
    served: Sequence[float]


class Answers(NamedTuple):
    """Probabilities float64 [n, k] of a shadow, and of what served, for the same rows."""

    shadow: NDArray[np.float64]
    served: NDArray[np.float64]


class Shadows:
    """The shadows of every model in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._made: set[str] = set()

    def versions(self, model: str) -> dict[int, str]:
        """Version → digest of its adapter, of those that are to score beside what serves."""
        query = sa.select(SHADOWED.c.version, SHADOWED.c.adapter_digest).where(SHADOWED.c.model == model)
        with self._database.read() as connection:
            return {int(version): str(digest) for version, digest in connection.execute(query)}

    def load(self, model: str) -> list[Shadowed]:
        """The same, with their adapters."""
        query = sa.select(SHADOWED).where(SHADOWED.c.model == model).order_by(SHADOWED.c.version)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().fetchall()
        return [Shadowed(**{key: value for key, value in row.items() if key != "model"}) for row in rows]

    def set(self, model: str, shadows: Sequence[Shadowed]) -> None:
        """Replace them all."""
        with self._database.write(alone=f"shadows of {model}") as connection:
            connection.execute(SHADOWED.delete().where(SHADOWED.c.model == model))
            for shadow in shadows:
                connection.execute(SHADOWED.insert().values(model=model, **vars(shadow)))

    def add(self, schema: ModelSchema, rows: Sequence[ShadowRow]) -> None:
        """Keep answers, in one transaction; a row that a version has answered already is left as it is."""
        table = shadow_table(schema)
        if schema.model not in self._made:
            with self._database.write(alone="create tables") as connection:
                table.metadata.create_all(connection)
            self._made.add(schema.model)
        with self._database.write() as connection:
            insert = insert_into(connection, table).on_conflict_do_nothing()
            connection.execute(insert, [_values(row) for row in rows])

    def answers(self, schema: ModelSchema, version: int, served: int, start: datetime, end: datetime) -> Answers:
        """What a version said of rows dated [start, end) that ``served`` answered; the first :data:`MOST`."""
        table, k = shadow_table(schema), len(schema.classes)
        columns = [table.c[f"{kind}_{place}"] for kind in ("p", "s") for place in range(k)]
        query = sa.select(*columns).where(
            table.c.model_version == version,
            table.c.served_version == served,
            table.c.event_time >= to_us(start),
            table.c.event_time < to_us(end),
        )
        with self._database.read() as connection:
            there = sa.inspect(connection).has_table(table.name)
            rows = connection.execute(query.limit(MOST)).fetchall() if there else []
        values = np.array([tuple(row) for row in rows], dtype=np.float64).reshape(-1, 2 * k)
        return Answers(values[:, :k], values[:, k:])

    def counts(self, schema: ModelSchema) -> dict[int, int]:
        """Version → how many answers of it are kept."""
        table = shadow_table(schema)
        query = sa.select(table.c.model_version, sa.func.count()).group_by(table.c.model_version)
        with self._database.read() as connection:
            if not sa.inspect(connection).has_table(table.name):
                return {}
            return {int(version): int(count) for version, count in connection.execute(query)}

    def forget(self, schema: ModelSchema, before: datetime) -> None:
        """Delete answers about rows dated before a time."""
        table = shadow_table(schema)
        with self._database.write() as connection:
            if sa.inspect(connection).has_table(table.name):
                connection.execute(table.delete().where(table.c.event_time < to_us(before)))


def shadow_table(schema: ModelSchema) -> sa.Table:
    """``shadow_<model>``: ``p_0 …`` the shadow's probabilities, ``s_0 …`` those that were answered."""
    k = len(schema.classes)
    return sa.Table(
        f"shadow_{schema.model}",
        sa.MetaData(),
        sa.Column("prediction_id", sa.Text, primary_key=True),
        sa.Column("model_version", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("event_time", sa.BigInteger, nullable=False, index=True),
        sa.Column("served_version", sa.BigInteger, nullable=False),
        *(sa.Column(f"{kind}_{place}", sa.Double, nullable=False) for kind in ("p", "s") for place in range(k)),
    )


def _values(row: ShadowRow) -> Mapping[str, Any]:
    said = [("p", row.shadow), ("s", row.served)]
    return {
        "prediction_id": row.prediction_id,
        "model_version": row.version,
        "event_time": row.event_time,
        "served_version": row.served_version,
        **{f"{kind}_{place}": value for kind, values in said for place, value in enumerate(values)},
    }
