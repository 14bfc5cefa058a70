"""Whatever breaks beside the service, under load and with shadow and sentinel on: no request fails, no row is lost.

A request fails that asked for durability and could not have it, and no other. Every row that was acknowledged is in
the log afterwards, once, while the local file has room; what is not logged says so and is counted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfheal.policy import WindowSpec
from tests.prove.ledger import Ledger
from tests.serving.conftest import _CHILD, Place, spawned
from tests.serving.load import Load, judged
from tests.serving.outages import (
    Clock,
    Elsewhere,
    Outage,
    address,
    full,
    gone,
    killed,
    locked,
    no_room,
    on_a_disk,
    postgres,
    read_only,
    seen_from_here,
    stopped,
)
from tests.serving.test_swap import until
from tests.serving.watching import watched

LASTS_S = 3.0
"""How long an outage lasts: longer than the database's own patience with a lock would be no other scene."""
PACE_S = 0.004
KILLS = 10


def split(place: Place, forms: Any) -> Any:
    """A request of three rows."""
    return forms.split(place.model.reference.iloc[:3])


def through(outage: Outage, of: Any, service: Any, load: Load, lasts: float) -> None:
    """Before, during and after."""
    assert load.more(100)
    with outage(of, service):
        began = time.monotonic()
        assert load.more(100)
        time.sleep(max(0.0, lasts - (time.monotonic() - began)))
    assert load.more(100)


def shadowed(service: Any) -> int:
    """Answers of the versions in Staging that were kept."""
    return int(service.get("/health")["shadow"]["rows"])


_LITTLE = (
    """
import dataclasses
from selfheal.serving import process
told = process.configured
small = {"queue_bytes": 50_000, "durable_s": 1.0}
process.configured = lambda *given: [dataclasses.replace(each, **small) for each in told(*given)]
"""
    + _CHILD
)
"""A service whose memory for rows that wait holds some hundred of them."""


def test_a_database_that_is_locked_and_a_disk_that_is_full_fail_no_request(place, forms, tmp_path):
    watched(place, tmp_path / "home")
    with spawned(place, script=_LITTLE) as service:
        with Load(service, split(place, forms), pace=PACE_S) as load:
            for outage in (locked, no_room):
                through(outage, place, service, load, 0.3)
        told = judged(load, place)
        assert until(lambda: shadowed(service) > 0)
        assert told["rows"] > 500 and told["unlogged"] > 0
    assert service.process.returncode == 0


