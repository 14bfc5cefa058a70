"""Schedules: one monitor deployment per adopted model, on its policy's ``monitor.every``; a release and a watch by hand.

``python -m flows.deployments [MODEL ...]`` serves them until it is stopped, by default for every adopted model; it
waits for the first adoption, and starts anew when the list of models or a policy's schedule changes.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.flows import EntrypointType

from flows.monitor import monitor
from flows.release import release, watch
from flows.runs import workspace
from selfheal.lifecycle import Workspace
from selfheal.lifecycle.models import serving_model
from selfheal.lifecycle.policies import policy_of_record

ONE = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""One run at a time and model: a new one would find the same windows, so it is dropped rather than queued."""

LOOK_SECONDS = 5.0
"""Between looks for the first adopted model."""


def deployments(every: dict[str, timedelta]) -> list[RunnerDeployment]:
    """The deployments of these models.

    Parameters
    ----------
    every
        Model → how often its windows are looked at.
    """
    made: list[RunnerDeployment] = []
    for model, interval in sorted(every.items()):
        made.append(
            monitor.to_deployment(
                f"monitor {model}",
                interval=interval,
                parameters={"model": model},
                concurrency_limit=ONE,
                tags=["selfheal", model],
                description=f"Handles every closed window of {model}: report, signals, decision, heal.",
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
        )
        for flow, words in ((release, "Releases a version of"), (watch, "Asks the watch again over")):
            made.append(
                flow.to_deployment(
                    f"{flow.name} {model}",
                    parameters={"model": model},
                    tags=["selfheal", model],
                    description=f"{words} {model}; run by hand or by an event.",
                    entrypoint_type=EntrypointType.MODULE_PATH,
                )
            )
    return made


def schedule_of(ws: Workspace, models: Sequence[str]) -> dict[str, timedelta]:
    """Model → its policy's ``monitor.every``."""
    return {name: policy_of_record(ws, name, serving_model(ws, name)[0]).policy.monitor.every for name in models}


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
    if given.ready is not None:
        given.ready.write_text(str(os.getpid()))
    try:
        serve(*served, print_starting_message=False)
    finally:
        if given.ready is not None:
            with suppress(OSError):
                given.ready.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
