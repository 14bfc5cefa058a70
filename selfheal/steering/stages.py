"""The stage changes that the loop and the command line make themselves: promote, roll back, archive."""

from __future__ import annotations

from selfheal.errors import ArtifactError, BusyError, HeldError, RefusedError, UnavailableError
from selfheal.registry.versions import VersionInfo
from selfheal.steering.actors import FLOW, is_loop, is_person
from selfheal.steering.approvals import approvals, lacking
from selfheal.steering.change import Change, carry_out
from selfheal.steering.leases import StagesLease, hold_stages
from selfheal.steering.limits import not_now
from selfheal.steering.look import Look
from selfheal.steering.models import cannot_load, load_version
from selfheal.steering.policies import policy_of_record
from selfheal.steering.quarantine import like_of_rolled_back, like_on_its_window
from selfheal.steering.reconciler import foreseen, settle
from selfheal.steering.stand import Stand
from selfheal.steering.workspace import Workspace

PROVEN = "labels: "
"""Begins the reason of a promotion that labels have proven."""

WAIT_SECONDS = 20.0
"""For another process that is changing the stages: two whole leases."""


def promote(
    ws: Workspace,
    name: str,
    version: int,
    actor: str,
    *,
    pin: bool = False,
    over: int | None = None,
    reason: str = "",
    kind: str = "promote",
) -> Look:
    """Put a version into Production; the former one is archived once it is there.

    Parameters
    ----------
    actor
        ``"flow"``, ``"watch"``, or who asked for it.
    pin
        Forbid even the watch to roll it back.
    over
        The version that it was compared with: if another serves by now, the evidence is void.
    kind
        ``"promote"``, or ``"recall"`` of a version that served before.

    Raises
    ------
    NotFoundError, ArtifactError
        No such version, or it can't be loaded; nothing was changed.
    RefusedError
        A flow may not promote it: a person withdrew it, it is in quarantine, Production is pinned, or people must
        approve it first.
    HeldError
        It may, but not now: the model is frozen, or the policy's calendar or budget forbids it.
    BusyError
        Another process keeps changing the stages, or the loop asks and a person moves versions just now.
    """
    with hold_stages(ws, name, WAIT_SECONDS) as lease:
        stand = _settled(lease, actor, entering=version)
        look = stand.look or Look()
        info, lifted = stand.version(version), stand.twins(version) if is_person(actor) else frozenset()
        if not is_person(actor):
            _may_flow_promote(look, name, version, over)
            _no_like_of_withdrawn(ws, stand, look, info)
            if kind == "promote" and not reason.startswith(PROVEN):
                _no_like_of_rolled_back(ws, stand, look, info)
        pin = pin or (version != look.settled and info.pins)
        if look.settled == version and (is_loop(actor) or (look.pinned == pin and look.awaited is None)):
            return look  # whether it is pinned, and whether another one is still wanted, is for people to say
        if is_loop(actor):
            _may_loop_now(ws, name, look, info)
        lack = "" if is_loop(actor) or version == look.settled else lacking(ws, name, info, look)
        change = Change(
            kind, version, actor, "; ".join(filter(None, (reason, lack))), pin, (), look.vetoed - lifted,
            look.quarantined - lifted, alarm=bool(lack), awaited=_awaited(look, version, actor),
        )  # fmt: skip
        return carry_out(lease, change, stand, look)


def rollback(
    ws: Workspace,
    name: str,
    actor: str,
    to: int | None = None,
    *,
    over: int | None = None,
    reason: str = "",
    turned: bool = False,
) -> Look:
    """Put the version before into Production again (or ``to``), and the one that serves into quarantine.

    Parameters
    ----------
    over
        The version that the evidence is about: if another serves by now, it is void.
    turned
        The world is as it was before: that says nothing against the version that goes, which is not put into
        quarantine and may be recalled when its own drift comes again.

    Raises
    ------
    RefusedError
        Nothing to go back to, ``over`` does not serve, or the watch asks and a person has pinned Production.
    HeldError
        The watch asks and the model is frozen.
    BusyError
        The watch asks and a person moves versions just now.
    UnavailableError
        The version before can't be read now; nothing was changed.
    """
    with hold_stages(ws, name, WAIT_SECONDS) as lease:
        stand = _settled(lease, actor)
        look = stand.look or Look()
        if look.pinned and not is_person(actor):
            raise RefusedError(f"version {look.settled} of {name!r} is pinned; only a person may roll it back")
        if over is not None and over != look.settled:
            raise RefusedError(f"version {over} of {name!r} is to be replaced, but {look.settled} serves by now")
        target = _target(ws, stand, look) if to is None else to
        stand.version(target)
        if target == look.settled:
            raise RefusedError(f"version {target} of {name!r} serves already; name another to go back to")
        gone = {look.settled or 0} if not turned else set()
        quarantined = frozenset((look.quarantined | gone) - {target, 0})
        change = Change(
            "rollback", target, actor, reason, vetoed=look.vetoed - {target}, quarantined=quarantined, turned=turned,
            awaited=_awaited(look, target, actor),
        )  # fmt: skip
        return carry_out(lease, change, stand, look)