def test_a_read_only_file_system_with_one_volume_and_no_home(adopt_in, forms, tmp_path):
    (tmp_path / "made").mkdir()
    place, prefix = on_a_disk(adopt_in("weather", tmp_path / "made"), tmp_path, sealed=True)
    environ = {name: "/nonexistent" for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
    with spawned(place, *prefix, **environ) as service:
        here = seen_from_here(place, service)
        assert service.get("/health")["status"] == "ok"
        with Load(service, split(place, forms)) as load:
            assert load.more(50)
        judged(load, here)
        assert len(list((here.folder / "home" / "spill" / "weather").iterdir())) == 1


def proven(name: str, show: Any) -> None:
    """Show it, or remember that it was shown, and say the numbers."""
    print(f"{name}: {Ledger('outages').run(name, show)}")


@pytest.mark.prove
@pytest.mark.parametrize("outage", [locked, gone, no_room], ids=lambda each: each.__name__)
def test_an_outage_of_a_file(place, forms, tmp_path, outage):
    def show() -> dict[str, Any]:
        watched(place, tmp_path / "home")
        with spawned(place, script=_LITTLE if outage is no_room else _CHILD) as service:
            with Load(service, split(place, forms), pace=PACE_S) as load:
                through(outage, place, service, load, LASTS_S)
            told = judged(load, place)
            assert bool(told["unlogged"]) == (outage is no_room)
            return told

    proven(outage.__name__, show)


@pytest.mark.prove
@pytest.mark.parametrize("both", [False, True], ids=["the database's disk is full", "the local file's too"])
def test_an_outage_of_a_disk(bases, adopt_in, forms, tmp_path, both):
    def show() -> dict[str, Any]:
        made = tmp_path / "made"
        made.mkdir()
        place = adopt_in("weather", made)
        home = made / "home" if both else tmp_path / "home"
        watched(place, home)
        place, prefix = on_a_disk(place, tmp_path)
        home = place.database.parent / "home" if both else home
        with spawned(place, *prefix, home=home) as service:
            here = seen_from_here(place, service)
            with Load(service, split(place, forms), pace=PACE_S) as load:
                through(full, here, service, load, LASTS_S)
            told = judged(load, here)
            assert service.get("/health")["shadow"]["versions"] == [2, 3]
            return told

    proven(f"disk full, {both}", show)


@pytest.mark.prove
@pytest.mark.parametrize("outage", [read_only, stopped, killed], ids=lambda each: each.__name__)
def test_an_outage_of_a_server(bases, forms, tmp_path, outage):
    def show() -> dict[str, Any]:
        model, cache = bases("weather")
        with postgres() as server:
            place = Elsewhere(model, tmp_path / "none.db", cache, "weather", address=address(server))
            with place.table() as table:
                table.create(place.name, model.dtypes, model.classes_.tolist())
            place.settle(1, model.adapter)
            watched(place, tmp_path / "home")
            with spawned(place) as service:
                with Load(service, split(place, forms), pace=PACE_S) as load:
                    through(outage, server, service, load, LASTS_S)
                return judged(load, place)

    proven(f"PostgreSQL {outage.__name__}", show)


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_kills_with_shadow_and_sentinel_on(place, forms, tmp_path):
    """Each process is killed in the midst of requests; the next one, on the same files, finds what it left."""

    def show() -> dict[str, Any]:
        watched(place, tmp_path / "home")
        taken: list[str] = []
        said: set[Any] = set()
        for kill in range(KILLS):
            with spawned(place) as service:
                load = Load(service, split(place, forms), name=f"k{kill}")
                with load:
                    assert load.more(50 + 40 * kill % 300)
                    if kill % 2:
                        assert until(lambda service=service: shadowed(service) > 0, 60)
                    service.process.kill()
            taken, said = taken + load.taken, said | load.said
        with spawned(place) as service, place.table() as table:
            assert until(lambda: service.get("/health")["log"]["rows_waiting"] == 0, 60)
            assert until(lambda: not list(place.spill.glob("*")), 60)
            logged, schema = place.logged(), table.schema(place.name)
            spec = WindowSpec(duration=timedelta(hours=1))
            last = logged["event_time"].max()
            for until_then in (last + timedelta(seconds=1), last + timedelta(days=1)):  # while the window is open
                windows = table.closed_windows(place.name, spec, until=until_then, lateness=timedelta(0), min_rows=1)
            shadows = table.shadows.counts(schema)
        starts = [ref.start.timestamp() // 3600 for ref in windows]
        early = [start for start in set(starts) if starts.count(start) > 1]
        assert set(taken) <= set(logged.index) and logged.index.is_unique and len(said) == 1
        assert early and max(map(starts.count, starts)) == 2, "each hour was cut once at most, and one was"
        assert sum(ref.rows for ref in windows) == len(logged), "every row is in one window"
        assert 0 < max(shadows.values()) <= len(logged)
        return {"kills": KILLS, "rows": len(taken), "cut": len(early), "shadow answers": shadows[2]}

    proven("kills with both on", show)


@pytest.mark.prove
def test_the_clock_is_set_forth_and_back(place, forms, tmp_path):
    def show() -> dict[str, Any]:
        watched(place, tmp_path / "home")
        clock = Clock(tmp_path)
        with spawned(place, **clock.environ) as service:
            with Load(service, split(place, forms), pace=PACE_S) as load:
                for shift in (7_200, -7_200, 86_400 * 400, 0):
                    assert load.more(100)
                    clock.set(shift)
                    time.sleep(LASTS_S / 2)
                assert load.more(100)
            told = judged(load, place)
            assert service.get("/health")["status"] == "ok", service.get("/health")["reasons"]
        ahead = place.logged()["event_time"].max().timestamp() - time.time()
        assert ahead > 86_400 * 399, "the clock was set indeed"
        return told

    proven("clock", show)


_BESIDE = """
import sys
from selfheal.serving import serve
from selfheal.settings import Settings
def ready(url):
    sys.stdout.write(url + "\\n"); sys.stdout.flush()
serve("toy", Settings.from_env(), port=0, on_ready=ready)
"""


@pytest.mark.prove
@pytest.mark.parametrize("what", ["MLflow", "the helper"])
def test_an_outage_of_mlflow_and_of_the_helper(tmp_path, forms, what):
    from tests.flows.adopted import copied
    from tests.steering.given import NAME, toy

    def show() -> dict[str, Any]:
        home = tmp_path / "home"
        copied(home).table.close()
        place = Place(toy(), home / "selfheal.db", home / "cache", NAME)
        environ = {"SELFHEAL_HOME": str(home), "SELFHEAL_RULES": str(home / "rules")}
        with spawned(place, script=_BESIDE, **environ) as service:
            assert until(lambda: not service.get("/health")["reasons"], 120), service.get("/health")
            with Load(service, split(place, forms), pace=PACE_S) as load:
                through(_away if what == "MLflow" else _halted, home, service, load, 4 * LASTS_S)
            return judged(load, place)

    proven(what, show)


@contextlib.contextmanager
def _away(home: Path, service: Any) -> Any:
    shutil.move(home / "mlflow.db", home / "away.db")
    yield
    os.replace(home / "away.db", home / "mlflow.db")


@contextlib.contextmanager
def _halted(home: Path, service: Any) -> Any:
    children = psutil.Process(service.process.pid).children(recursive=True)
    assert children
    for child in children:
        child.send_signal(signal.SIGSTOP)
    yield
    for child in children:
        child.send_signal(signal.SIGCONT)
