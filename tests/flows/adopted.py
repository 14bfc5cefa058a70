"""A home with the small model adopted: made once a process, copied by whoever wants to change it."""

from __future__ import annotations

import atexit
import functools
import shutil
import sqlite3
import tempfile
from pathlib import Path

from selfheal.registry.adoption import adopt_model
from selfheal.steering import Workspace
from tests.steering.given import NAME, toy, workspace_at

POLICY = """
model: toy
target: y
rules:
  - {name: warm, when: temperature > 70, vote: 1}
monitor: {every: 10m, window: 200 rows, min_rows: 100, lateness: 0s}
heal: {patience: [2, 3], cooldown: 1m, max_changed: 0.9}
"""
STORES = ("mlflow.db", "selfheal.db")


@functools.cache
def adopted_home() -> Path:
    """The original; leave it as it is."""
    folder = Path(tempfile.mkdtemp(prefix="selfheal-adopted-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    ws = workspace_at(folder / "home")
    adopt_model(NAME, toy(), ws.registry, ws.table)
    ws.table.close()
    for name in STORES:
        with sqlite3.connect(folder / "home" / name) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
    return folder / "home"


def copied(home: Path) -> Workspace:
    """A copy at ``home``, opened, with a policy of record."""
    home.mkdir(parents=True)
    for name in STORES:
        shutil.copyfile(adopted_home() / name, home / name)
    shutil.copytree(adopted_home() / "cache", home / "cache")
    opened = workspace_at(home)
    (opened.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    return opened
