"""The flows against a real server: the same decisions as without Prefect, and runs that say what they decided."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfheal import loop
from selfheal.errors import BusyError, InputError, NotFoundError
from selfheal.steering import Workspace
from selfheal.steering.leases import hold, monitor_lease
from tests.flows.adopted import copied
from tests.loop.test_tries import damage
from tests.steering.given import NAME, START, in_celsius, rows, send

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect")]

WINDOW = 200
UNTIL = START + timedelta(days=1)
#: Differ between two runs on the same rows.
VOLATILE = ("at", "report_day", "run")


def log(ws: Workspace, frames: Sequence[pd.DataFrame], first: int = 0) -> int:
    for frame in frames:
        send(ws, frame, first)
        first += len(frame)
    return first


def healthy(*seeds: int) -> list[pd.DataFrame]:
    return [rows(WINDOW, seed) for seed in seeds]


def broken(*seeds: int) -> list[pd.DataFrame]:
    return [in_celsius(frame, "temperature", "dew") for frame in healthy(*seeds)]


def all_flow_runs() -> list[Any]:
    from prefect import get_client

    with get_client(sync_client=True) as client:
        return list(client.read_flow_runs())


def flow_runs() -> dict[str, Any]:
    return {run.name: run for run in all_flow_runs()}


def test_the_flow_takes_the_same_steps_as_the_loop(ws: Workspace, tmp_path: Path) -> None:
    from flows.monitor import monitor

    other = copied(tmp_path / "other")
    for each in (ws, other):
        log(each, [*healthy(1, 2), *broken(3)])
    by_flow = monitor(NAME, UNTIL)
    direct = [{**c.record, "index": c.ref.index} for c in loop.monitor(other, NAME, UNTIL)]
    other.table.close()
    assert [{k: v for k, v in r.items() if k not in VOLATILE} for r in by_flow] == [
        {k: v for k, v in r.items() if k not in VOLATILE} for r in direct
    ]
    run = flow_runs()["toy windows 0 to 2"]
    assert run.state_name == "Drift"
    assert "window 2: drift: data" in run.state.message


def test_a_heal_is_a_subflow_and_the_runs_say_what_was_decided(ws: Workspace) -> None:
    from prefect import get_client

    from flows.monitor import monitor

    first = log(ws, [*healthy(*range(1, 7)), *broken(11)])
    monitor(NAME, UNTIL)
    log(ws, broken(12), first)
    (record,) = monitor(NAME, UNTIL)
    assert record["heal"]["promoted"], record["heal"]
    runs = flow_runs()
    outer, inner = runs["toy window 7"], runs["toy heal window 7"]
    assert outer.state_name == inner.state_name == "Promoted"
    assert outer.state.message == inner.state.message
    assert "promoted v2: sensor" in outer.state.message
    assert "temperature: °C → °F" in outer.state.message
    assert inner.parent_task_run_id is not None
    with get_client(sync_client=True) as client:
        tasks = {t.name for t in client.read_task_runs() if t.flow_run_id in (outer.id, inner.id)}
        pages = [a for a in client.read_artifacts() if a.flow_run_id == outer.id]
    assert {f"{step} window 7" for step in ("inspect", "watch", "decide", "heal", "record")} <= tasks
    assert [a.key for a in pages] == ["toy-decisions"]
    assert record["heal"]["run_id"] in pages[0].data
    # the same is told as events, to whoever automates
    (told,) = ws.table.outbox.targets(NAME)
    assert (told.shown, told.waiting) == ("prefect", 0)
    assert [row.record["kind"] for row in ws.table.outbox.alerts(NAME)] == ["promoted"]
    assert "| measurement | mechanism |" in pages[0].data
    with ws.registry._door.asked("read a run") as client:
        note = client.get_run(record["heal"]["run_id"]).data.tags["mlflow.note.content"]
    assert note.endswith(f"/runs/flow-run/{inner.id})") and "[The run in Prefect](http" in note


def test_maintain_judges_by_late_labels_and_marks_no_run_of_the_monitor(ws: Workspace) -> None:
    from flows.maintain import maintain

    log(ws, healthy(1, 2))
    loop.monitor(ws, NAME, UNTIL)
    ran = ws.table.outbox.mark(NAME, "ran")
    assert maintain(NAME)["judged"] == []
    truth = rows(WINDOW, 1)["y"]
    ws.table.add_labels(NAME, [f"r{i}" for i in range(WINDOW)], truth.tolist(), START)
    found = maintain(NAME)
    assert (found["judged"], found["version"], found["settled"], found["deleted"]) == ([0], 1, False, 0)
    assert ws.table.cycle(NAME, 0)["realised"]["labelled"] == WINDOW
    assert ws.table.outbox.mark(NAME, "ran") == ran
    assert flow_runs()["toy maintain: windows judged by labels: 1"].state_name == "Maintained"
    with hold(ws, monitor_lease(NAME), ttl=timedelta(seconds=30)):
        assert maintain(NAME) == {}


def test_nothing_new_and_an_unknown_model(ws: Workspace) -> None:
    from prefect import get_client

    from flows.monitor import monitor

    assert monitor(NAME, UNTIL) == []
    assert flow_runs()["toy: no window closed"].state_name == "Nothing new"
    ws.table.heartbeats.beat(NAME, "host:1", {})  # somebody looks at the stages, and nothing came since
    (ws.settings.home / "mlflow.db").rename(ws.settings.home / "away.db")
    before = {run.id for run in all_flow_runs()}
    assert monitor(NAME, UNTIL) == []
    (run,) = [run for run in all_flow_runs() if run.id not in before]
    assert (run.name, run.state_name) == ("toy: no window closed", "Nothing new")
    with get_client(sync_client=True) as client:
        assert run.id not in {t.flow_run_id for t in client.read_task_runs()}, "not one step was needed"
    (ws.settings.home / "away.db").rename(ws.settings.home / "mlflow.db")
    with pytest.raises(NotFoundError, match="no registered model 'tyo'"):
        monitor("tyo", UNTIL)


def test_one_run_at_a_time_and_model(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from flows import runs
    from flows.monitor import monitor

    monkeypatch.setattr(runs, "MONITOR_TTL", timedelta(seconds=1))
    before = {run.id for run in all_flow_runs()}
    with hold(ws, monitor_lease(NAME), ttl=timedelta(seconds=1)):
        assert monitor(NAME, UNTIL) == []
        with pytest.raises(BusyError, match=rf"held by another process \(.*:{os.getpid()}:"):
            runs.called(monitor, NAME, UNTIL)
        with runs.alone(ws, "another model"):
            pass
    busy = [run for run in all_flow_runs() if run.id not in before and run.state_name == runs.BUSY]
    assert {(run.name, run.state.type.value) for run in busy} == {(NAME, "COMPLETED")}


def test_a_run_that_was_killed_stops_no_later_one(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gives its lease no sign of life; what Prefect holds for it nobody asks, nor a clock that is ahead."""
    from prefect import get_client

    from flows import runs
    from flows.monitor import monitor

    assert timedelta(minutes=1) >= 2 * runs.MONITOR_TTL, "for so long nobody looks, and then a run is due again"
    monkeypatch.setattr(runs, "MONITOR_TTL", timedelta(seconds=0.3))
    ws.table.acquire(monitor_lease(NAME), "host:1:dead", runs.MONITOR_TTL)
    with get_client(sync_client=True) as client:
        client.upsert_global_concurrency_limit_by_name(f"selfheal {NAME}", 1)
        client.increment_concurrency_slots([f"selfheal {NAME}"], slots=1, mode="concurrency")
    log(ws, healthy(1))
    with monkeypatch.context() as patched:
        patched.setattr(Workspace, "now", lambda self: START)  # by this machine's clock the window has closed
        assert monitor(NAME) == []
    assert [record["index"] for record in monitor(NAME, UNTIL)] == [0]


def test_release_and_watch_by_hand(ws: Workspace) -> None:
    from flows.release import release, watch

    with pytest.raises(InputError, match="no window of 'toy' was processed"):
        watch(NAME)
    done = release(NAME, 1)
    assert done.promoted
    run = flow_runs()["toy release v1"]
    assert (run.state_name, run.state.message) == ("Promoted", "version 1 is in Production already")
    with pytest.raises(NotFoundError):
        release(NAME, 99)


def test_a_window_that_raises_is_given_up_in_the_third_run(ws: Workspace) -> None:
    from flows.monitor import monitor

    log(ws, healthy(1))
    damage(ws, "r7")
    for _ in range(2):
        with pytest.raises(ValueError, match="could not convert"):
            monitor(NAME, UNTIL)
    (record,) = monitor(NAME, UNTIL)
    assert record["decision"] == "failed"
    assert {run.state_name for run in all_flow_runs() if run.name == "toy window 0"} >= {"Failed", "Given up"}
