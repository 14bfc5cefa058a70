"""A small model in a real MLflow store and a real database: made once a session, copied for each test."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from selfheal.loop.forks import ForkServer
from selfheal.registry.adoption import adopt_model
from selfheal.steering.workspace import Workspace
from tests.steering.given import HEALS, NAME, rows, toy, workspace_at
from tests.steering.others import OTHERS


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with ``toy`` adopted and three heals of it in Staging."""
    return adopted(tmp_path_factory.getbasetemp() / "adopted")


@cache
def adopted(home: Path, *, heals: bool = True) -> Path:
    """Made once, however many folders of tests ask for it."""
    ws = workspace_at(home)
    model = toy()
    adopt_model(NAME, model, ws.registry, ws.table)
    sample = rows(200, 9).drop(columns="y")
    for adapter in HEALS if heals else ():
        tags = {"diagnosis": "sensor", "verdict": "promote", "parent": 1, "window": -1}
        ws.registry.register(NAME, model.with_adapter(adapter).adapter, tags=tags, sample=sample)
    return closed(ws)


STORES = ("mlflow.db", "selfheal.db")


def closed(ws: Workspace) -> Path:
    """Its home, whose files can be copied."""
    ws.table.close()
    for name in STORES:
        with sqlite3.connect(ws.settings.home / name) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    return ws.settings.home


def copied(home: Path, place: Path) -> Path:
    """A copy: MLflow's store, the state database, the cached bases, the policies."""
    place.mkdir()
    for name in STORES:
        shutil.copyfile(home / name, place / name)
    for name in ("cache", "rules"):
        shutil.copytree(home / name, place / name)
    return place


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of the template."""
    return copied(template, tmp_path / "home")


@pytest.fixture
def ws(home: Path) -> Iterator[Workspace]:
    """The copy, opened."""
    opened = workspace_at(home)
    yield opened
    opened.table.close()


@pytest.fixture(scope="session")
def others() -> Iterator[ForkServer]:
    """Other processes, to be killed say: forked from one that has imported it all once and has nothing open.

    Whoever asks for it carries the group ``others``.
    """
    yield OTHERS
    OTHERS.close()
