"""Start a monitor run at once where a service asked that an open window be closed early."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from prefect import get_client

from flows.runs import OF_PREFECT, at_work
from selfheal.errors import SelfhealError
from selfheal.steering import Workspace
from selfheal.steering.policies import policy_of_record

LOOK_SECONDS = 5.0
"""Between looks at the state database, a query a model."""

_log = logging.getLogger("selfheal.flows")


def keep_starting(ws: Workspace, models: Sequence[str]) -> None:
    """Do so from now on, in a thread; what fails is left to the schedule, which comes anyway."""

    def keep_on() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            try:
                start_due(ws, models, datetime.now(UTC))
            except (SelfhealError, *OF_PREFECT) as error:
                _log.warning("no monitor run was started for a window that is closed early: %s", error)

    threading.Thread(target=keep_on, name="selfheal-early", daemon=True).start()


def start_due(ws: Workspace, models: Sequence[str], now: datetime) -> list[str]:
    """Start a run of each model of which a window was to be closed early by now, late rows allowed for; their names.

    Not while one is at work, which would send it away: it is looked at again.
    """
    due = []
    for name in models:
        if at_work(ws, name):
            continue
        lateness = policy_of_record(ws, name).policy.monitor.lateness
        if (cut := ws.table.sentinels.due(name, now - lateness)) is not None:
            _log.warning("%s: a monitor run is started at once: %s", name, cut.why)
            due.append(name)
    if due:
        with get_client(sync_client=True) as client:
            for name in due:
                client.create_flow_run_from_deployment(client.read_deployment_by_name(f"monitor/monitor {name}").id)
    return due
