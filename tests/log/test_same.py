"""The same rows, wherever they lie, are the same windows, decisions, reasons and adapters."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pytest
import requests
import sqlalchemy as sa
import yaml

import selfheal
from selfheal.errors import UnavailableError
from selfheal.healing.outcome import Outcome
from selfheal.log.foreign import Foreign
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
"""Places of which the whole loop is run; of the others the windows are read and healed, the loop in `make prove`."""
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


@pytest.mark.parametrize("kind", [*WHOLE, *(pytest.param(kind, marks=pytest.mark.prove) for kind in READ)])
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


@pytest.fixture
def pulled(ws, lay, request: pytest.FixtureRequest, tmp_path: Path):
    """Rows in a place, what takes it away, and what brings it back."""

    def there(what: str, frame: pd.DataFrame) -> tuple[dict[str, Any], Callable[[], None], Callable[[], None]]:
        if what == "bucket":
            place, bucket = lay("s3", frame), request.getfixturevalue("bucket")

            def away() -> None:
                requests.post(f"{bucket.address}/moto-api/reset", timeout=10).raise_for_status()

            return place, away, lambda: (bucket.make(), bucket.put(tmp_path / "scored"))
        if what == "mlflow":
            store, kept = ws.settings.home / "mlflow.db", ws.settings.home / "away.db"
            place = lay("parquet", frame)
            return place, lambda: (store.rename(kept), store.mkdir()), lambda: (store.rmdir(), kept.rename(store))
        engine = request.getfixturevalue("postgres")

        def asked(*queries: str) -> None:
            with engine.connect() as connection:
                for query in queries:
                    connection.exec_driver_sql(query)

        asked("DROP DATABASE IF EXISTS pulled WITH (FORCE)", "CREATE DATABASE pulled")
        there = sa.create_engine(engine.url.set(database="pulled"), isolation_level="AUTOCOMMIT")
        to_postgres(frame, there, "scored")
        there.dispose()
        allow = "ALTER DATABASE pulled ALLOW_CONNECTIONS"
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'pulled'"
        where = engine.url.set(database="pulled").render_as_string(hide_password=False)
        return {"where": where, "table": "scored"}, lambda: asked(f"{allow} false", end), lambda: asked(f"{allow} true")

    return there


@pytest.fixture
def at_scan(monkeypatch: pytest.MonkeyPatch):
    """Does something once, before the log is read for the n-th time; gives how often it was read."""
    counted, plain = [0], Foreign._scanned

    def place(n: int, act: Callable[[], None]) -> list[int]:
        def scanned(self: Foreign, *args: Any, **more: Any) -> pl.DataFrame:
            counted[0] += 1
            if counted[0] == n:
                act()
            return plain(self, *args, **more)

        monkeypatch.setattr(Foreign, "_scanned", scanned)
        return counted

    return place


IN_MID_WINDOW = 8
"""Readings of the log until the last window, the one that is healed, is being read."""
PULLED = [
    pytest.param(what, n, marks=() if (what, n) == ("database", IN_MID_WINDOW) else pytest.mark.prove)
    for what in ("bucket", "database")
    for n in range(1, IN_MID_WINDOW + 1)
]


@pytest.mark.parametrize(("what", "n"), PULLED)
def test_a_log_that_goes_away_in_mid_window_loses_nothing_and_repeats_nothing(
    what: str, n: int, own, ws, pulled, at_scan
) -> None:
    every = pd.concat([logged(ws, frame, k * N) for k, frame in enumerate(frames())])
    place, away, back = pulled(what, every)
    put(ws, quick(policy(**place)))
    at_scan(n, away)
    with pytest.raises(UnavailableError, match="cannot be read"):
        monitor(ws, NAME, END)
    handled = len(ws.table.processed(NAME))
    assert n != IN_MID_WINDOW or handled == HEALTHY
    back()
    rest = said(monitor(ws, NAME, END))
    assert (rest, adapter(ws)) == (own.said[handled:], own.adapter)
    assert monitor(ws, NAME, END) == [] and len(ws.table.cycles(NAME)) == len(own.said)


def test_mlflow_that_goes_away_in_mid_window_costs_a_heal_and_no_window(own, ws, pulled, at_scan, tmp_path) -> None:
    """The heal could not be registered, and says so; the next window that asks for one has it."""
    every = [*frames(), in_celsius(rows(N, 207), "temperature", "dew")]
    laid = [logged(ws, frame, k * N) for k, frame in enumerate(every)]
    place, away, back = pulled("mlflow", pd.concat(laid[:-1]))
    put(ws, quick(policy(**place)))
    at_scan(IN_MID_WINDOW, away)
    cycles = monitor(ws, NAME, END)
    assert [c.decision.kind for c in cycles] == [one[4] for one in own.said]
    assert cycles[-1].heal.decision == "failed" and "MLflow cannot be reached" in cycles[-1].heal.failure
    back()
    FILES["parquet"](laid[-1], tmp_path / "log", "b")
    assert monitor(ws, NAME, END) == []
    (healed_,) = monitor(ws, NAME, END + timedelta(seconds=N))
    assert healed_.heal.promoted and set(healed_.heal.words) == set(own.said[-1][6][3])
    assert [c["decision"] for c in ws.table.cycles(NAME)] == ["stable", "stable", "heal", "heal"]
