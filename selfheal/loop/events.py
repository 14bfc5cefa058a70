"""A model's history: who did what, when, from which version to which, why, and on what evidence.

It is the journal, told: nothing is kept for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from selfheal.errors import SelfhealError
from selfheal.loop.alerts import GIVEN_UP
from selfheal.loop.context import HISTORY
from selfheal.loop.questions import FACT
from selfheal.loop.records import HEAL_FAILED, LABELS_ASKED
from selfheal.loop.trial import AUDIT
from selfheal.registry.versions import VersionInfo
from selfheal.steering.actors import FLOW
from selfheal.steering.policies import POLICY
from selfheal.steering.trusts import TRUST
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry

CHANGES = {
    "adopted": "first look",
    "promote": "promoted",
    "recall": "recalled",
    "manual": "moved by hand",
    "rollback": "rolled back",
    "restore": "restored",
    "archive": "archived",
    "seen": "stages changed",
}
NOTES = {
    POLICY: "policy in force",
    "held": "waits",
    "approval": "approved",
    "freeze": "froze",
    "unfreeze": "unfroze",
    "clear": "cleared a window",
    "try": "window failed",
    "log": "log",
    "log labels": "log of labels",
    "judged": "judged a heal",
    HEAL_FAILED: HEAL_FAILED,
}
STEPS = {FACT: "", AUDIT: "audit ", TRUST: "trust ", LABELS_ASKED: "labels "}
"""Kinds whose entries are steps: the words before a step's name."""

OBSERVED = frozenset({"alert", "try", "log", "log labels", "judged"})
"""Kinds of entries that are nobody's act."""

Evidence = Mapping[int, tuple[int | None, str]]
"""Version → index of the window that it was made of, and the MLflow run of its heal."""


@dataclass(frozen=True)
class Event:
    """Something that happened.

    Attributes
    ----------
    at
        When it was begun, UTC.
    who, what
        The actor, and what was done, in a word or three.
    from_, to
        For a change of what serves: the version before and after; both the same where it went on serving.
    version, window, run
        What it is about: a version, the window and the MLflow run of its heal.
    why
        In words; the digest of a policy.
    outcome
        ``done``; ``open``: it was not finished yet; or why it was undone: what lost in a race.
    act
        Whether somebody did it; else it was observed.
    entry, link, hash
        Of the journal: number, place in the chain, and hash.
    """

    at: datetime
    who: str
    what: str
    from_: int | None
    to: int | None
    version: int | None
    window: int | None
    run: str
    why: str
    outcome: str
    act: bool
    entry: int
    link: int | None
    hash: str

    def record(self) -> dict[str, Any]:
        """As a flat record, by plain names."""
        return {name.rstrip("_"): value for name, value in asdict(self).items()}


def history(ws: Workspace, name: str, *, last: int | None = None, mlflow: bool = False) -> list[Event]:
    """What was journaled of a model, newest first.

    Parameters
    ----------
    last
        Of the newest entries; by default all.
    mlflow
        Whether MLflow is asked for the windows and runs of versions that are older than the last 512 windows.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database is away. Without MLflow the older evidence is left out.
    """
    ws.table.schema(name)
    evidence = {**(_registered(ws, name) if mlflow else {}), **_healed(ws.table.cycles(name, last=HISTORY))}
    links = {each.id: (each.link, each.hash) for each in ws.table.chain.links(name, last=last)}
    return [_event(e, evidence, *links.get(e.id, (None, ""))) for e in reversed(ws.table.journal(name, last=last))]


def _healed(cycles: Sequence[Mapping[str, Any]]) -> dict[int, tuple[int | None, str]]:
    heals = [heal for c in cycles if (heal := c.get("heal")) and heal["version"] is not None]
    return {heal["version"]: (heal["window"], heal["run_id"]) for heal in heals if heal["decision"] != "recall"}


def _registered(ws: Workspace, name: str) -> dict[int, tuple[int | None, str]]:
    try:
        versions: Sequence[VersionInfo] = ws.registry.versions(name)
    except SelfhealError:
        return {}
    windows = {info.version: info.tags.get("window", "") for info in versions}
    return {
        info.version: (int(windows[info.version]) if windows[info.version].isdigit() else None, info.run_id or "")
        for info in versions
    }


