"""After a crash: finish what the journal left open, or undo it where it can't be finished."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfheal.errors import ArtifactError, NotFoundError, UnavailableError
from selfheal.steering.change import Change, finish, pointer_to
from selfheal.steering.leases import StagesLease
from selfheal.steering.look import PRODUCTION, Look
from selfheal.steering.stand import Stand, stand_of
from selfheal.table import JournalEntry


def finish_open(lease: StagesLease, stand: Stand) -> Stand:
    """Close the first open entry of a model; who holds its lease knows that whoever began it is gone.

    Returns
    -------
    Stand
        Read anew.
    """
    entry = stand.open[0]
    if "change" in entry.intent:
        _finish(lease, entry, stand)
    else:  # the release before noted in two steps
        lease.ws.table.journal_done(entry.id, {"result": "undone", "reason": "it was only to be noted"})
    return stand_of(lease.ws, lease.model)


def _finish(lease: StagesLease, entry: JournalEntry, stand: Stand) -> None:
    change, before = Change.from_json(entry.intent["change"]), Look.from_json(entry.intent["before"])
    stages = stand.stages
    begun = {"version": change.to, "stage": PRODUCTION} in entry.acts
    why_not = _moved(change, before, stages, begun=begun)
    if not why_not:
        try:
            pointer = pointer_to(lease.ws, stand, change.to, pinned=change.pin)
        except (ArtifactError, NotFoundError, UnavailableError) as error:
            why_not = str(error)
        else:
            finish(lease, entry, pointer, stand)
            return
    outcome: dict[str, Any] = {"result": "undone", "reason": why_not}
    if before.settled is not None:
        left = _left(change, before, stages, begun=begun)
        aliases = _named(change.settled(before, left, entry.id, stand.names), before, stand)
        outcome["look"] = replace(before, stages=left, aliases=aliases).to_json()
    lease.ws.table.journal_done(entry.id, outcome)


def _moved(change: Change, before: Look, stages: Mapping[int, str], *, begun: bool) -> str:
    """Whether somebody else moved the newcomer since, whose word then holds; empty when nobody did."""
    stage = stages.get(change.to)
    if stage is None:
        return f"version {change.to} is gone"
    if stage == PRODUCTION or (stage == before.stages.get(change.to) and not begun):
        return ""
    return f"version {change.to} was moved to {stage} meanwhile"


def _left(change: Change, before: Look, stages: Mapping[int, str], *, begun: bool) -> dict[int, str]:
    """The stages as an entry that is undone left them, so that the next look tells our own moves from a person's.

    A newcomer that is still in Production is left as it was before, and so looked at like anybody's.
    """
    ours = {v: stage for v, stage in change.moves(before) if v != change.to and stages.get(v) == stage}
    gone = {change.to: PRODUCTION} if begun and stages.get(change.to) != PRODUCTION else {}
    return {**before.stages, **ours, **gone}


def _named(meant: Look, before: Look, stand: Stand) -> Mapping[str, int | None] | None:
    """The aliases as an entry that is undone left them: one that says what it meant was written by it."""
    known, wanted = before.aliases, meant.aliases or {}
    if known is None:
        return None
    return {alias: held if held == wanted.get(alias) else known.get(alias) for alias, held in stand.aliases.items()}
