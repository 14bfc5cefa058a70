"""Decide what an inspected window asks for: nothing, a report, a heal. Patience and cooldown count in event time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from selfheal.alerts.conditions import LEFT_ALONE
from selfheal.loop.context import Context
from selfheal.loop.records import Decision, Inspection, Kind
from selfheal.policy import Policy
from selfheal.steering.actors import is_person
from selfheal.steering.look import Look
from selfheal.table import WindowRef

NOT_COMPARED = frozenset({"data_fault", "too_few", "failed"})
"""Decisions about windows that say nothing about drift."""

FEWER, FEW = 4, 100
"""A window of so many times fewer rows may lack the power to say that what was wrong is over; of a column at fault
(missing in a twentieth of the rows, say) fewer rows than these do (a heal asks for as many)."""

WIDELY = 0.5
"""Share of columns away from the reference from which a quiet window is still reported as drift (Evidently's own)."""

MAX_JOINED = 3
"""Base windows that one window may span (docs/concepts.md); bounds the time in which alarms belong together."""


def decide(ctx: Context) -> Context:
    """Decide about a window in the light of the ones before it."""
    return replace(ctx, decision=decided(ctx))


def decided(ctx: Context) -> Decision:
    """The decision. Pure."""
    seen, ref, policy = ctx.seen, ctx.ref, ctx.policy
    need, of = policy.heal.patience
    if seen.problems:
        return Decision("data_fault", seen.problems, needed=need, of=of)
    if ref.too_few:
        text = f"{ref.rows} rows in {ref.joined} windows, fewer than min_rows {policy.monitor.min_rows}"
        if seen.strange:
            text += f"; another base answered {seen.strange} more, before the base was changed"
        return Decision("too_few", (text,), needed=need, of=of)
    if not seen.alarm and (stands := unrefuted(ctx)):
        return Decision("too_few", (stands,), needed=need, of=of)
    near = counted(ctx)
    at_hand = {"index": ref.index, "alarm": seen.alarm}
    count = sum(any(c["alarm"] for c in one) for one in nominal([*near, at_hand])[-of:])
    reasons = tuple(f"{s.name}: {s.reason}" for s in seen.signals if s.alarm)
    if not seen.alarm:
        return Decision(*_quiet(seen), count=count, needed=need, of=of)
    if count < need:
        unconfirmed = (*reasons, f"not confirmed yet: {count} alarm(s), patience asks for {need} of {of} windows")
        return Decision("drift", unconfirmed, alarm=True, count=count, needed=need, of=of)
    hindrance = _hindrance(ctx)
    kind: Kind = "alarm" if hindrance else "heal"
    return Decision(kind, (*reasons, hindrance) if hindrance else reasons, True, True, count, need, of)


def telling(cycles: Sequence[Mapping[str, Any]], swap: int | None) -> Mapping[str, Any] | None:
    """The newest cycle that says how the version that serves since a swap does: one of enough rows."""
    said = [c for c in cycles if c["swap"] == swap and c["decision"] not in ("too_few", "failed")]
    return said[-1] if said else None


def unrefuted(ctx: Context) -> str:
    """Why a quiet window says nothing: what was wrong in the one before would not show in so few rows. Else empty.

    The bounds of a window's figures are chance's for its rows: that of the joint distribution grows as rows get fewer,
    the others with the root. What is missing, or stands still, of a hundred rows shows in fewer of them by chance only.
    """
    from selfheal.drift.signals import JOINT

    last, rows = telling(ctx.cycles, ctx.look.swap), ctx.ref.rows
    if last is None or FEWER * rows > last.get("rows", 0) or last["health"] in LEFT_ALONE:
        return ""
    fault = last.get("data_fault") or last.get("failed_heal")
    if last["confirmed"] and not fault:
        share = rows / last["rows"]
        alarms = [s for s in last["signals"] if s["alarm"]]
        left = max((s["value"] * share ** (1.0 if s["measure"] == JOINT else 0.5) for s in alarms), default=0.0)
        if left > 1.0:
            return ""
    elif not fault or rows >= FEW:
        return ""
    return (
        f"{rows} rows say nothing against what was wrong in window {last['index']} with {last['rows']}: "
        "it would not show in so few, and stands"
    )


def may_heal(refs: Sequence[WindowRef]) -> WindowRef:
    """Which of the windows that have closed may heal: the newest, or the one before a few rows that could not."""
    newest = refs[-1]
    for before in reversed(refs[:-1]):
        if (newest.too_few or newest.rows < FEW) and not before.too_few and before.rows >= FEWER * newest.rows:
            newest = before
    return newest


def nominal(cycles: Sequence[Mapping[str, Any]], before: int | None = None) -> list[list[Mapping[str, Any]]]:
    """Cycles by the windows that they would be had none been closed early: such a one and its rest are one.

    Parameters
    ----------
    before
        Index of a window: leaves out the nominal one that it is a part of.
    """
    out: list[list[Mapping[str, Any]]] = []
    rest = None
    for cycle in cycles:
        if cycle["index"] == rest:
            out[-1].append(cycle)
        else:
            out.append([cycle])
        rest = cycle["index"] + 1 if cycle.get("early") else None
    return out[:-1] if rest is not None and rest == before else out


def _nominal_end(end: datetime, early: str, window: timedelta | None) -> datetime:
    """Where a window would have ended had it not been closed early."""
    if not early or window is None:
        return end
    return end + (datetime(1970, 1, 1, tzinfo=UTC) - end) % window


def _quiet(seen: Inspection) -> tuple[Kind, tuple[str, ...]]:
    quiet = tuple(f"{s.name}: {s.reason}" for s in seen.signals)
    if seen.report is not None and seen.report.values.get("drift_share", 0.0) >= WIDELY:
        names = ", ".join(seen.report.drifted[:8])
        text = f"{len(seen.report.drifted)} columns lie away from the reference ({names}), within what is natural here"
        return "drift", (text, *quiet)
    return "stable", quiet


def counted(ctx: Context) -> list[dict[str, Any]]:
    """The cycles that patience counts: compared, under the version that serves, and near enough in event time."""
    near = [c for c in ctx.cycles if c["swap"] == ctx.look.swap and c["decision"] not in NOT_COMPARED]
    duration = ctx.policy.monitor.window.duration
    if duration is None:
        return near
    reach = ctx.policy.heal.patience[1] * MAX_JOINED * duration
    return [c for c in near if ctx.ref.start - datetime.fromisoformat(c["end"]) < reach]


def _hindrance(ctx: Context) -> str:
    """Why a confirmed alarm does not heal now; empty when it does."""
    if ctx.verdict is not None and ctx.verdict.rolled_back:  # the window says nothing about what serves now
        return "the watch has just rolled back"
    if not ctx.newest:
        return "a later window has closed: only the newest may heal"
    baking = bakes(ctx.look, ctx.cycles, ctx.policy, ctx.ref.index)
    if baking:
        return baking
    cooldown = ctx.policy.heal.cooldown
    healed, window = next((c for c in reversed(ctx.cycles) if _was_healed(c)), None), ctx.policy.monitor.window.duration
    if healed is None:
        return ""
    last = _nominal_end(datetime.fromisoformat(healed["end"]), healed.get("early", ""), window)
    if _nominal_end(ctx.ref.end, ctx.seen.early, window) - last < cooldown:
        return f"cooldown of {_words(cooldown)} since the heal of {last:%Y-%m-%d %H:%M} (event time)"
    return ""


def bakes(look: Look, history: Sequence[dict[str, Any]], policy: Policy, index: int) -> str:
    """Whether the serving version is so new that nothing but the watch may replace it in a window; why, or empty.

    A heal's version serves ``bake_windows`` first. What a person put there serves ``watch_windows`` unless the watch
    finds it better before: no schedule takes back what a person did.
    """
    if look.previous is None:
        return ""
    served = watched(look, history)
    windows = len(nominal(served, index))
    chosen = bool(look.actor) and is_person(look.actor)
    proven = any(verdict_of(c) == "better" for c in served)
    needed = policy.release.watch_windows if chosen and not proven else policy.release.bake_windows
    if windows >= needed:
        return ""
    by = f", put there by {look.actor}," if chosen else ""
    return f"version {look.settled}{by} has served {windows} of {needed} windows: the watch decides first"


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