def archive(ws: Workspace, name: str, version: int, actor: str, *, reason: str = "") -> Look:
    """Archive a version that does not serve; archived by a person, no flow promotes it again.

    Raises
    ------
    RefusedError
        If it serves: promote another one instead.
    """
    with hold_stages(ws, name, WAIT_SECONDS) as lease:
        stand = settle(lease).stand
        look = stand.look or Look()
        stand.version(version)
        if version == look.settled or look.settled is None:
            raise RefusedError(f"version {version} of {name!r} serves; promote another one, which archives it")
        vetoed = look.vetoed | ({version} if is_person(actor) else set())
        change = Change(
            "archive", look.settled, actor, reason, look.pinned, (version,), vetoed, look.quarantined,
            awaited=_awaited(look, version, FLOW),
        )  # fmt: skip
        return carry_out(lease, change, stand, look)


def _settled(lease: StagesLease, actor: str, entering: int | None = None) -> Stand:
    """What a change is made from. The loop makes none over what a person moved while other moves were journaled.

    Raises
    ------
    BusyError
        Such a move; the next look obeys it.
    """
    settled = settle(lease, entering)
    if settled.kind and is_loop(actor) and foreseen(lease.ws, settled.stand) is not None:
        raise BusyError(f"somebody moves versions of {lease.model!r} just now; nothing was changed")
    return settled.stand


def _awaited(look: Look, version: int, actor: str) -> int | None:
    """What a person wants in Production once it can be read: until a person says otherwise, whatever the loop does."""
    return look.awaited if is_loop(actor) and version != look.awaited else None


def _may_loop_now(ws: Workspace, name: str, look: Look, info: VersionInfo) -> None:
    """The loop waits for the approvals that the policy asks for, and for its calendar and its budget."""
    policy = policy_of_record(ws, name).policy.release
    if policy.approvers > 1 and (said := approvals(ws, name, info, look, policy)).lack:
        raise RefusedError(said.ask(name, info.version))
    if later := not_now(ws, name, policy):
        raise HeldError(later)


def _may_flow_promote(look: Look, name: str, version: int, over: int | None) -> None:
    if look.pinned and version != look.settled:
        raise RefusedError(f"version {look.settled} of {name!r} is pinned; only a person may replace it")
    if version in look.vetoed:
        raise RefusedError(f"a person withdrew version {version} of {name!r}; only a person may promote it again")
    if version in look.quarantined:
        raise RefusedError(f"version {version} of {name!r} was rolled back; labels, an audit or a person must clear it")
    if over is not None and over != look.settled:
        raise RefusedError(
            f"version {version} of {name!r} was compared with version {over}, but {look.settled} serves by now; "
            "the next alarmed window compares anew"
        )


def _no_like_of_withdrawn(ws: Workspace, stand: Stand, look: Look, info: VersionInfo) -> None:
    """What a person took out does not come back under another number."""
    if not look.vetoed:
        return
    like = max(stand.twins(info.version) & look.vetoed, default=None)
    if like is None:
        like = _like(ws, stand, info, look.vetoed)
    if like is not None:
        raise RefusedError(
            f"version {info.version} of {stand.name!r} predicts like version {like}, which a person withdrew; only a "
            "person may promote it"
        )


def _no_like_of_rolled_back(ws: Workspace, stand: Stand, look: Look, info: VersionInfo) -> None:
    """Asked before already, but another process may have rolled one back since."""
    like = _like(ws, stand, info, look.quarantined) if look.quarantined else None
    if like is not None:
        raise RefusedError(like_of_rolled_back(like))


def _like(ws: Workspace, stand: Stand, info: VersionInfo, barred: frozenset[int]) -> int | None:
    """The like of a version among those that are barred; while that can't be known, it waits."""
    model = load_version(ws, stand.name, info)
    try:
        return like_on_its_window(ws, stand.name, info, model, stand.among(barred))
    except UnavailableError as error:
        raise HeldError(
            f"what tells whether it is the like of {sorted(barred)}, which were withdrawn: {error}"
        ) from error


def _target(ws: Workspace, stand: Stand, look: Look) -> int:
    for version in look.fallbacks:
        error = cannot_load(ws, stand.name, stand.version(version), stand.pointer)
        if error is None:
            return version
        if not isinstance(error, ArtifactError):
            raise error  # it may be read again: a step further back would serve an older world
    raise RefusedError(
        f"{stand.name!r} has no version before {look.settled} to go back to; name one: selfheal rollback --to"
    )
