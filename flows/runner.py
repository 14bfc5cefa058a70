"""Prefect's runner, which starts no process for a scheduled monitor run that would find nothing.

Such a run is ended by the runner itself, in the state that it would have come to; a process imports for seconds before
it can say the same. While another run is at work it waits: that one handles what has closed, and a busy machine has
better to do than to import what would find it at work. In doubt a process is started: where the look fails, the run is
not plainly one of the schedule, or Prefect does not take the state.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from prefect import get_client
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.states import Completed

from flows import wording
from flows.events import Events
from flows.runs import at_work, drop_late
from selfheal import loop
from selfheal.alerts import told_at_the_end

if TYPE_CHECKING:
    from prefect.deployments.runner import RunnerDeployment

    from selfheal.steering import Workspace

_log = logging.getLogger("selfheal.flows")


class Schedules(Runner):  # type: ignore[misc]
    """Serves deployments.

    Parameters
    ----------
    limit
        Processes at once.
    """

    def __init__(self, ws: Workspace, limit: int) -> None:
        super().__init__(limit=limit)
        self.ws = ws
        self.monitors: dict[UUID, str] = {}
        self.ending: dict[UUID, threading.Thread] = {}
        self.doubtful: set[UUID] = set()

    def serve(self, deployment: RunnerDeployment) -> None:
        """Register one; if it is a monitor's, its scheduled runs are looked at before they are started."""
        key: Any = self.add_deployment(deployment)  # typed as if it might be awaited
        if deployment.flow_name == "monitor":
            self.monitors[key] = deployment.parameters["model"]

    async def __aenter__(self) -> Self:
        """Prefect has no hook between what is due and its process: what the runner asks the server for is filtered."""
        await super().__aenter__()
        asked = self._client.get_scheduled_flow_runs_for_deployments

        async def to_start(*args: Any, **kwargs: Any) -> list[FlowRun]:
            return await self.to_start(await asked(*args, **kwargs))

        setattr(self._client, asked.__name__, to_start)
        return self

    async def to_start(self, runs: Sequence[FlowRun]) -> list[FlowRun]:
        """Those of the runs that are due, or soon will be, that need a process; of the others those that are due are
        ended, in a thread: whom an alert is sent to may be slow.
        """
        now = datetime.now(UTC)
        self.ending = {run: thread for run, thread in self.ending.items() if thread.is_alive()}
        resting = set(self.ending)
        for model in self.monitors.values():
            mine = {run.id: _due(run) for run in runs if self._plain(run) == model}
            if not mine:
                continue
            # at the latest of them, for windows close by then: one that is not due yet is asked again when it is
            until = max(now, *mine.values())
            if await asyncio.to_thread(at_work, self.ws, model):
                resting |= mine.keys()
            elif await asyncio.to_thread(finds_nothing, self.ws, model, until):
                resting |= mine.keys()
                due = [run for run, at in mine.items() if at <= now]
                if due and not self.ending.keys() & mine.keys():
                    self._end(model, due[0], more=len(due) > 1)
        return [run for run in runs if run.id not in resting]

    def _plain(self, run: FlowRun) -> str | None:
        """The model of a run that the schedule asked for, as it asks for each, and for the first time."""
        model = self.monitors.get(run.deployment_id) if run.deployment_id else None
        plain = run.auto_scheduled and run.run_count == 0 and run.parameters == {"model": model}
        return model if plain and run.id not in self.doubtful else None

    def _end(self, model: str, run: UUID, *, more: bool) -> None:
        def end() -> None:
            try:
                if not end_run(self.ws, model, run, more=more):
                    self.doubtful.add(run)
            except Exception as error:  # whatever it is, a process will say it better
                _log.warning(
                    "%s: a run that finds nothing could not be ended: %s", model, error or type(error).__name__
                )
                self.doubtful.add(run)

        self.ending[run] = threading.Thread(target=end, name=f"selfheal-end {model}", daemon=True)
        self.ending[run].start()


def finds_nothing(ws: Workspace, model: str, until: datetime) -> bool:
    """Whether a monitor run has nothing to do by ``until``; False where that cannot be said."""
    try:
        return loop.is_idle(ws, model, until)
    except Exception as error:
        _log.warning(
            "%s: a run is started, for what it may find is not known: %s", model, error or type(error).__name__
        )
        return False


def end_run(ws: Workspace, model: str, run: UUID, *, more: bool = False) -> bool:
    """End a scheduled run that finds nothing as the flow would; whether it is over.

    Its last act is the one that ends it: killed before, it is still due, and is looked at again.

    Parameters
    ----------
    more
        Others are late, too: they are taken away.
    """
    with told_at_the_end(ws, model, [Events()]):
        pass  # a run has come to its end: signs of life, alerts that wait
    name, message = wording.summary([])
    with get_client(sync_client=True) as client:
        try:
            found = client.read_flow_run(run)
            if not (found.state and found.state.is_scheduled()):
                return True  # somebody else took it
            if more:
                drop_late(str(found.deployment_id), str(run))
            client.update_flow_run(run, name=wording.run_name(model, []))
            answer: OrchestrationResult[object] = client.set_flow_run_state(run, Completed(name=name, message=message))
        except ObjectNotFound:
            return True  # somebody took it away
    return answer.status == SetStateStatus.ACCEPT


def _due(run: FlowRun) -> datetime:
    """When it is to start; Prefect's own kind of time is not one that every library calculates with."""
    at = run.next_scheduled_start_time or run.expected_start_time
    return datetime.fromtimestamp(at.timestamp(), UTC) if at else datetime.now(UTC)
