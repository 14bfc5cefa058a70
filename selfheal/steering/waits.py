"""What waits for Production: why, and the order to promote it that is carried out once it may be.

A version that the evidence is for, and that may not go to Production *now* (a freeze), keeps the order beside the
reason, as a tag. A later run carries it out if the version was compared with what serves then.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from selfheal.errors import HeldError, RefusedError
from selfheal.policy import Policy
from selfheal.registry.versions import VersionInfo
from selfheal.steering.actors import AUDIT, FLOW
from selfheal.steering.look import PRODUCTION, STAGING, Look, last_look
from selfheal.steering.shadowing import unshadowed
from selfheal.steering.stages import PROVEN, promote
from selfheal.steering.trusts import asks_first, kept_for_people
from selfheal.steering.workspace import Workspace

WAITS = "waits"
"""Tag of a version: what it waits for."""

HELD = "held"
"""Tag of a version: the :class:`Order` that waits, as JSON; empty once it is void. Also the kind of the journal entries
that say so."""

LONGEST = 1_000
"""Characters of a reason: the order is to fit a tag, 5,000."""

_log = logging.getLogger("selfheal.steering")


@dataclass(frozen=True)
class Released:
    """Whether a version went to Production, and what was said about it."""

    version: int
    promoted: bool
    note: str


@dataclass(frozen=True)
class Order:
    """A promotion that may not be made now.

    Attributes
    ----------
    kind, actor, over, reason
        Those of :func:`~selfheal.steering.stages.promote`.
    swap
        The journal entry since which ``over`` serves: after any other swap the comparison is another world's.
    """

    kind: str
    actor: str
    over: int | None
    swap: int
    reason: str


def put_in(
    ws: Workspace, name: str, version: int, actor: str, *, over: int | None, reason: str, kind: str = "promote"
) -> Released:
    """Promote a version, or say what it waits for; see :func:`~selfheal.steering.stages.promote`."""
    try:
        promote(ws, name, version, actor, over=over, reason=reason, kind=kind)
    except HeldError as error:
        look = last_look(ws, name) or Look()
        _hold(ws, name, version, Order(kind, actor, look.settled, look.swap, reason[:LONGEST]), str(error))
        return Released(version, False, f"version {version} waits for {error}")
    except RefusedError as error:
        return wait(ws, name, version, str(error))
    done = "was recalled to" if kind == "recall" else "is in"
    return Released(version, True, f"version {version} {done} Production")


def wait(ws: Workspace, name: str, version: int, why: str) -> Released:
    """Tag a version with what it waits for."""
    ws.registry.set_tag(name, version, WAITS, why)
    return Released(version, False, f"version {version} waits for {why}")


def orders(versions: Iterable[VersionInfo], look: Look) -> dict[int, str]:
    """Versions whose order still stands → what they wait for, newest first."""
    standing = [info for info in versions if (order := order_of(info)) is not None and not _void(info, order, look)]
    return {info.version: info.tags.get(WAITS, "") for info in sorted(standing, key=lambda info: -info.version)}


def release_held(
    ws: Workspace, name: str, policy: Policy, versions: Iterable[VersionInfo], look: Look
) -> Released | None:
    """Carry out the newest order that stands; those that are void are dropped. None where nothing was held.

    One whose shadow answers do not agree yet does not keep an older one waiting.

    Raises
    ------
    SelfhealError
        What :func:`~selfheal.steering.stages.promote` raises where a store is away; the order stands.
    """
    waiting = None
    for info in sorted(versions, key=lambda info: -info.version):
        order = order_of(info)
        if order is None:
            continue
        void = _void(info, order, look) or kept_for_people(policy)
        if order.actor != AUDIT and not order.reason.startswith(PROVEN):
            void = void or asks_first(ws, name)
        if not void and (lack := _unshadowed(policy, info, order, look)):
            waiting = waiting or hold_for_shadow(ws, name, info, order, lack)
            continue
        if not void:
            done = put_in(ws, name, info.version, order.actor, over=order.over, reason=order.reason, kind=order.kind)
            if done.promoted:
                ws.registry.set_tag(name, info.version, HELD, "")
            return done
        ws.registry.set_tag(name, info.version, HELD, "")
        ws.registry.set_tag(name, info.version, WAITS, void)
        _log.warning("%s: version %d is not released any more: %s", name, info.version, void)
    return waiting


def order_of(info: VersionInfo) -> Order | None:
    """The order of a version that waits; None for any other."""
    text = info.tags.get(HELD, "")
    return Order(**json.loads(text)) if text and info.stage != PRODUCTION else None


def _unshadowed(policy: Policy, info: VersionInfo, order: Order, look: Look) -> str:
    """What the gate's own decision waits for; see :func:`~selfheal.steering.shadowing.unshadowed`."""
    proven = order.kind != "promote" or order.actor != FLOW or order.reason.startswith(PROVEN)
    return "" if proven else unshadowed(policy, info, look)


def hold_for_shadow(ws: Workspace, name: str, info: VersionInfo, order: Order, why: str) -> Released:
    """Keep an order until shadow answers agree; journaled once, however far they have come."""
    text = json.dumps(asdict(order), ensure_ascii=False)
    if info.tags.get(HELD) != text:
        intent = {"version": info.version, "actor": order.actor, "reasons": [f"waits for {why}"]}
        ws.table.journal_note(name, HELD, intent, "waits", ws.clock())
        ws.registry.set_tag(name, info.version, HELD, text)
    if info.tags.get(WAITS) != why:
        ws.registry.set_tag(name, info.version, WAITS, why)
    return Released(info.version, False, f"version {info.version} waits for {why}")


def _void(info: VersionInfo, order: Order, look: Look) -> str:
    """Why an order does not stand any more; empty while it does."""
    if (look.settled, look.swap) != (order.over, order.swap):
        return f"a person: it was compared with version {order.over}, and what serves has changed since"
    if look.pinned:
        return f"a person: version {look.settled} was pinned since"
    barred = info.version in look.vetoed | look.quarantined
    if barred or (order.kind == "promote" and info.stage != STAGING):
        return "a person: it was taken out since"
    return ""


def _hold(ws: Workspace, name: str, version: int, order: Order, why: str) -> None:
    """Keep the order, and say so aloud: once, however often it is tried again."""
    text, tags = json.dumps(asdict(order), ensure_ascii=False), ws.registry.version(name, version).tags
    if (tags.get(HELD), tags.get(WAITS)) == (text, why):
        return
    _log.error("%s: version %d waits for %s", name, version, why)
    intent = {"version": version, "actor": order.actor, "reasons": [f"waits for {why}"]}
    ws.table.journal_note(name, HELD, intent, "waits", ws.clock())
    ws.registry.set_tag(name, version, HELD, text)
    ws.registry.set_tag(name, version, WAITS, why)
