"""The monitor flow: settle the stages, then inspect, watch, decide, heal and record every closed window.

The same passes as :func:`selfheal.loop.monitor`, each step a task, the heal a subflow.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress
from contextvars import ContextVar
from dataclasses import replace
from datetime import datetime
from typing import Any

from prefect import flow, get_run_logger, runtime
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.utilities.urls import url_for

from flows import wording
from flows.events import Events
from flows.runs import BUSY, OF_PREFECT, alone, called, drop_late, ended, rename, step, workspace
from selfheal import loop
from selfheal.alerts import told_at_the_end
from selfheal.errors import BusyError, SelfhealError
from selfheal.steering import Workspace

_at_hand: ContextVar[loop.Context | None] = ContextVar("_at_hand", default=None)
"""What the pass that asks for a heal knows: more than the subflow's parameters can say."""


@flow(name="monitor", flow_run_name="{model}")
def monitor(model: str, until: datetime | None = None) -> list[dict[str, Any]]:
    """Handle every window that closed before ``until``, by default now.

    Returns
    -------
    list of dict
        The records of the windows, oldest first, each with its ``index``; none where another run is at work.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database is away.
    """
    ws = workspace()
    # What came of it is told once the lease is given back; a run that found another one at work has nothing to tell.
    with ExitStack() as ending, ExitStack() as leased:
        try:
            lease = leased.enter_context(alone(ws, model))
        except BusyError as error:
            return ended(BUSY, str(error), [])
        end = ending.enter_context(told_at_the_end(ws, model, [Events()]))
        clock = until or ws.now()
        if until is None:
            late_ones_are_mine()
        if loop.is_idle(ws, model, clock):
            rename(wording.run_name(model, []))
            return ended(*wording.summary([]), [])
        serving = step(loop.settle_stages)(ws, model, clock)
        end.policy = serving.policy
        refs = step(loop.pending)(ws, model, clock, serving.policy)
        rename(wording.run_name(model, [ref.index for ref in refs]))
        handled = loop.passes(lease, serving, refs, step=step, healer=healed, passing=OF_PREFECT)
        records = [said(model, cycle) for cycle in handled]
    return ended(*wording.summary(records), records)


def late_ones_are_mine() -> None:
    """Scheduled runs that are late are taken away: this one handles their windows. Without it they find nothing."""
    with suppress(*OF_PREFECT):
        if dropped := drop_late(runtime.deployment.id, runtime.flow_run.id):
            get_run_logger().info("%d late runs of this schedule taken away: this one handles their windows", dropped)


def said(model: str, cycle: loop.Cycle) -> dict[str, Any]:
    """The record of a window, told in the log, and on a page where there is more to say than a line."""
    record = {**cycle.record, "index": cycle.ref.index}
    get_run_logger().info(wording.line(model, record))
    if wording.worth_a_page(record):
        page = wording.page(model, record)
        create_markdown_artifact(
            page, key=f"{wording.slug(model)}-decisions", description=wording.line(model, record)
        )  # fmt: skip
    return record


def healed(ctx: loop.Context) -> loop.Context:
    """The heal of a pass, as a subflow."""
    token = _at_hand.set(ctx)
    try:
        return replace(ctx, healed=called(heal, ctx.name, ctx.ref.index))
    finally:
        _at_hand.reset(token)


@flow(name="heal", flow_run_name="{model} heal window {window}")
def heal(model: str, window: int) -> loop.HealRecord:
    """Heal one window in a child process, register what the gate accepts, release it as the policy allows."""
    ws, ctx = workspace(), _at_hand.get()
    ctx = ctx or loop.load(ws, model).at(ws.table.window(model, window))
    record = step(loop.heal)(replace(ctx, page=page_here())).healed
    assert record is not None  # noqa: S101  what heal adds
    link_to_mlflow(ws, model, record)
    as_record = record.to_json()
    return ended(wording.heal_state(as_record), wording.heal_message(as_record), record)


def page_here() -> str:
    """The address of this run's page in Prefect, where it has one."""
    return (url_for("flow-run", obj_id=runtime.flow_run.id) if runtime.flow_run.id else None) or ""


def link_to_mlflow(ws: Workspace, model: str, record: loop.HealRecord) -> None:
    """The heal's run in MLflow as a link on its run in Prefect, where MLflow is a server that has pages."""
    with suppress(SelfhealError):
        if page := ws.registry.runs.page(record.run_id) if record.run_id else "":
            create_link_artifact(
                page, f"MLflow: heal of window {record.window}", key=f"{wording.slug(model)}-heal",
                description=wording.heal_message(record.to_json()),
            )  # fmt: skip
