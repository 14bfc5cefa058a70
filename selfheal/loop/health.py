"""Which windows become the yardstick that later ones are judged by.

Healthy is a window without data fault and without a confirmed alarm. While an alarm may still be confirmed by the
next windows, its window waits outside. A window that alarmed, was confirmed, and that the healer then found benign is
cleared: natural drift that nothing need be done about must not alarm for ever. But not where it lies far off: what the
model does not listen to may be twice as large without harm, and once that counts as natural, the joint distribution
says nothing any more of what it does listen to. And cleared windows are never more than half of the yardstick, so
whoever moves the stream in small, benign-looking steps has to drag the uncleared half along, and the drift report shows
the distance from the reference all the while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from selfheal.loop.context import YARDSTICK_WINDOWS, Context
from selfheal.loop.decide import NOT_COMPARED, counted
from selfheal.loop.records import Decision, HealRecord, Inspection
from selfheal.steering.workspace import Workspace

Health = Literal["healthy", "waiting", "cleared", "harmless", "unhealthy", "none"]

BENIGN = frozenset({"stable", "benign"})
"""Diagnoses with which ``keep`` clears a window; ``unknown`` does not."""

FAR = 2.0
"""Natural bounds by which a column may lie off by itself in a window that the healer's word alone clears; of the joint
distribution, which grows with the square, so many squared. What enters at twice a bound widens it to 2.6 times. Of 96
natural windows of four data sets three had been cleared: two lay beyond, a station that had capped its visibility and a
day at 69 jointly; a column that the model ignores lay at 5.6, and 90 jointly, when it doubled (docs/notes.md)."""

CLEARED_AT_MOST = YARDSTICK_WINDOWS // 2
"""Cleared windows among those of the yardstick."""


def health_of(
    decision: Decision, heal: HealRecord | None, history: Sequence[dict[str, Any]], *, off: bool, far: bool = False
) -> Health:
    """What a window is to the yardstick.

    Parameters
    ----------
    history
        The cycles before it, oldest first.
    off
        Whether it was seen through a wrong map: the watch rolled back on its evidence, or a mapped column is not back.
    far
        Whether it lies far off, see :func:`far`: then the healer's word alone does not clear it.

    Returns
    -------
    str
        ``waiting``: its alarm may still be confirmed. ``cleared``: found benign, a yardstick like the healthy ones;
        ``harmless``: found benign, and none. ``none``: nothing was compared.
    """
    if decision.kind == "too_few":
        return "none"
    if off or decision.kind in NOT_COMPARED:
        return "unhealthy"
    if not decision.alarm:
        return "healthy"
    if not decision.confirmed:
        return "waiting"
    if heal is not None and heal.decision == "keep" and heal.diagnosis in BENIGN:
        if far:
            return "harmless"
        used = [c for c in history if c["health"] in ("healthy", "cleared")][1 - YARDSTICK_WINDOWS :]
        cleared = sum(c["health"] == "cleared" for c in used)
        return "cleared" if cleared < CLEARED_AT_MOST else "unhealthy"
    return "unhealthy"


def far(seen: Inspection) -> bool:
    """Whether a column by itself, its place or values never seen, or all of them together lie far off, see FAR."""
    most = {"marginal_ratio": FAR, "outside_ratio": FAR, "joint_ratio": FAR**2}
    return any(signal.details.get(name, 0.0) > bound for signal in seen.signals for name, bound in most.items())


def released(ctx: Context, decision: Decision) -> list[int]:
    """Indexes of waiting windows whose alarm can't be confirmed any more, now that this one is decided."""
    if decision.kind in NOT_COMPARED:
        return []
    of, compared = decision.of, counted(ctx)
    confirmed = [bool(c["confirmed"]) for c in compared] + [decision.confirmed]
    return [
        c["index"]
        for at, c in enumerate(compared)
        # It counts for the windows at .. at + of - 1; the last of these has just been decided.
        if c["health"] == "waiting" and at + of - 1 == len(compared) and not any(confirmed[at : at + of])
    ]


def clear(ws: Workspace, name: str, index: int, actor: str, reason: str) -> None:
    """Put a window into the yardstick by somebody's word: what it shows is natural here. Safe to repeat.

    Raises
    ------
    NotFoundError
        No such processed window, or it is so old that its sample was dropped.
    """
    ws.table.set_health(name, [index], "cleared")
    intent = {"window": index, "actor": actor, "reasons": [reason]}
    ws.table.journal_note(name, "clear", intent, "cleared", ws.clock())
