"""What every flow shares: the open workspace, its place in the queue, its name, the state that it ends in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from uuid import UUID

from httpx import HTTPError
from prefect import Flow, get_client, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound, PrefectException
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings
from prefect.states import Completed, State

from selfheal.errors import BusyError, SelfhealError
from selfheal.loop import Context
from selfheal.settings import Settings
from selfheal.steering.leases import MONITOR_TTL, Lease, hold, monitor_lease

if TYPE_CHECKING:
    from selfheal.steering import Workspace

OF_PREFECT = (PrefectException, HTTPError)
"""What Prefect raises where its server is away or its own bookkeeping fails: no fault of the window at hand."""

P = ParamSpec("P")
R = TypeVar("R")
Data = TypeVar("Data")

STUCK = timedelta(minutes=10)
"""After which a run that is still pending was being started by a process that was killed."""

BUSY = "Busy"
"""State of a run that found another one at work: no alarm, that one takes the windows."""


def workspace() -> Workspace:
    """The installation that the environment names; opened once, so that models are loaded once."""
    return _opened(Settings.from_env())


def reach_server() -> None:
    """Start the ephemeral server, or ask the one that PREFECT_API_URL names for a sign of life.

    The first flow run does the same. Called earlier, in a thread, it takes the seconds that a server needs out of it.
    """
    with get_client(sync_client=True) as client:
        client.hello()


@lru_cache(maxsize=4)
def _opened(settings: Settings) -> Workspace:
    from selfheal.steering import open_workspace

    return open_workspace(settings)


@contextmanager
def alone(ws: Workspace, model: str) -> Iterator[Lease]:
    """One run at a time and model, by a lease in the state database.

    Prefect's own limits are not asked: a slot whose holder was killed stays taken for a minute, a deployment's for
    five, and for ever where the server went with it.

    Raises
    ------
    BusyError
        Another run of this model is at work.
    """
    with hold(ws, monitor_lease(model), ttl=MONITOR_TTL, wait=None) as lease:
        yield lease


def at_work(ws: Workspace, model: str) -> bool:
    """Whether somebody handles the model's windows now; False where that cannot be said."""
    with suppress(SelfhealError):
        return ws.table.lease_holder(monitor_lease(model)) is not None
    return False


def drop_late(deployment: str | None, own: str | None) -> int:
    """Take away the scheduled runs of a deployment that are due by now, all but one's own; how many.

    One run handles every window that has closed, so the others would find nothing. After a pause there may be hundreds,
    each a process. They are deleted: a cancelled one would stay on Prefect's page, and say that something failed.
    What a person has asked for stays, and so does what runs.
    """
    if deployment is None:
        return 0
    now, late_runs = datetime.now(UTC), []
    with get_client(sync_client=True) as client:
        for state, due in ((StateType.SCHEDULED, now), (StateType.PENDING, now - STUCK)):
            wanted = FlowRunFilter(
                deployment_id=FlowRunFilterDeploymentId(any_=[UUID(deployment)]),
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[state])),
                expected_start_time=FlowRunFilterExpectedStartTime(before_=due),
            )
            late_runs += client.read_flow_runs(flow_run_filter=wanted)
        dropped = 0
        for late in late_runs:
            if late.auto_scheduled and str(late.id) != own:
                with suppress(ObjectNotFound):  # another one was quicker
                    client.delete_flow_run(late.id)
                    dropped += 1
    return dropped


def rename(words: str) -> None:
    """Give the current flow run a name, once it is known what it is about."""
    if runtime.flow_run.id:
        with get_client(sync_client=True) as client:
            client.update_flow_run(runtime.flow_run.id, name=words)


def ended(name: str, message: str, data: Data) -> Data:
    """The final state of a run, whose name and message are what the list of runs shows.

    Typed as its data, which is what :func:`called` hands to whoever called the flow.
    """
    if runtime.flow_run.id:
        _results[str(runtime.flow_run.id)] = data
        while len(_results) > KEPT_RESULTS:
            del _results[next(iter(_results))]
    return cast("Data", Completed(name=name, message=message, data=data))


KEPT_RESULTS = 16
"""Flows are called one after the other; a handful of results waits to be taken."""

_results: dict[str, Any] = {}


def called(recipe: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a flow in this process and take what it ended with.

    Prefect keeps that in the state object only. When its server is slow to take the final state, its client asks again,
    is answered with the state that the server already has, and the data are gone with the first one.

    Raises
    ------
    BusyError
        Another run is at work.
    Exception
        What the flow raised.
    """
    state: State[R] = recipe(*args, return_state=True, **kwargs)
    if state.name == BUSY:
        raise BusyError(state.message or "")
    run = str(state.state_details.flow_run_id)
    if state.is_completed() and run in _results:
        return cast("R", _results.pop(run))
    return state.result()


def step(what: Callable[P, R], /) -> Callable[P, R]:
    """A step of the loop as a task: nothing cached, named after what it does and its window.

    The task has no parameters: Prefect would walk through all that a pass knows, in search of other runs' results.
    """

    def taken(*args: P.args, **kwargs: P.kwargs) -> R:
        name = what.__name__.replace("_", " ")
        window = f" window {args[0].ref.index}" if args and isinstance(args[0], Context) else ""
        return task(name=name, task_run_name=name + window, cache_policy=NO_CACHE)(partial(what, *args, **kwargs))()

    return taken


@contextmanager
def in_process() -> Iterator[None]:
    """For flows called in this process, one after the other: no heartbeats, whose thread costs a second per run."""
    with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
        yield
