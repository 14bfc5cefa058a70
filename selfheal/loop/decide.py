"""Decide what an inspected window asks for: nothing, a report, a heal. Patience and cooldown count in event time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from selfheal.loop.inspect import Inspection
from selfheal.policy import Policy
from selfheal.steering.actors import is_person
from selfheal.steering.look import Look
from selfheal.steering.workspace import Workspace
from selfheal.table import WindowRef

Kind = Literal["stable", "drift", "alarm", "heal", "data_fault", "too_few", "failed"]

NOT_COMPARED = frozenset({"data_fault", "too_few", "failed"})
"""Decisions about windows that say nothing about drift."""

WIDELY = 0.5
"""Share of columns away from the reference from which a quiet window is still reported as drift (Evidently's own)."""

MAX_JOINED = 3
"""Base windows that one window may span (DESIGN); bounds the time in which alarms belong together."""


@dataclass(frozen=True)
class Decision:
    """What a window asks for.

    Attributes
    ----------
    kind
        ``stable``; ``drift`` (reported: harmless, or an alarm that is not confirmed yet); ``alarm`` (confirmed, but no
        heal now); ``heal``; ``data_fault``; ``too_few``; ``failed`` (it could not be handled).
    reasons
        In words: measure, value, bound.
    alarm, confirmed
        Whether a signal alarms, and whether patience is reached with it.
    count, needed, of
        Alarms among the last ``of`` windows, and how many patience asks for.
    """

    kind: Kind
    reasons: tuple[str, ...]
    alarm: bool = False
    confirmed: bool = False
    count: int = 0
    needed: int = 0
    of: int = 0


def decide(ws: Workspace, name: str, seen: Inspection, *, newest: bool = True, rolled_back: bool = False) -> Decision:
    """Decide about a window in the light of the ones before it.

    Parameters
    ----------
    newest
        Whether no later window has closed: after a pause only the newest may heal.
    rolled_back
        Whether the watch has just rolled the version back: then the window says nothing about the one that serves now.
    """
    history = ws.table.cycles(name, last=HISTORY)
    earlier = [c for c in history if c["index"] < seen.ref.index]
    return decided(seen, earlier, newest=newest, rolled_back=rolled_back)


HISTORY = 512
"""Cycles that are looked back on; patience and watch need a few, the cooldown the one of the last heal (a cooldown of
a day, windows of five minutes: 288)."""


def decided(
    seen: Inspection, history: Sequence[dict[str, Any]], *, newest: bool = True, rolled_back: bool = False
) -> Decision:
    """The pure part of :func:`decide`; ``history`` holds the cycles before the window, oldest first."""
    policy = seen.policy.policy
    need, of = policy.heal.patience
    if seen.problems:
        return Decision("data_fault", seen.problems, needed=need, of=of)
    if seen.ref.too_few:
        text = f"{seen.ref.rows} rows in {seen.ref.joined} windows, fewer than min_rows {policy.monitor.min_rows}"
        return Decision("too_few", (text,), needed=need, of=of)
    near = counted(history, seen.look, seen.ref, policy)
    count = int(seen.alarm) + sum(bool(c["alarm"]) for c in near[max(0, len(near) - of + 1) :])
    reasons = tuple(f"{s.name}: {s.reason}" for s in seen.signals if s.alarm)
    if not seen.alarm:
        return Decision(*_quiet(seen), count=count, needed=need, of=of)
    if count < need:
        unconfirmed = (*reasons, f"not confirmed yet: {count} alarm(s), patience asks for {need} of {of} windows")
        return Decision("drift", unconfirmed, alarm=True, count=count, needed=need, of=of)
    held = "the watch has just rolled back" if rolled_back else _held(seen, history, newest)
    kind: Kind = "alarm" if held else "heal"
    return Decision(kind, (*reasons, held) if held else reasons, True, True, count, need, of)


def _quiet(seen: Inspection) -> tuple[Kind, tuple[str, ...]]:
    quiet = tuple(f"{s.name}: {s.reason}" for s in seen.signals)
    if seen.report is not None and seen.report.values.get("drift_share", 0.0) >= WIDELY:
        names = ", ".join(seen.report.drifted[:8])
        text = f"{len(seen.report.drifted)} columns lie away from the reference ({names}), within what is natural here"
        return "drift", (text, *quiet)
    return "stable", quiet


def counted(history: Sequence[dict[str, Any]], look: Look, ref: WindowRef, policy: Policy) -> list[dict[str, Any]]:
    """The cycles that patience counts: compared, under the version that serves, and near enough in event time."""
    near = [c for c in history if c["swap"] == look.swap and c["decision"] not in NOT_COMPARED]
    duration = policy.monitor.window.duration
    if duration is None:
        return near
    reach = policy.heal.patience[1] * MAX_JOINED * duration
    return [c for c in near if ref.start - datetime.fromisoformat(c["end"]) < reach]


def _held(seen: Inspection, history: Sequence[dict[str, Any]], newest: bool) -> str:
    """Why a confirmed alarm does not heal now; empty when it does."""
    if not newest:
        return "a later window has closed: only the newest may heal"
    baking = bakes(seen.look, history, seen.policy.policy)
    if baking:
        return baking
    cooldown = seen.policy.policy.heal.cooldown
    last = next((datetime.fromisoformat(c["end"]) for c in reversed(history) if _was_healed(c)), None)
    if last is not None and seen.ref.end - last < cooldown:
        return f"cooldown of {_words(cooldown)} since the heal of {last:%Y-%m-%d %H:%M} (event time)"
    return ""


def bakes(look: Look, history: Sequence[dict[str, Any]], policy: Policy) -> str:
    """Whether the serving version is so new that nothing but the watch may replace it; why, or empty.

    A heal's version serves ``bake_windows`` first. What a person put there serves ``watch_windows`` unless the watch
    finds it better before: no schedule takes back what a person did.
    """
    if look.previous is None:
        return ""
    served = watched(look, history)
    chosen = bool(look.actor) and is_person(look.actor)
    proven = any(verdict_of(c) == "better" for c in served)
    needed = policy.release.watch_windows if chosen and not proven else policy.release.bake_windows
    if len(served) >= needed:
        return ""
    by = f", put there by {look.actor}," if chosen else ""
    return f"version {look.settled}{by} has served {len(served)} of {needed} windows: the watch decides first"


def watched(look: Look, history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cycles since the swap whose rows the serving version itself answered, for the most part."""
    return [c for c in history if c["swap"] == look.swap and c["own_share"] >= OWN_SHARE]


def usable(cycle: Mapping[str, Any]) -> bool:
    """Whether a window's rows may be judged by labels: they could be handled, and are at no fault."""
    return not cycle["data_fault"] and cycle["decision"] != "failed"


def verdict_of(cycle: Mapping[str, Any]) -> str:
    """What the watch said in a cycle; ``none`` where it was silent."""
    watch: Mapping[str, Any] | None = cycle.get("watch")
    return str(watch["verdict"]) if watch else "none"


OWN_SHARE = 0.5
"""Share of a window's rows that a version must have answered for the window to speak about it."""


def _was_healed(cycle: dict[str, Any]) -> bool:
    heal: Mapping[str, Any] | None = cycle.get("heal")
    return heal is not None and not heal["failure"]


def _words(duration: timedelta) -> str:
    return str(duration).removesuffix(":00")
