"""When the loop may not promote or recall, and how often it may: the calendar and the budget of a policy.

They bind the loop's promotions and recalls. Roll-backs, refills of an empty Production and people are never bound.
"""

from __future__ import annotations

from datetime import datetime

from selfheal.policy import Budget, Release, covering, format_duration
from selfheal.steering.actors import is_loop
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry

BOUND = ("promote", "recall")
"""Kinds of change that are bound."""

LOOKED = 200
"""Entries of each kind that are looked back on: more than anybody allows in the time of a budget."""


def not_now(ws: Workspace, name: str, release: Release) -> str:
    """What a promotion of the loop waits for; empty where it may be made now.

    Parameters
    ----------
    release
        That section of the policy in force.
    """
    now = ws.clock()
    span = covering(release.not_during, release.timezone, now)
    if span is not None:
        return f"the end of {span} ({release.timezone}): release.not_during"
    if release.budget is None:
        return ""
    made = _spent(ws, name, release.budget)
    if len(made) < release.budget.promotions:
        return ""
    free = made[-release.budget.promotions] + release.budget.per
    return f"the budget, {_counted(made, release.budget)} (release.budget): not before {free:%Y-%m-%d %H:%M} UTC"


def budget(ws: Workspace, name: str, release: Release) -> str:
    """How much of its budget the loop has spent, in words; empty where the policy sets none."""
    return "" if release.budget is None else _counted(_spent(ws, name, release.budget), release.budget)


def _spent(ws: Workspace, name: str, allowed: Budget) -> list[datetime]:
    return sorted(at for at in _made(ws, name) if at > ws.clock() - allowed.per)


def _counted(made: list[datetime], allowed: Budget) -> str:
    return f"{len(made)} of {allowed.promotions} promotions in {format_duration(allowed.per)}"


def _made(ws: Workspace, name: str) -> list[datetime]:
    """When the loop promoted or recalled; what was undone after a crash is none."""
    entries = [e for kind in BOUND for e in ws.table.journal(name, last=LOOKED, kind=kind)]
    return [e.at for e in entries if _counts(e)]


def _counts(entry: JournalEntry) -> bool:
    undone = entry.outcome is not None and entry.outcome.get("result") == "undone"
    return is_loop(entry.intent["change"]["actor"]) and not undone
