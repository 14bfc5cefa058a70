"""After a crash: finish what the journal left open, or undo it where it can't be finished."""

from __future__ import annotations

from selfheal.lifecycle.change import Change, finish
from selfheal.lifecycle.leases import Lease
from selfheal.lifecycle.look import PRODUCTION, Look, stages_of
from selfheal.lifecycle.models import cannot_load
from selfheal.lifecycle.workspace import Workspace
from selfheal.table import JournalEntry


def finish_open(ws: Workspace, name: str, lease: Lease) -> int:
    """Close every open entry of a model; the caller holds its lease, so whoever began them is gone.

    Returns
    -------
    int
        How many there were.
    """
    entries = ws.table.journal_open(name)
    for entry in entries:
        why_not = _why_not(ws, name, entry)
        if why_not:
            # No look: what was half done is compared with the look before it, and settled as anybody's change is.
            ws.table.journal_done(entry.id, {"result": "undone", "reason": why_not})
        else:
            finish(ws, name, lease, entry)
    return len(entries)


def _why_not(ws: Workspace, name: str, entry: JournalEntry) -> str:
    """Why an entry can't be finished any more; empty when it can."""
    if "change" not in entry.intent:
        return "it was only to be noted"
    change, before = Change.from_json(entry.intent["change"]), Look.from_json(entry.intent["before"])
    stage = stages_of(ws, name).get(change.to)
    if stage is None:
        return f"version {change.to} is gone"
    begun = {"version": change.to, "stage": PRODUCTION} in entry.acts
    if not begun and stage not in (before.stages.get(change.to), PRODUCTION):
        return f"version {change.to} was moved to {stage} meanwhile"
    return cannot_load(ws, name, change.to)