def _event(entry: JournalEntry, evidence: Evidence, link: int | None, hashed: str) -> Event:
    change, intent = entry.intent.get("change"), entry.intent
    parts = _change(entry) if change else _note(entry)
    version = parts.pop("version")
    window, run = evidence.get(version, (None, "")) if version is not None else (None, "")
    outcome = "open" if entry.outcome is None else "done"
    if entry.outcome is not None and entry.outcome.get("result") == "undone":
        outcome = f"undone: {entry.outcome.get('reason', '')}"
    act = entry.kind not in OBSERVED or _given_up(entry)
    return Event(
        at=entry.at, version=version, window=intent.get("window", window), run=intent.get("run_id", run) or "",
        outcome=outcome, act=act, entry=entry.id, link=link, hash=hashed, **parts,
    )  # fmt: skip


def _change(entry: JournalEntry) -> dict[str, Any]:
    change, before = entry.intent["change"], entry.intent["before"]["settled"]
    archived = next(iter(change["archive"]), None)
    stays = change["kind"] == "manual" and before == change["to"]
    version = archived if change["kind"] == "archive" else (stays and change.get("chosen")) or change["to"]
    what = CHANGES.get(change["kind"], change["kind"])
    pinned = ", pinned" if change["pin"] else ""
    return {
        "who": change["actor"], "what": f"{what}{pinned}", "from_": before, "to": change["to"], "version": version,
        "why": change["reason"],
    }  # fmt: skip


def _note(entry: JournalEntry) -> dict[str, Any]:
    intent = entry.intent
    what = NOTES.get(entry.kind, entry.kind)
    if entry.kind in STEPS:
        what = f"{STEPS[entry.kind]}{intent['step']}"
    words = intent.get("digest", "")[:12] if entry.kind == POLICY else "; ".join(intent.get("reasons", []))
    subject, who = intent.get("what", ""), intent.get("actor", "")
    if _given_up(entry):
        what, subject, who = "gave up a window", "", FLOW
    return {
        "who": who, "what": what, "from_": None, "to": None, "version": intent.get("version"),
        "why": ": ".join(filter(None, (subject, words))),
    }  # fmt: skip


def _given_up(entry: JournalEntry) -> bool:
    """Whether an alert says what the loop did: it went on without a window."""
    return bool(entry.intent.get("what") == GIVEN_UP)


def shown(events: Sequence[Event], now: datetime, last: int, text: Callable[[str], str]) -> list[tuple[str, ...]]:
    """The newest acts as rows of words: when, who, what, which version, why.

    Parameters
    ----------
    text
        Makes words fit to be shown.
    """
    rows = []
    for event in [e for e in events if e.act][:last]:
        moved = event.from_ is not None and event.from_ != event.to
        about = f"{event.from_} → {event.to}" if moved else "" if event.version is None else str(event.version)
        why = event.why if event.outcome == "done" else f"{event.outcome}; {event.why}"
        seen = "" if event.window is None or f"window {event.window}" in why else f"window {event.window}: "
        rows.append((when(event.at, now), *map(text, (event.who or "-", event.what, about, seen + why))))
    return rows


def when(at: datetime, now: datetime) -> str:
    """A time as people say it, UTC.

    >>> from datetime import UTC
    >>> now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    >>> when(datetime(2026, 3, 2, 9, 5, tzinfo=UTC), now), when(datetime(2026, 3, 1, 9, 5, tzinfo=UTC), now)
    ('today 09:05', 'yesterday 09:05')
    >>> when(datetime(2026, 1, 31, 9, 5, tzinfo=UTC), now), when(datetime(2025, 1, 31, 9, 5, tzinfo=UTC), now)
    ('31 Jan 09:05', '2025-01-31 09:05')
    """
    days = (now.date() - at.date()).days
    named = {0: "today", 1: "yesterday"}.get(days)
    if named is None:
        named = f"{at:%d %b}" if 0 < days < 300 else f"{at:%Y-%m-%d}"
    return f"{named} {at:%H:%M}"
