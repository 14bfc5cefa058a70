"""One Prefect server for all flow tests of a session, and an adopted model that each test gets a copy of."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfheal.lifecycle import Workspace
from selfheal.registry.adoption import adopt_model
from tests.lifecycle.given import NAME, toy, workspace_at

# Prefect reads it when it is first imported; without it the flows would name ./.selfheal/prefect.
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="selfheal-prefect-"))

POLICY = """
model: toy
target: y
rules:
  - {name: warm, when: temperature > 70, vote: 1}
monitor: {every: 10m, window: 200 rows, min_rows: 100, lateness: 0s}
heal: {patience: [2, 3], cooldown: 1m, max_changed: 0.9}
"""


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """A server with an empty database; flows of the block run against it, without heartbeats."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.runs import in_process

    with prefect_test_harness(server_startup_timeout=90), in_process():
        yield


@pytest.fixture(scope="session")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with ``toy`` adopted."""
    home = tmp_path_factory.mktemp("flows") / "home"
    ws = workspace_at(home)
    adopt_model(NAME, toy(), ws.registry, ws.table)
    ws.table.close()
    for name in ("mlflow.db", "selfheal.db"):
        with sqlite3.connect(home / name) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    return home


def copied(adopted: Path, home: Path) -> Workspace:
    home.mkdir(parents=True, exist_ok=True)
    for name in ("mlflow.db", "selfheal.db"):
        shutil.copyfile(adopted / name, home / name)
    shutil.copytree(adopted / "cache", home / "cache")
    opened = workspace_at(home)
    (opened.settings.rules / "toy.yaml").write_text(POLICY)
    return opened


@pytest.fixture
def ws(adopted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A copy of the home, opened, and named by the environment."""
    opened = copied(adopted, tmp_path / "home")
    for name, value in opened.settings.environ().items():
        if not name.startswith("PREFECT"):
            monkeypatch.setenv(name, value)
    yield opened
    opened.table.close()
