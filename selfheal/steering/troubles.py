"""What a person must be told of a model whatever its windows say: found by whoever looks at its stages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from selfheal.steering.policies import policy_fault
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry

JOURNALED = 20
"""Entries of the journal in which the last change is sought."""

ALARM_FOR = timedelta(days=1)
"""How long a change that ended well is told as an alarm: until somebody was surely at work. The journal keeps it."""


def troubles(ws: Workspace, name: str) -> dict[str, str]:
    """Kind → words: ``policy``, the file of record is invalid; ``restored``, Production had to be refilled;
    ``approvals``, a version was put there that fewer people approved than the policy asks for.
    """
    journal = ws.table.journal(name, last=JOURNALED)
    last = _last_change(journal)
    kind = "restored" if last is None or last.kind == "restore" else "approvals"
    faults = {"policy": policy_fault(ws, name), kind: alarm(journal, ws.clock())}
    return {kind: words for kind, words in faults.items() if words}


def alarm(journal: Sequence[JournalEntry], now: datetime) -> str:
    """Why the last change of the stages was an alarm; empty where it was none, or is long ago."""
    last = _last_change(journal)
    if last is None or not last.intent["change"]["alarm"] or now - last.at > ALARM_FOR:
        return ""
    return str(last.intent["change"]["reason"])


def _last_change(journal: Sequence[JournalEntry]) -> JournalEntry | None:
    return next((e for e in reversed(journal) if "change" in e.intent), None)
