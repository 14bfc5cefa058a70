"""Flows for a version that waits: release it as the policy allows, ask the watch again. Run by hand or by an event."""

from __future__ import annotations

from prefect import flow

from flows.runs import alone, ended, step, workspace
from selfheal import loop, steering
from selfheal.errors import InputError


@flow(name="release", flow_run_name="{model} release v{version}")
def release(model: str, version: int) -> steering.Released:
    """Promote a version in Staging if the policy, the quarantine and people allow it; settle the stages first.

    Raises
    ------
    NotFoundError, ArtifactError, UnavailableError
        No such version; it can't be loaded; a store is away. Nothing was changed.
    """
    ws = workspace()
    with alone(ws, model):
        settle_stages(ws, model)
        done = release_version(ws, model, version)
    return ended("Promoted" if done.promoted else "Waiting", done.note, done)


@flow(name="watch", flow_run_name="{model} watch")
def watch(model: str) -> loop.WatchVerdict:
    """Ask of the last processed window whether the version before would serve better; roll back if so.

    For labels that came late: the monitor asks on every window anyway.

    Raises
    ------
    InputError
        No window was processed yet.
    """
    ws = workspace()
    with alone(ws, model):
        done = ws.table.cycles(model, last=1)
        if not done:
            raise InputError(f"no window of {model!r} was processed yet; the monitor comes first")
        verdict = watch_window(ws, model, ws.table.window(model, done[-1]["index"]), problems=done[-1]["problems"])
    name = "Rolled back" if verdict.rolled_back else verdict.verdict.capitalize()
    reasons = "; ".join(verdict.reasons) or "the window says nothing about this version"
    return ended(name, f"v{verdict.version} against v{verdict.against}: {reasons}", verdict)


settle_stages = step("settle the stages")(loop.settle_stages)
release_version = step("release")(steering.release)
watch_window = step("watch", "{ref.index}")(loop.watch)
