"""Which windows become the yardstick that later ones are judged by.

Healthy is a window without data fault and without a confirmed alarm. While an alarm may still be confirmed by the
next windows, its window waits outside. A window that alarmed, was confirmed, and that the healer then found benign is
cleared: natural drift that nothing need be done about must not alarm for ever. But cleared windows are never more than
half of the yardstick, so whoever moves the stream in small, benign-looking steps has to drag the uncleared half along,
and the drift report shows the distance from the reference all the while.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from selfheal.loop.context import YARDSTICK_WINDOWS, Context
from selfheal.loop.decide import NOT_COMPARED, counted
from selfheal.loop.records import Decision, HealRecord
from selfheal.steering.workspace import Workspace

Health = Literal["healthy", "waiting", "cleared", "unhealthy", "none"]

BENIGN = frozenset({"stable", "benign"})
"""Diagnoses with which ``keep`` clears a window; ``unknown`` does not."""

CLEARED_AT_MOST = YARDSTICK_WINDOWS // 2
"""Cleared windows among those of the yardstick."""


def health_of(decision: Decision, heal: HealRecord | None, history: Sequence[dict[str, Any]], *, off: bool) -> Health:
    """What a window is to the yardstick.

    Parameters
    ----------
    history
        The cycles before it, oldest first.
    off
        Whether it was seen through a wrong map: the watch rolled back on its evidence, or a mapped column is not back.

    Returns
    -------
    str
        ``waiting``: its alarm may still be confirmed. ``none``: nothing was compared.
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
        used = [c for c in history if c["health"] in ("healthy", "cleared")][1 - YARDSTICK_WINDOWS :]
        cleared = sum(c["health"] == "cleared" for c in used)
        return "cleared" if cleared < CLEARED_AT_MOST else "unhealthy"
    return "unhealthy"


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
