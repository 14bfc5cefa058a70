"""Flows for a version that waits: release it as the policy allows, ask the watch again. Run by hand or by an event."""

from __future__ import annotations

from prefect import flow

from flows.runs import alone, ended, step, workspace
from selfheal import loop, steering


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
        step(loop.settle_stages)(ws, model)
        done = step(steering.release)(ws, model, version)
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
        verdict = step(loop.watch_again)(ws, model)
    name = "Rolled back" if verdict.rolled_back else verdict.verdict.capitalize()
    reasons = "; ".join(verdict.reasons) or "the window says nothing about this version"
    return ended(name, f"v{verdict.version} against v{verdict.against}: {reasons}", verdict)
