"""From what happened to rows of the outbox, each written once whoever comes first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from selfheal.alerts.conditions import PAUSES, RAN, Condition, standing
from selfheal.alerts.digest import digest, due
from selfheal.alerts.journaled import told_by
from selfheal.alerts.message import Message
from selfheal.steering.policies import policy_of_record
from selfheal.steering.workspace import Workspace

TOLD = "told"
"""Name of the mark that says what was told."""

LOOKED_BACK = 24
"""Windows that are read: more in a row are not needed to say since when."""

ENTRIES = 500
"""Entries of the journal that are told at once; older ones are history."""


@dataclass(frozen=True)
class Progress:
    """What the alerts so far were made from.

    Attributes
    ----------
    link
        The journal's last entry.
    window
        Index of the last window; -1 for none.
    waits
        The last version that was said to wait.
    standing
        Kind of each condition that stands → since when, ISO.
    day
        The day of the last digest, ISO.
    """

    link: int = 0
    window: int = -1
    waits: int | None = None
    standing: Mapping[str, str] = field(default_factory=dict)
    day: str = ""

    @classmethod
    def read(cls, text: str | None) -> Progress:
        """From the mark's value."""
        return cls(**json.loads(text)) if text else cls()

    def __str__(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


Marks = tuple[datetime, Mapping[str, tuple[str, datetime]]]
"""The database's clock, and a model's marks, see :meth:`~selfheal.table.outbox.Outbox.marks`."""


def gather(ws: Workspace, name: str, known: Marks | None = None) -> list[Message]:
    """Write what happened since the last time to the outbox; nothing where another process just has.

    Parameters
    ----------
    known
        The marks, if they were read just now. Should another process have told something since, nothing is written.

    Raises
    ------
    UnavailableError
        The database can't be reached; a later call gathers the same.
    """
    now, marks = known or ws.table.outbox.marks(name)
    seen = marks[TOLD][0] if TOLD in marks else None
    before = Progress.read(seen)
    links = ws.table.chain.links(name, after=before.link, last=ENTRIES)
    cycles, spans = ws.table.glance.windows(name, LOOKED_BACK, PAUSES)
    messages = told_by(name, links, lambda: policy_of_record(ws, name).policy.release.approvers)
    after = replace(before, link=links[-1].link if links else before.link, waits=_waits(messages, before.waits))
    messages, after = _windows(name, cycles, messages, after)
    messages, after = _conditions(standing(ws, name, cycles, spans, marks.get(RAN), now), messages, after, now)
    day = due(ws.settings.alerts_digest, before.day, now)
    if day:
        messages = [*messages, digest(ws, name, now)]
        after = replace(after, day=day)
    if after == before:
        return []
    if not ws.table.outbox.add(name, [m.to_json() for m in messages], TOLD, str(after), seen):
        return []
    ws.checkpoint("alerts written")
    return messages


def _waits(messages: Sequence[Message], before: int | None) -> int | None:
    return next((m.version for m in reversed(messages) if m.kind in ("waits", "question")), before)


def _windows(
    name: str, cycles: Sequence[Mapping[str, Any]], messages: list[Message], progress: Progress
) -> tuple[list[Message], Progress]:
    """What new windows have to tell: versions that wait; and the run behind a promotion."""
    for cycle in cycles:
        heal = cycle.get("heal") or {}
        version = heal.get("version")
        if version is None:
            continue
        messages = [replace(m, run=heal["run_id"]) if m.version == version else m for m in messages]
        if cycle["index"] > progress.window and not heal["promoted"] and version != progress.waits:
            messages.append(_waiting(name, cycle, heal))
            progress = replace(progress, waits=version)
    newest = cycles[-1]["index"] if cycles else progress.window
    return messages, replace(progress, window=max(newest, progress.window))


def _waiting(name: str, cycle: Mapping[str, Any], heal: Mapping[str, Any]) -> Message:
    answered = f"selfheal audit {name}" if heal["decision"] == "audit" else f"selfheal approve {name} {heal['version']}"
    what = f"window {cycle['index']} was healed, {heal['diagnosis']}; {heal['note']}"
    done = "; ".join(heal["words"])
    return Message(
        "waits", what, cycle["at"], done, f"{answered} --as NAME", run=heal["run_id"], version=heal["version"]
    )


def _conditions(
    now: Mapping[str, Condition], messages: list[Message], progress: Progress, at: datetime
) -> tuple[list[Message], Progress]:
    """A message for each condition that began, and for each that is over."""
    began = [now[kind].begins(kind) for kind in sorted(now.keys() - progress.standing.keys())]
    gone = sorted(progress.standing.keys() - now.keys())
    ended = [Message(k, OVER[k], progress.standing[k], "", "", "info", over=True) for k in gone if k in OVER]
    kept = {kind: progress.standing.get(kind, now[kind].since.isoformat()) for kind in sorted(now)}
    return [*messages, *began, *ended], replace(progress, standing=kept)


OVER = {
    "data_fault": "the data fault is gone",
    "alarm": "the drift is undone, or gone",
    "retrain": "it is worth more than a constant, or the drift is gone",
    "degraded": "the columns are back at the healthy windows",
    "worse": "what serves is not found worse any more",
    "policy": "the policy is valid again",
    "production": "Production can be served again",
    "reconciler": "the stages are looked at again",
    "monitor": "a monitor run has finished again",
    "log": "the log grows again",
    "log_labels": "the labels are read again",
}
"""What is said when a condition is over."""
