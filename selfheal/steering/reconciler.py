"""Settle stages and aliases: the newcomer wins, one version is in Production and champion, replicas are pointed at it.

A person steers with stages or aliases, in MLflow's page, by REST or by command. MLflow resolves two versions in
Production to the higher number and says nothing; here the one that was not there at the last journaled look wins, and
one that an alias was moved to wins over it: moves of aliases have no time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from selfheal.errors import ArtifactError, BusyError, FormatError, NotFoundError, SelfhealError
from selfheal.registry.versions import STAGE, VersionInfo
from selfheal.steering.actors import PERSON, RECONCILER
from selfheal.steering.approvals import lacking
from selfheal.steering.change import Change, carry_out, pointer_to
from selfheal.steering.leases import STAGES_TTL, StagesLease, hold_stages
from selfheal.steering.look import ARCHIVED, NONE, PRODUCTION, STAGING, Look
from selfheal.steering.models import cannot_load
from selfheal.steering.moves import Moves, moves_since
from selfheal.steering.recovery import finish_open
from selfheal.steering.stand import Stand, stand_of
from selfheal.steering.workspace import Workspace


@dataclass(frozen=True)
class Settled:
    """What a look at the stages found and did.

    Attributes
    ----------
    stand
        Where the stages stand now.
    kind
        The kind of journal entry that was written, or empty when nothing had changed.
    reason
        In words.
    alarm
        Whether Production was empty or could not be loaded.
    """

    stand: Stand
    kind: str = ""
    reason: str = ""
    alarm: bool = False

    @property
    def version(self) -> int | None:
        """The version that serves."""
        return None if self.stand.look is None else self.stand.look.settled


def reconcile(ws: Workspace, name: str) -> Settled:
    """Compare MLflow's stages with the last journaled look and settle what changed.

    Cheap when nothing did (:func:`stand_of`), and safe to call from any process at any time: where another one is
    changing the stages just now, nothing is done.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        MLflow or the database can't be reached; what was begun is finished by a later call.
    """
    stand = stand_of(ws, name)
    if stand.is_settled:
        return Settled(stand)
    try:
        with hold_stages(ws, name) as lease:
            return settle(lease)
    except BusyError:
        return Settled(stand, reason="another process is changing the stages")


def recover(ws: Workspace, name: str) -> Settled:
    """What a start does first: wait for the lease of a process that died, finish or undo its work, settle.

    Raises
    ------
    BusyError
        If the lease is still held after its time to live: then its holder is alive.
    """
    with hold_stages(ws, name, wait=STAGES_TTL.total_seconds() + 1) as lease:
        return settle(lease)


def settle(lease: StagesLease, entering: int | None = None) -> Settled:
    """Like :func:`reconcile`, for whoever holds the lease of the stages already.

    Parameters
    ----------
    entering
        A version that is about to be promoted: that it was registered in Staging is no entry of its own, where nothing
        else has changed.
    """
    ws, name = lease.ws, lease.model
    stand = stand_of(ws, name)
    while stand.open:
        stand = finish_open(lease, stand)
    if stand.unsaid or stand.half_registered:
        for version in stand.unsaid:
            ws.registry.set_tag(name, version, STAGE, stand.stages[version])
        for version in stand.half_registered:
            with suppress(NotFoundError):  # deleted meanwhile
                lease.renew()
                ws.registry.transition(name, version, STAGING)
        stand = stand_of(ws, name)
    change = foreseen(ws, stand)
    if change is None:
        return Settled(_pointed(lease, stand))
    if stand.look is not None and stand.has_only_gained(entering, stand.look):
        return Settled(replace(stand, look=replace(stand.look, stages=stand.stages)))
    carry_out(lease, change, stand, replace(stand.look or Look(), stages=stand.stages, aliases=stand.aliases))
    return Settled(stand_of(ws, name), change.kind, change.reason, change.alarm)


def foreseen(ws: Workspace, stand: Stand) -> Change | None:
    """What is to be done about stages that differ from the last look; None where nothing is. Nothing is done."""

    def fault_of(info: VersionInfo) -> SelfhealError | None:
        return cannot_load(ws, stand.name, info, stand.pointer)

    change = _first(stand) if stand.look is None else _difference(stand, stand.look, fault_of)
    return None if change is None else _counted(ws, stand, change)


def _counted(ws: Workspace, stand: Stand, change: Change) -> Change:
    """A person's move, and an alarm where fewer people approved it than the policy asks for: it is obeyed."""
    look = stand.look or Look()
    moved = change.kind == "manual" and change.to != look.settled
    lack = lacking(ws, stand.name, stand.version(change.to), look) if moved else ""
    return replace(change, reason=f"{change.reason}; {lack}", alarm=True) if lack else change


def _pointed(lease: StagesLease, stand: Stand) -> Stand:
    """What replicas follow, put right where it does not say what was settled."""
    look = stand.look
    if look is None or look.settled is None:
        return stand
    pointer = pointer_to(lease.ws, stand, look.settled, pinned=look.pinned)
    if pointer != stand.pointer:
        lease.ws.table.set_pointer(stand.name, pointer, under=lease.claim)
    return replace(stand, pointer=pointer)


