"""Schedules: a monitor deployment per adopted model, on its policy's ``monitor.every``, and maintain once a day;
release and watch by hand.

``python -m flows.deployments [MODEL ...]`` serves them until it is stopped, by default for every adopted model; it
waits for the first adoption. Start it anew after a further one; ``selfheal up`` does so itself.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import TerminationSignal
from prefect.flows import EntrypointType

from flows.declared import FLOWS, interval_of
from flows.early import keep_starting
from flows.maintain import maintain
from flows.monitor import monitor
from flows.release import release, watch
from flows.runner import Schedules
from flows.runs import workspace
from selfheal.steering import Workspace
from selfheal.steering.policies import policy_of_record

LOOK_SECONDS = 5.0
"""Between looks for the first adopted model."""


def deployments(every: dict[str, timedelta]) -> list[RunnerDeployment]:
    """The deployments of these models.

    Parameters
    ----------
    every
        Model → how often its windows are looked at.
    """
    flows = {flow.name: flow for flow in (monitor, release, maintain, watch)}
    return [
        _deployment(flows[name], model, words.format(model), interval=interval_of(name, interval))
        for model, interval in sorted(every.items())
        for name, _, words in FLOWS
    ]


def _deployment(flow: Flow[..., Any], model: str, words: str, interval: timedelta | None) -> RunnerDeployment:
    return RunnerDeployment.from_flow(
        flow,
        f"{flow.name} {model}",
        parameters={"model": model},
        tags=["selfheal", model],
        description=words,
        entrypoint_type=EntrypointType.MODULE_PATH,
        interval=interval,
    )


def schedule_of(ws: Workspace, models: Sequence[str]) -> dict[str, timedelta]:
    """Model → its policy's ``monitor.every``."""
    return {name: policy_of_record(ws, name).policy.monitor.every for name in models}


def main(argv: Sequence[str] | None = None) -> None:
    """Serve the deployments of the models named on the command line, or of all adopted ones."""
    parser = argparse.ArgumentParser(prog="python -m flows.deployments", description=__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL", help="by default every adopted model")
    parser.add_argument("--ready", type=Path, help="a file to write this process's number to, once they are registered")
    given = parser.parse_args(argv)
    if given.ready is not None:
        given.ready.unlink(missing_ok=True)
    ws = workspace()
    models = given.models or ws.table.models()
    while not models:
        time.sleep(LOOK_SECONDS)
        models = ws.table.models()
    served = deployments(schedule_of(ws, models))
    try:
        # A place for a long run of each model, and one for runs that find it at work: no more processes than that.
        runner = Schedules(ws, limit=len(models) + 1)
        for deployment in served:
            runner.serve(deployment)
        if given.ready is not None:
            given.ready.write_text(str(os.getpid()))
        keep_starting(ws, models)
        with suppress(KeyboardInterrupt, TerminationSignal):
            asyncio.run(runner.start())
    finally:
        if given.ready is not None:
            with suppress(OSError):
                given.ready.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
