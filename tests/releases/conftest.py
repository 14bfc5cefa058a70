"""A home that an older release left behind, where a test may go on with it."""

from __future__ import annotations

import sqlite3
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selfheal.steering.workspace import Workspace
from tests.releases.make_home import HOME
from tests.steering.given import workspace_at

ARCHIVE = Path(__file__).with_name("home-0.1.0.tar.gz")


@pytest.fixture
def old_home(tmp_path: Path) -> Path:
    """Unpacked, and MLflow's database told where it lies now; nothing else knows a path."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    home = tmp_path / "home"
    with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info('{name}')").fetchall():
                if "CHAR" in kind or "TEXT" in kind:
                    where = f'"{column}" LIKE ?'
                    change = f'UPDATE "{name}" SET "{column}" = replace("{column}", ?, ?) WHERE {where}'
                    connection.execute(change, (str(HOME), str(home), f"%{HOME}%"))
    return home


@pytest.fixture
def ws(old_home: Path) -> Iterator[Workspace]:
    opened = workspace_at(old_home)
    yield opened
    opened.table.close()
