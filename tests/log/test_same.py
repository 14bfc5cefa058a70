"""The same rows, wherever they lie, are the same windows, decisions, reasons and adapters."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

import selfheal
from selfheal.healing.outcome import Outcome
from selfheal.loop import monitor, pending
from selfheal.loop.sources import source_of
from selfheal.steering.models import serving_model, serving_pointer
from selfheal.steering.policies import policy_of_record
from selfheal.table import Window
from tests.log.given import FILES, logged, partitioned, policy, put, said, to_postgres, to_sqlite
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send, workspace_at

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

N = 200
HEALTHY = 2
END = START + timedelta(seconds=N * (HEALTHY + 1))
WHOLE = ["partitioned", "s3", "postgres"]
"""Places of which the whole loop is run; of the others the windows are read and healed."""
READ = ["parquet", "csv", "jsonl", "delta", "sqlite"]
assert {*FILES} <= {*WHOLE, *READ}


def quick(content: dict[str, Any]) -> dict[str, Any]:
    """One alarm asks for a heal, and the likeliest cause is believed."""
    return content | {
        "heal": {"patience": [1, 1], "cooldown": "1m", "max_changed": 0.9},
        "release": {"ambiguous": "promote", "watch_windows": 2},
    }


def frames() -> list[pd.DataFrame]:
    """Healthy windows, and one in °C."""
    return [rows(N, 100 + k) for k in range(HEALTHY)] + [in_celsius(rows(N, 206), "temperature", "dew")]


def at_home(template: Path, home: Path):
    home.mkdir()
    for name in ("mlflow.db", "selfheal.db"):
        shutil.copyfile(template / name, home / name)
    shutil.copytree(template / "cache", home / "cache")
    return workspace_at(home)


@pytest.fixture(scope="module")
def own(template: Path, tmp_path_factory: pytest.TempPathFactory):
    """What is said of the rows in the own table."""
    ws = at_home(template, tmp_path_factory.mktemp("own") / "home")
    put(ws, quick(yaml.safe_load(POLICY)))
    for k, frame in enumerate(frames()):
        send(ws, frame, k * N)
    windows = read(ws)
    found = Own(windows, healed(ws, windows), said(monitor(ws, NAME, END)), adapter(ws))
    ws.table.close()
    return found


class Own(NamedTuple):
    """What the own table holds, and what came of it."""

    windows: list[Window]
    healed: Outcome
    said: list[tuple[Any, ...]]
    adapter: bytes


def read(ws) -> list[Window]:
    """The windows, oldest first."""
    source = source_of(ws, NAME, policy_of_record(ws, NAME).policy, END)
    return [source.read(ref) for ref in pending(ws, NAME, END)]


def healed(ws, windows: list[Window]) -> Outcome:
    """What a heal of the last one comes to."""
    *healthy, last = (window.frame for window in windows)
    return selfheal.heal(serving_model(ws, NAME)[0], last, recent=healthy)


def adapter(ws) -> bytes:
    """What serves."""
    return serving_pointer(ws, NAME).adapter


@pytest.fixture
def lay(request: pytest.FixtureRequest, tmp_path: Path):
    """Lays rows down somewhere; gives ``from:`` and ``table:``."""

    def there(kind: str, frame: pd.DataFrame) -> dict[str, Any]:
        if kind == "sqlite":
            to_sqlite(frame, tmp_path / "log.db")
            return {"where": f"sqlite:///{tmp_path}/log.db", "table": "scored"}
        if kind == "postgres":
            engine = request.getfixturevalue("postgres")
            with engine.connect() as connection:
                connection.exec_driver_sql("DROP TABLE IF EXISTS scored")
            to_postgres(frame, engine, "scored")
            return {"where": engine.url.render_as_string(hide_password=False), "table": "scored"}
        if kind == "s3":
            bucket = request.getfixturevalue("bucket")
            partitioned(frame, tmp_path / "scored", "a")
            bucket.put(tmp_path / "scored")
            return {"where": f"{bucket.uri}/scored"}
        FILES[kind](frame, tmp_path / "log", "a")
        return {"where": str(tmp_path / "log")}

    return there


@pytest.mark.parametrize("kind", WHOLE)
def test_the_same_rows_are_the_same_decisions(kind: str, own, ws, lay) -> None:
    every = pd.concat([logged(ws, frame, k * N) for k, frame in enumerate(frames())])
    put(ws, quick(policy(**lay(kind, every))))
    assert (said(monitor(ws, NAME, END)), adapter(ws)) == (own.said, own.adapter)
    last = own.said[-1]
    assert last[4] == "heal" and last[6][:2] == ("promote", "sensor"), last
    assert monitor(ws, NAME, END) == [], "a window is processed once"


@pytest.mark.parametrize("kind", READ)
def test_the_same_rows_are_the_same_windows_and_heals(kind: str, own, ws, lay) -> None:
    every = pd.concat([logged(ws, frame, k * N) for k, frame in enumerate(frames())])
    put(ws, quick(policy(**lay(kind, every))))
    found = read(ws)
    for mine, theirs in zip(own.windows, found, strict=True):
        assert replace(mine.ref, seqs=None) == replace(theirs.ref, seqs=None)
        pd.testing.assert_frame_equal(mine.frame, theirs.frame)
        assert np.array_equal(mine.probabilities, theirs.probabilities) and (mine.versions == theirs.versions).all()
        assert list(mine.event_times) == list(theirs.event_times)
    first, second = own.healed, healed(ws, found)
    assert (first.decision, first.reasons) == (second.decision, second.reasons)
    assert first.adapter.to_bytes() == second.adapter.to_bytes()