def _first(stand: Stand) -> Change:
    """Nobody has looked before: what the pointer says, if it is in Production; else the newest that is."""
    there = [v for v, stage in stand.stages.items() if stage == PRODUCTION] or list(stand.versions)
    pointed = None if stand.pointer is None else stand.pointer.version
    to: int = pointed if pointed in there else max(there)
    reason = f"version {to} is the first that the journal sees in Production"
    return Change("adopted", to, RECONCILER, reason, stand.version(to).pins)


Fault = Callable[[VersionInfo], SelfhealError | None]
"""Why a version can't be loaded, see :func:`cannot_load`."""

Faults = Mapping[int, SelfhealError | None]
"""The same of each version that somebody wants in Production."""


def _difference(stand: Stand, look: Look, fault_of: Fault) -> Change | None:
    """What to do about stages, aliases and pins that somebody else changed since ``look``; None when nobody did."""
    moves, stages = moves_since(stand, look), stand.stages
    asked = moves.promoted
    awaited = () if look.awaited is None else (look.awaited,)
    waits = [v for v in awaited if not asked and v in stages and stages[v] == look.stages.get(v)]
    faults = {v: fault_of(stand.version(v)) for v in asked or waits}
    if stand.is_as(look) and None not in faults.values() and stages.keys() >= set(awaited):
        return None
    change = _obeyed(stand, look, moves, faults) or _kept(stand, look, moves, faults, fault_of)
    return _with_challenger(change, stand, moves)


def _obeyed(stand: Stand, look: Look, moves: Moves, faults: Faults) -> Change | None:
    """The promotion that people asked for; None where they asked for none that can be served."""
    sound = [v for v, fault in faults.items() if fault is None]
    if not sound:
        return None
    condemned = frozenset(v for v, fault in faults.items() if _condemns(fault))
    to, first = _first_of(sound, stand, moves), _first_of(faults.keys() - condemned, stand, moves)
    awaited = None if first == to else first
    said = "; ".join([_said(to, awaited, sound, moves), *moves.said()])
    if awaited is not None:
        said += f"; version {awaited} can't be {_how(awaited, condemned, awaited)}: {faults[awaited]}"
    vetoed, lifted = _vetoed(look, stand, replaced=bool(moves.promoted)), stand.twins(to)
    return Change(
        "manual", to, PERSON, said, _pinned(stand, look, to), vetoed=vetoed - lifted,
        quarantined=(look.quarantined | condemned) - lifted, awaited=awaited,
    )  # fmt: skip


def _first_of(versions: Collection[int], stand: Stand, moves: Moves) -> int:
    """The version that wins among these: the one that an alias names, else the one that was changed last."""
    named = moves.champion
    return named if named is not None and named in versions else _latest(stand.among(versions))


def _said(to: int, awaited: int | None, sound: Sequence[int], moves: Moves) -> str:
    """What somebody did to get a version into Production, and which others lost."""
    lost = sorted({*moves.staged, *sound} - {to, awaited})
    if to == moves.champion:
        over = f", which wins over the stage of {lost}" if lost else ""
        return f"the alias {moves.names[0]!r} was moved to version {to}{over}"
    if lost:
        return f"version {to} was moved to Production (and {lost}, which were changed earlier or can't be loaded)"
    return f"version {to} was moved to Production" + ("" if moves.promoted else " and can be read by now")


def _kept(stand: Stand, look: Look, moves: Moves, faults: Faults, fault_of: Fault) -> Change:
    """What serves goes on, or comes back: nobody asked for a version that can be served."""
    stages, settled = stand.stages, look.settled
    condemned = frozenset(v for v, fault in faults.items() if _condemns(fault))
    vetoed, quarantined = _vetoed(look, stand, replaced=bool(moves.promoted)), look.quarantined | condemned
    unread = faults.keys() - condemned
    awaited = _first_of(unread, stand, moves) if unread else None
    words = "; ".join(f"version {v} can't be {_how(v, condemned, awaited)}: {faults[v]}" for v in sorted(faults))
    if settled is not None and stages.get(settled) == PRODUCTION:
        pin = _pinned(stand, look, settled)
        if moves.promoted:
            reason = f"{words}; version {settled} goes on serving"
            return Change("restore", settled, RECONCILER, reason, pin, (), vetoed, quarantined, True, awaited=awaited)
        registered = _registered(stand, look)
        moved = _changes(look, {v: stage for v, stage in stages.items() if v not in registered}) + moves.said()
        kind = "manual" if vetoed != look.vetoed or moves.pinned is not None else "seen"
        said = moved + [f"version {v} was registered in {STAGING}" for v in registered]
        reason = "; ".join(said) or "the aliases are written as the stages say"
        actor = PERSON if moved else RECONCILER
        return Change(kind, settled, actor, reason, pin, (), vetoed, quarantined, awaited=awaited)
    # It left because another came: moved by somebody's hand, or by a change that was undone since.
    replaced = bool(moves.promoted) or (settled is not None and look.stages.get(settled) != PRODUCTION)
    to = _comes_back(stand, look, vetoed | quarantined, fault_of, replaced=replaced)
    reason = f"{words or _emptied(settled, stages)}; version {to} comes back to Production"
    pin = to == settled and _pinned(stand, look, to)
    awaited = None if awaited == to else awaited
    return Change("restore", to, RECONCILER, reason, pin, (), vetoed - {to}, quarantined - {to}, True, awaited=awaited)


