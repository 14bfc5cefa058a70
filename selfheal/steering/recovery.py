"""After a crash: finish what the journal left open, or undo it where it can't be finished."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfheal.errors import ArtifactError, NotFoundError, UnavailableError
from selfheal.steering.change import Change, finish, pointer_to
from selfheal.steering.leases import StagesLease
from selfheal.steering.look import ARCHIVED, PRODUCTION, Look
from selfheal.steering.stand import Stand, stand_of
from selfheal.table import JournalEntry

_log = logging.getLogger("selfheal.steering")


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
        lease.ws.table.journal_done(
            entry.id, {"result": "undone", "reason": "it was only to be noted"}, under=lease.claim
        )
    return stand_of(lease.ws, lease.model)


def _finish(lease: StagesLease, entry: JournalEntry, stand: Stand) -> None:
    change, before = Change.from_json(entry.intent["change"]), Look.from_json(entry.intent["before"])
    why_not = next((act["undo"] for act in entry.acts if "undo" in act), "")
    begun = not why_not and {"version": change.to, "stage": PRODUCTION} in entry.acts
    why_not = why_not or _moved(change, before, stand.stages, begun=begun)
    if not why_not:
        try:
            pointer = pointer_to(lease.ws, stand, change.to, pinned=change.pin)
        except (ArtifactError, NotFoundError, UnavailableError) as error:
            why_not = str(error)
        else:
            finish(lease, entry, change, before, pointer, stand)
            return
    _log.error("%s: entry %d of the journal (%s) is undone: %s", lease.model, entry.id, entry.kind, why_not)
    outcome: dict[str, Any] = {"result": "undone", "reason": why_not}
    if stand.look is not None:
        # What people had moved when it was begun is looked at anew: the look is the one before.
        left = _undo(lease, entry, change, before, stand, why_not)
        if begun and stand.stages.get(change.to) != PRODUCTION:
            left[change.to] = PRODUCTION  # from where somebody took it
        aliases = _named(change.settled(before, left, entry.id, stand.names), stand.look, stand)
        # What could not be read then is still wanted, though its stage or alias may say so no more.
        awaited = stand.look.awaited if change.awaited is None else change.awaited
        outcome["look"] = replace(stand.look, stages=left, aliases=aliases, awaited=awaited).to_json()
    lease.ws.table.journal_done(entry.id, outcome, under=lease.claim)


def _undo(
    lease: StagesLease, entry: JournalEntry, change: Change, before: Look, stand: Stand, why: str
) -> dict[int, str]:
    """Take back what was done, old in before new out; the stages of the last look, and of ours what nobody took back.

    A newcomer that only this change can have moved goes back to where it was: left in Production, it would be taken
    for a person's wish.
    """
    stages, known = stand.stages, {} if stand.look is None else dict(stand.look.stages)
    moved = {v: stage for v, stage in change.moves(before) if stages.get(v) == stage != before.stages.get(v)}
    if moved.pop(change.to, None) is None:
        return known | moved
    if before.settled not in moved and PRODUCTION not in {stage for v, stage in stages.items() if v != change.to}:
        return known | moved | {change.to: PRODUCTION}  # it goes once the next look has found what comes in
    if not any("undo" in act for act in entry.acts):
        lease.ws.table.journal_act(entry.id, {"undo": why}, under=lease.claim)
    old = before.settled
    back = [(old, PRODUCTION)] if old is not None and moved.pop(old, None) is not None else []
    for version, stage in [*back, (change.to, before.stages.get(change.to, ARCHIVED))]:
        lease.renew()
        lease.ws.registry.transition(lease.model, version, stage)
        lease.ws.checkpoint(f"{version} back")
        known[version] = stage
    return known | moved


def _moved(change: Change, before: Look, stages: Mapping[int, str], *, begun: bool) -> str:
    """Whether somebody else moved the newcomer since, whose word then holds; empty when nobody did."""
    stage = stages.get(change.to)
    if stage is None:
        return f"version {change.to} is gone"
    if stage == PRODUCTION or (stage == before.stages.get(change.to) and not begun):
        return ""
    return f"version {change.to} was moved to {stage} meanwhile"


def _named(meant: Look, last: Look, stand: Stand) -> Mapping[str, int | None] | None:
    """The aliases as an entry that is undone left them: one that says what it meant was written by it, if it came as
    far as that. The pointer is set before.
    """
    known, wanted = last.aliases, meant.aliases or {}
    if known is None or stand.pointer is None or stand.pointer.version != meant.settled:
        return known
    return {alias: v if v == wanted.get(alias) else known.get(alias) for alias, v in stand.aliases.items()}
