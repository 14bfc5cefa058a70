"""One change of stages: intent → acts → done in the journal, so that a crash at any point can be finished.

Acts are ordered *new in before old out*: two versions in Production for an instant, never none. MLflow's own
"archive the others" is not used: it is not atomic, and it would hide what a person did meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from selfheal.errors import ArtifactError
from selfheal.lifecycle.leases import Lease
from selfheal.lifecycle.look import ARCHIVED, PRODUCTION, Look
from selfheal.lifecycle.workspace import Workspace
from selfheal.registry.versions import VersionInfo
from selfheal.table import JournalEntry, Pointer

QUARANTINE_TAG = "quarantine"


@dataclass(frozen=True)
class Change:
    """What is to be done, whole: whoever finds it in the journal can finish it.

    Attributes
    ----------
    kind
        ``adopted``, ``promote``, ``recall``, ``manual``, ``rollback``, ``restore``, ``archive`` or ``seen``.
    to
        The version that is in Production afterwards, alone.
    actor, reason
        Who, and on what evidence.
    pin
        Whether even the watch may not replace it.
    archive
        Further versions to archive.
    vetoed, quarantined
        What flows may not promote, afterwards.
    alarm
        Whether somebody should look at it.
    """

    kind: str
    to: int
    actor: str
    reason: str
    pin: bool = False
    archive: tuple[int, ...] = ()
    vetoed: frozenset[int] = field(default_factory=frozenset)
    quarantined: frozenset[int] = field(default_factory=frozenset)
    alarm: bool = False

    def to_json(self) -> dict[str, Any]:
        """As a JSON record."""
        sets = {"vetoed": sorted(self.vetoed), "quarantined": sorted(self.quarantined)}
        return vars(self) | sets | {"archive": list(self.archive)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Change:
        """The inverse of :meth:`to_json`."""
        sets = {name: frozenset(record[name]) for name in ("vetoed", "quarantined")}
        return cls(**{**record, **sets, "archive": tuple(record["archive"])})


def carry_out(ws: Workspace, name: str, lease: Lease, change: Change, before: Look) -> Look:
    """Journal the intent of a change, do it, journal that it is done.

    Parameters
    ----------
    before
        The last look with the stages that the change was made from.

    Returns
    -------
    Look
        What the journal settled.
    """
    intent = {"change": change.to_json(), "before": before.to_json()}
    number = ws.table.journal_begin(name, change.kind, intent, ws.clock())
    ws.checkpoint("intent")
    return finish(ws, name, lease, JournalEntry(number, name, change.kind, ws.clock(), intent, [], None))


def finish(ws: Workspace, name: str, lease: Lease, entry: JournalEntry) -> Look:
    """Do what an open entry intends and has not done yet, and close it."""
    change, before = Change.from_json(entry.intent["change"]), Look.from_json(entry.intent["before"])
    stages = _move(ws, name, lease, entry, change, before)
    look = before.settle(change.to, entry.id, change.actor, pinned=change.pin)
    look = replace(look, stages=stages, vetoed=change.vetoed, quarantined=change.quarantined)
    point(ws, name, look)
    ws.checkpoint("pointer")
    _label(ws, name, change, before, look)
    ws.checkpoint("labels")
    ws.table.journal_done(entry.id, {"result": "done", "alarm": change.alarm, "look": look.to_json()})
    ws.checkpoint("done")
    return look


def _move(ws: Workspace, name: str, lease: Lease, entry: JournalEntry, change: Change, before: Look) -> dict[int, str]:
    """Move the stages; the result holds our own moves only, so that the next look finds anybody else's."""
    stages = dict(before.stages)
    leaving = [v for v, stage in sorted(stages.items()) if stage == PRODUCTION and v != change.to]
    moves = [(change.to, PRODUCTION), *((v, ARCHIVED) for v in dict.fromkeys([*leaving, *change.archive]))]
    for version, stage in moves:
        act = {"version": version, "stage": stage}
        if stages.get(version) != stage and act not in entry.acts:
            lease.renew()
            ws.registry.transition(name, version, stage)
            ws.checkpoint(f"{version} moved")
            ws.table.journal_act(entry.id, act)
            ws.checkpoint(f"{version} {stage}")
        stages[version] = stage
    return stages


def _label(ws: Workspace, name: str, change: Change, before: Look, look: Look) -> None:
    """Aliases follow stages; a tag says what is in quarantine."""
    ws.registry.sync_aliases(name, champion=change.to)
    for version in sorted((look.quarantined - before.quarantined) & set(look.stages)):
        ws.registry.set_tag(name, version, QUARANTINE_TAG, change.reason[:500])
    for version in sorted((before.quarantined - look.quarantined) & set(look.stages)):
        ws.registry.set_tag(name, version, QUARANTINE_TAG, "lifted")


def point(ws: Workspace, name: str, look: Look) -> None:
    """Let the pointer name the settled version; replicas follow it."""
    if look.settled is None:
        return
    info = ws.registry.version(name, look.settled)
    if points_at(ws.table.pointer(name), look, info):
        return
    adapter = ws.registry.adapter(name, look.settled)
    if adapter.base_version is None:
        raise ArtifactError(f"version {look.settled} of {name!r} names no version of its base; promote another one")
    ws.table.set_pointer(
        name,
        Pointer(
            model=name,
            version=look.settled,
            base_version=adapter.base_version,
            base_digest=adapter.base_digest,
            adapter=adapter.to_bytes(),
            adapter_digest=adapter.digest,
            settled_at=ws.clock(),
            pinned=look.pinned,
            base_manifest=ws.registry.manifest(name, look.settled),
        ),
    )


def points_at(pointer: Pointer | None, look: Look, info: VersionInfo | None) -> bool:
    """Whether the pointer names what the look settled, and MLflow means the same adapter and base by that number."""
    return (
        pointer is not None
        and info is not None
        and pointer.version == look.settled == info.version
        and pointer.pinned == look.pinned
        and pointer.adapter_digest == info.tags.get("adapter_digest")
        and pointer.base_manifest == info.tags.get("manifest", pointer.base_manifest)
    )