def _how(version: int, condemned: Collection[int], awaited: int | None) -> str:
    if version in condemned:
        return "loaded"
    return "read now, and is tried again" if version == awaited else "read now"


def _pinned(stand: Stand, look: Look, to: int) -> bool:
    """Whether a version is to stay, by its tag; by the look where an older release left it, which wrote none."""
    return look.pinned if to == look.settled and look.aliases is None else stand.version(to).pins


def _with_challenger(change: Change, stand: Stand, moves: Moves) -> Change:
    """The change, with the version that a person made challenger: it goes to Staging, unless it serves."""
    chosen = moves.challenger
    if chosen is None or chosen == change.to:
        return change
    staged = () if stand.stages[chosen] == STAGING else (chosen,)
    kind = "manual" if change.kind == "seen" else change.kind
    return replace(change, kind=kind, chosen=chosen, staged=staged, vetoed=change.vetoed - {chosen})


def _condemns(fault: Exception | None) -> bool:
    """Whether a version is not what was registered; one that another release wrote can be read after an upgrade."""
    return isinstance(fault, ArtifactError) and not isinstance(fault, FormatError)


def _vetoed(look: Look, stand: Stand, *, replaced: bool) -> frozenset[int]:
    """Versions that a person withdrew; leaving Production because another came in is no veto."""
    stages = stand.stages
    out, back = (ARCHIVED, NONE), {v for v, stage in stages.items() if stage not in (ARCHIVED, NONE)}
    withdrawn = {v for v, stage in look.stages.items() if stage not in out and stages.get(v) in out}
    if replaced:
        withdrawn -= look.production
    # Whatever is registered goes to Staging: somebody was faster than this look.
    withdrawn |= {v for v in stages.keys() - look.stages.keys() if _was_taken_out(stand.version(v))}
    return frozenset((look.vetoed | withdrawn) - back) & frozenset(stages)


def _was_taken_out(info: VersionInfo) -> bool:
    """Whether somebody took a version out of a stage that nobody has seen it in."""
    ours = info.base_version is not None and not info.is_half_registered
    return info.stage == ARCHIVED or (info.stage == NONE and ours)


def _latest(newcomers: Sequence[VersionInfo]) -> int:
    """Of several newcomers since one look, the one that was changed last."""
    return max(newcomers, key=lambda info: (info.updated, info.version)).version


def _comes_back(stand: Stand, look: Look, barred: frozenset[int], fault_of: Fault, *, replaced: bool) -> int:
    """The version that fills an empty Production: the journal's previous one that can be loaded.

    The one that served comes first if it left only because another came (MLflow's box archives it), last if somebody
    withdrew it. One that nobody withdrew goes before a veto; where none is left, an empty Production is worse than a
    veto, and a version that never served worse than one that did.
    """
    here = () if look.settled is None else (look.settled,)
    served: tuple[int, ...] = (*here, *look.lineage) if replaced else (*look.lineage, *here)
    order: list[int] = [v for v in dict.fromkeys((*served, *sorted(stand.versions))) if v in stand.versions]
    order.sort(key=lambda v: (v not in served, v in barred))
    for version in order:
        if fault_of(stand.version(version)) is None:
            return version
    raise ArtifactError(
        f"Production of {stand.name!r} is empty and none of its versions {sorted(stand.versions)} can be loaded; "
        "replicas keep serving what they have. Restore the artifact store, or adopt the model anew"
    )


def _emptied(settled: int | None, stages: Mapping[int, str]) -> str:
    stage = None if settled is None else stages.get(settled)
    return f"Production was empty: version {settled} is " + ("gone" if stage is None else f"in stage {stage}")


def _registered(stand: Stand, look: Look) -> list[int]:
    """Versions that came since a look, as a heal or an adoption registers them: nobody has moved those."""
    new = (v for v in sorted(stand.stages.keys() - look.stages.keys()) if stand.stages[v] == STAGING)
    return [v for v in new if stand.version(v).lineage.base is not None]


def _changes(look: Look, stages: Mapping[int, str]) -> list[str]:
    moved = [f"version {v} is {stages[v]}" for v in sorted(stages) if look.stages.get(v) != stages[v]]
    gone = {*look.stages, *(() if look.awaited is None else (look.awaited,))} - stages.keys()
    return moved + [f"version {v} is gone" for v in sorted(gone)]
