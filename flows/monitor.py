"""The monitor flow: settle the stages, then inspect, watch, decide, heal and record every closed window.

The same steps in the same order as :func:`selfheal.loop.monitor`, each a task, the heal a subflow.
"""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows import wording
from flows.runs import BUSY, OF_PREFECT, alone, called, ended, rename, step, workspace
from selfheal import loop, steering
from selfheal.errors import BusyError
from selfheal.table import WindowRef


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
    with ExitStack() as leased:
        try:
            lease = leased.enter_context(alone(ws, model))
        except BusyError as error:
            return ended(BUSY, str(error), [])
        settle_stages(ws, model)
        refs = closed_windows(ws, model, until or datetime.now(UTC))
        rename(wording.run_name(model, [ref.index for ref in refs]))
        records = []
        for ref in refs:
            lease.renew()
            records.append(window(ws, model, ref, newest=ref == refs[-1]))
    return ended(*wording.summary(records), records)


def window(ws: steering.Workspace, model: str, ref: WindowRef, *, newest: bool) -> dict[str, Any]:
    """One window through all steps; its record."""
    steps = partial(handle, ws, model, ref, newest=newest)
    kept = loop.attempt(ws, model, ref, steps, passing=OF_PREFECT)
    said = {**kept.record, "index": ref.index}
    get_run_logger().info(wording.line(model, said))
    if wording.worth_a_page(said):
        page = wording.page(model, said)
        create_markdown_artifact(page, key=f"{wording.slug(model)}-decisions", description=wording.line(model, said))
    return said


def handle(ws: steering.Workspace, model: str, ref: WindowRef, *, newest: bool) -> loop.Cycle:
    """:func:`selfheal.loop.cycle`, each step a task."""
    seen = inspect(ws, model, ref)
    verdict = watch(ws, model, seen)
    decision = decide(ws, model, seen, newest=newest, rolled_back=verdict is not None and verdict.rolled_back)
    healed = called(heal, model, ref.index) if decision.kind == "heal" else None
    return record(ws, model, seen, decision, healed, verdict)


@flow(name="heal", flow_run_name="{model} heal window {window}")
def heal(model: str, window: int) -> loop.HealRecord:
    """Heal one window in a child process, register what the gate accepts, release it as the policy allows."""
    ws = workspace()
    found = heal_window(ws, model, ws.table.window(model, window))
    as_record = found.to_json()
    return ended(wording.heal_state(as_record), wording.heal_message(as_record), found)


settle_stages = step("settle the stages")(loop.settle_stages)
closed_windows = step("closed windows")(loop.pending)
inspect = step("inspect", "{ref.index}")(loop.inspect)
watch = step("watch", "{seen.ref.index}")(loop.watch_window)
decide = step("decide", "{seen.ref.index}")(loop.decide)
heal_window = step("heal", "{ref.index}")(loop.heal_window)
record = step("record", "{seen.ref.index}")(loop.record)
