"""Scheduled monitor runs that find nothing need no process; whatever there may be to do starts one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from selfheal import loop
from selfheal.steering import Workspace, freeze
from selfheal.steering.leases import hold, monitor_lease
from tests.steering.given import NAME, rows, send

pytestmark = [pytest.mark.xdist_group("prefect"), pytest.mark.usefixtures("prefect")]


@pytest.fixture
def runner(ws: Workspace) -> Iterator[Any]:
    """It serves the monitor of a model that is settled, and whose stages somebody looks at."""
    from prefect import get_client

    from flows.deployments import deployments
    from flows.runner import Schedules

    loop.settle_stages(ws, NAME)
    ws.table.heartbeats.beat(NAME, "host:1", {})
    made = Schedules(ws, limit=2)
    made.pause_on_shutdown = False
    monitor = deployments({NAME: timedelta(hours=1)})[0]
    with get_client(sync_client=True) as client:
        client.delete_deployment(monitor.apply())  # and with it the runs that other tests left
        made.serve(monitor)
        yield made
        client.delete_deployment(*made.monitors)


def plan(runner: Any, first: timedelta, last: timedelta, runs: int) -> None:
    """So many runs that the schedule asks for between these times from now, an hour apart."""
    from prefect import get_client

    now = datetime.now(UTC)
    asked = {"start_time": (now + first).isoformat(), "end_time": (now + last).isoformat(), "min_runs": runs}
    with get_client(sync_client=True) as client:
        (key,) = runner.monitors
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": key}, json=asked)


def planned(runner: Any) -> dict[UUID, Any]:
    from prefect import get_client
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId

    wanted = FlowRunFilter(deployment_id=FlowRunFilterDeploymentId(any_=[*runner.monitors]))
    with get_client(sync_client=True) as client:
        return {run.id: run for run in client.read_flow_runs(flow_run_filter=wanted)}


def test_a_run_that_finds_nothing_ends_without_a_process(ws: Workspace, runner: Any) -> None:
    freeze(ws, NAME, "ann", "an incident")
    loop.settle_stages(ws, NAME)
    plan(runner, timedelta(hours=-3), timedelta(hours=1), 4)
    before = planned(runner)
    late = [run for run in before.values() if run.expected_start_time < datetime.now(UTC)]
    assert (len(late), len(before)) == (3, 4)
    asyncio.run(runner.start(run_once=True))
    for thread in runner.ending.values():
        thread.join()
    after = planned(runner)
    (ended,) = [run for run in after.values() if not run.state.is_scheduled()]
    assert (ended.name, ended.state_type.value, ended.state_name) == (
        f"{NAME}: no window closed",
        "COMPLETED",
        "Nothing new",
    )
    assert ended.run_count == 0, "no process has run it"
    assert len(after) == 2, "the other late ones are taken away, what is to come stays"
    assert ws.table.outbox.mark(NAME, "ran"), "the monitor lives"
    assert [(told.shown, told.waiting) for told in ws.table.outbox.targets(NAME)] == [("prefect", 0)], "and tells"
    assert not runner.doubtful


def test_in_doubt_a_run_is_started(ws: Workspace, runner: Any) -> None:
    from flows.runner import end_run

    plan(runner, timedelta(0), timedelta(hours=1), 1)
    (run,) = planned(runner).values()

    def started(**changed: Any) -> bool:
        return bool(asyncio.run(runner.to_start([run.model_copy(update=changed)])))

    assert not started(), "it is not due yet, and would find nothing"
    assert not runner.ending, "so that it is asked again"
    assert started(auto_scheduled=False), "a person asked for it"
    assert started(parameters={"model": NAME, "until": "2026-01-01"})
    assert started(run_count=1)
    assert started(deployment_id=None)
    send(ws, rows(200, 1), 0)
    with hold(ws, monitor_lease(NAME), ttl=timedelta(seconds=30)):
        assert not started(), "whoever is at work handles it"
        assert started(auto_scheduled=False), "and tells a person so"
    assert not runner.ending, "but it is not over"
    assert started(), "a window has closed"
    assert end_run(ws, NAME, run.id)
    assert end_run(ws, NAME, run.id), "it is over"
    assert planned(runner)[run.id].state_name == "Nothing new"
    (ws.settings.home / "selfheal.db").unlink()
    ws.table.close()
    assert started(), "the database is away"
