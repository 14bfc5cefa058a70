"""One change of stages: intent → acts → done in the journal, so that a crash at any point can be finished.

Acts are ordered *new in before old out*: two versions in Production for an instant, never none. MLflow's own
"archive the others" is not used: it is not atomic, and it would hide what a person did meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from selfheal.errors import BusyError, NotFoundError
from selfheal.registry.pointing import pointer_of
from selfheal.registry.versions import PIN
from selfheal.steering.actors import is_loop
from selfheal.steering.leases import StagesLease
from selfheal.steering.look import ARCHIVED, PRODUCTION, STAGING, Look
from selfheal.steering.models import verified
from selfheal.steering.stand import Stand, means, of_other_bases
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry, Pointer

QUARANTINE_TAG = "quarantine"
HISTORY_TAG = "history"
TOLD, HISTORY = 300, 4_000
"""Characters of a move in a version's history there, and of all of it; the journal has the rest."""

_log = logging.getLogger("selfheal.steering")


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
    turned
        For a roll-back: whether the world turned back, which says nothing against the version that goes.
    awaited
        A version that somebody moved to Production and that can't be read now; it is promoted once it can.
    staged
        Versions to move to Staging.
    chosen
        The version that a person made challenger, if this is about one.
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
    turned: bool = False
    awaited: int | None = None
    staged: tuple[int, ...] = ()
    chosen: int | None = None

    @property
    def is_of_loop(self) -> bool:
        """Whether the loop changes what serves: what it may not begin during a freeze."""
        return is_loop(self.actor) and self.kind in ("promote", "recall", "rollback")

    def moves(self, before: Look) -> list[tuple[int, str]]:
        """Version and stage, in the order in which they are moved: new in before old out."""
        out = dict.fromkeys([*sorted(before.production - {self.to, *self.staged}), *self.archive])
        return [(self.to, PRODUCTION), *((v, STAGING) for v in self.staged), *((v, ARCHIVED) for v in out)]

    def settled(self, before: Look, stages: Mapping[int, str], entry: int, names: tuple[str, str]) -> Look:
        """The look after it, with the stages as they are then and the aliases by these names."""
        look = before.settle(self.to, entry, self.actor, pinned=self.pin)
        past = before.past | ({before.settled} if self.turned and before.settled is not None else set())
        look = replace(
            look,
            stages=stages,
            vetoed=self.vetoed,
            quarantined=self.quarantined,
            past=past - {self.to} - self.quarantined,
            awaited=self.awaited,
            chosen=before.chosen if self.chosen is None else (self.chosen, max(stages)),
        )
        return replace(look, aliases=dict(zip(names, (self.to, look.challenger), strict=True)))

    def to_json(self) -> dict[str, Any]:
        """As a JSON record."""
        sets = {"vetoed": sorted(self.vetoed), "quarantined": sorted(self.quarantined)}
        return vars(self) | sets | {"archive": list(self.archive), "staged": list(self.staged)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Change:
        """The inverse of :meth:`to_json`."""
        sets = {name: frozenset(record[name]) for name in ("vetoed", "quarantined")}
        lists = {name: tuple(record.get(name, ())) for name in ("archive", "staged")}
        return cls(**{**record, **sets, **lists})


def carry_out(lease: StagesLease, change: Change, stand: Stand, before: Look) -> Look:
    """Journal the intent of a change, do it, journal that it is done.

    Parameters
    ----------
    stand
        What is there now.
    before
        The look, with the stages that the change was made from: what moves meanwhile is for the next look to find.

    Returns
    -------
    Look
        What the journal settled.

    Raises
    ------
    ArtifactError, NotFoundError, UnavailableError
        The version can't be loaded; nothing was changed.
    HeldError
        The change is the loop's and the model is frozen; nothing was changed.
    BusyError
        Somebody else moved it meanwhile, or took the lease; the next look settles what is there.
    """
    ws = lease.ws
    pointer = pointer_to(ws, stand, change.to, pinned=change.pin)
    change = _with_base(change, stand.pointer, pointer)
    intent = {"change": change.to_json(), "before": before.to_json()}
    begin = ws.table.freezes.begin if change.is_of_loop else ws.table.journal_begin
    if change.alarm:
        _log.error("%s: %s", lease.model, change.reason)
    number = begin(lease.model, change.kind, intent, ws.clock(), under=lease.claim)
    ws.checkpoint("intent")
    entry = JournalEntry(number, lease.model, change.kind, ws.clock(), intent, [], None)
    return finish(lease, entry, change, before, pointer, stand)


def finish(
    lease: StagesLease, entry: JournalEntry, change: Change, before: Look, pointer: Pointer, stand: Stand
) -> Look:
    """Do what an open entry intends and has not done yet, and close it.

    Parameters
    ----------
    change, before
        What it intends, and the look that this was made from, as the entry has them.
    stand
        What is there now. Only the holder of the lease writes what replicas follow, so that was read once.
    """
    ws = lease.ws
    stages = _move(lease, entry, change, before, stand.stages)
    look = change.settled(before, stages, entry.id, stand.names)
    look = replace(look, others=of_other_bases(stand.versions, look.settled))
    if pointer != stand.pointer:
        ws.table.set_pointer(lease.model, pointer, under=lease.claim)
    ws.checkpoint("pointer")
    _name(lease, before, look)
    _label(lease, change, before, look)
    _tell(lease, entry, change, stand, before, look)
    _pin(lease, stand, before, look)
    ws.checkpoint("labels")
    outcome = {"result": "done", "alarm": change.alarm, "look": look.to_json()}
    ws.table.journal_done(entry.id, outcome, under=lease.claim)
    ws.checkpoint("done")
    return look


def _move(
    lease: StagesLease, entry: JournalEntry, change: Change, before: Look, now: Mapping[int, str]
) -> dict[int, str]:
    """Move the stages; the result holds our own moves only, so that the next look finds anybody else's."""
    ws, stages = lease.ws, dict(before.stages)
    for version, stage in change.moves(before):
        act = {"version": version, "stage": stage}
        # One that somebody moved after whoever began this had died: the later word holds. It is a move from where this
        # wanted it, or the look would take one that was put back into Production for never having left.
        overtaken = version != change.to and now.get(version, stage) not in (stage, stages.get(version))
        if stages.get(version) != stage and act not in entry.acts and not overtaken:
            try:
                _transition(lease, version, stage, change.to, before)
            except NotFoundError:
                if version == change.to:
                    raise
                stages.pop(version)  # deleted meanwhile: as good as archived
                continue
            ws.checkpoint(f"{version} moved")
            ws.table.journal_act(entry.id, act, under=lease.claim)
            ws.checkpoint(f"{version} {stage}")
        stages[version] = stage
    return stages


def _transition(lease: StagesLease, version: int, stage: str, to: int, before: Look) -> None:
    """Move one version; an old one goes out only while the new one is in, and a new one comes from where it was."""
    registry, name = lease.ws.registry, lease.model
    try:
        now = registry.version(name, to).stage
    except NotFoundError:
        now = "nowhere"
    if now != PRODUCTION and (version != to or now != before.stages.get(to)):
        stays = f"; version {version} stays" if version != to else ""
        raise BusyError(f"version {to} of {name!r} was moved to {now} meanwhile{stays}")
    lease.renew()  # just before the move: MLflow does not ask who may
    registry.transition(name, version, stage)


def _name(lease: StagesLease, before: Look, look: Look) -> None:
    """The aliases as the look has them, but for one that somebody moved meanwhile: the next look finds that."""
    registry, now = lease.ws.registry, lease.ws.registry.aliases(lease.model)
    for alias, version in (look.aliases or {}).items():
        place, known = now.get(alias), before.aliases or {}
        if place == version or (alias in known and place != known[alias]):
            continue
        lease.renew()
        try:
            registry.store.set_alias(lease.model, alias, version)
        except NotFoundError:
            if version == look.settled:
                raise
            continue  # deleted meanwhile
        lease.ws.checkpoint(f"{alias} named")


def _pin(lease: StagesLease, stand: Stand, before: Look, look: Look) -> None:
    """The tag ``selfheal.pin`` is on what serves where that is pinned, and not on what served before."""
    for version, pinned in {before.settled: False, look.settled: look.pinned}.items():
        info = None if version is None else stand.versions.get(version)
        if info is None or info.pins == pinned:
            continue
        with suppress(NotFoundError):  # deleted meanwhile
            if pinned:
                lease.ws.registry.set_tag(lease.model, info.version, PIN, True)
            else:
                lease.ws.registry.store.drop_tag(lease.model, info.version, PIN)


def _label(lease: StagesLease, change: Change, before: Look, look: Look) -> None:
    """A tag says what is in quarantine."""
    registry = lease.ws.registry
    fresh = dict.fromkeys(look.quarantined - before.quarantined, change.reason[:500])
    lifted = dict.fromkeys(before.quarantined - look.quarantined, "lifted")
    for version, text in sorted((fresh | lifted).items()):
        if version in look.stages:
            with suppress(NotFoundError):  # deleted meanwhile
                registry.set_tag(lease.model, version, QUARANTINE_TAG, text)


def _tell(lease: StagesLease, entry: JournalEntry, change: Change, stand: Stand, before: Look, look: Look) -> None:
    """A tag of each version that was moved tells of it on its page in MLflow, the newest move first."""
    moved = {
        v
        for v, stage in change.moves(before)
        if before.stages.get(v) != look.stages.get(v) and stand.stages.get(v) in (before.stages.get(v), stage)
    }  # by this, and by nobody else meanwhile
    moved |= {change.to} - {before.settled}  # that somebody moved in MLflow
    for version in sorted(moved & look.stages.keys() & stand.versions.keys()):
        text = f"{entry.at:%Y-%m-%d %H:%M} UTC {look.stages[version]}, {change.kind} by {change.actor}: {change.reason}"
        line, known = " ".join(text.split())[:TOLD], stand.versions[version].tags.get(HISTORY_TAG, "")
        if line not in known:  # a crash may have come after it was written
            with suppress(NotFoundError):  # deleted meanwhile
                lease.ws.registry.set_tag(lease.model, version, HISTORY_TAG, f"{line}\n{known}"[:HISTORY].strip())


def _with_base(change: Change, before: Pointer | None, after: Pointer) -> Change:
    """The change, with what it means for the base: that its windows and facts begin anew should surprise nobody."""
    if before is None or not before.base_manifest or before.base_manifest == after.base_manifest:
        return change
    said = f"from base {before.base_version} to base {after.base_version}: its windows and facts are its own"
    return replace(change, reason="; ".join(filter(None, (change.reason, said))))


def pointer_to(ws: Workspace, stand: Stand, version: int, *, pinned: bool) -> Pointer:
    """The pointer that names a version. Whatever has to be read for it is read here, before anything is moved.

    Raises
    ------
    ArtifactError, NotFoundError, UnavailableError
        The version can't be served.
    """
    info, served = stand.version(version), stand.pointer
    if served is not None and means(served, info):
        return replace(served, pinned=pinned)
    adapter = verified(ws, stand.name, info, served)
    # A base that serves already was compared with its registered version when it came.
    same = served is not None and served.base_manifest and served.base_manifest == info.tags.get("manifest")
    manifest = served.base_manifest if served is not None and same else ws.registry.manifest(stand.name, info)
    return pointer_of(stand.name, info, adapter, manifest, at=ws.clock(), pinned=pinned)
