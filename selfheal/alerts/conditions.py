"""Conditions: what is wrong as long as it is, told when it begins and when it ends. Pure but for :func:`standing`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from selfheal.alerts.message import Message, Urgency
from selfheal.steering.workspace import Workspace
from selfheal.table import Heartbeat
from selfheal.table.journal import Part

Cycle = Mapping[str, Any]
Span = tuple[datetime, datetime]

RAN = "ran"
"""Mark of the last finished monitor run; its value: in how many seconds the next is to be expected."""

MISSED, SLACK = 3, timedelta(minutes=1)
"""The monitor is silent when so many of its runs and this much more have passed without one that finished."""

PAUSES = 512
"""Windows whose pauses are natural: a night's among those of five minutes."""

QUIET_WINDOWS, QUIET_PAUSES = 3, 2.0
"""The log is silent when no window has closed for so many of the longest, and for so many of the longest pauses."""

LOGS = {"log": "log", "log labels": "log_labels"}
"""Kinds of the journal's entries about a log that lies elsewhere → kinds of alerts."""

LEFT_ALONE = frozenset({"cleared", "harmless"})
"""A window's health where drift was confirmed and nobody need look: natural by somebody's word, or found harmless."""


@dataclass(frozen=True)
class Condition:
    """Something that is wrong now.

    Attributes
    ----------
    what, since
        In one line, and since when.
    done, next
        What was done about it, and what to type.
    """

    what: str
    since: datetime
    done: str = ""
    next: str = ""
    urgency: Urgency = "failure"
    run: str = ""

    def begins(self, kind: str) -> Message:
        """What is told when it begins."""
        since = self.since.isoformat()
        return Message(kind, self.what, since, self.done, self.next, self.urgency, self.run)


def standing(
    ws: Workspace,
    name: str,
    cycles: Sequence[Cycle],
    spans: Sequence[Span],
    ran: tuple[str, datetime] | None,
    now: datetime,
) -> dict[str, Condition]:
    """Kind → condition, of all that stand now.

    Parameters
    ----------
    cycles, spans
        Records of the last windows, and start and end of the last :data:`PAUSES`, oldest first.
    ran
        The mark :data:`RAN`, and when it was made; None where no run has finished yet.
    now
        The database's clock.
    """
    conditions = of_windows(name, cycles)
    conditions |= of_stages(name, ws.table.heartbeats.last(name), cycles)
    logs = ws.table.journal_parts(name, **{alert: Part((kind,), last=1) for kind, alert in LOGS.items()})
    for kind, alert in LOGS.items():
        newest = logs[alert]
        if newest and newest[-1].intent["state"] != "read":
            words = f"{kind}: {'; '.join(newest[-1].intent['reasons'])}"
            conditions[alert] = Condition(words, newest[-1].at, next=f"selfheal status {name}")
    silent = None if ran is None else _silence(name, *ran, now)
    if silent is not None:
        return conditions | {"monitor": silent}
    if cycles and "log" not in conditions:
        handled = datetime.fromisoformat(cycles[-1]["at"])
        still = quiet(name, spans, handled, now)
        conditions |= {"log": still} if still else {}
    return conditions


def of_windows(name: str, cycles: Sequence[Cycle]) -> dict[str, Condition]:
    """What the newest window that says anything shows, each since the first of the windows in a row that show it."""
    telling = [c for c in cycles if c["decision"] not in ("too_few", "failed")]
    if not telling:
        return {}
    conditions = {}
    for kind, words in ills(telling[-1]).items():
        since = _first(kind, telling)
        newest = telling[-1]
        heal = newest.get("heal") or {}
        what = f"window {newest['index']}: {words}"
        conditions[kind] = Condition(what, since, _done(newest), _next(name, kind, heal), run=heal.get("run_id", ""))
    return conditions


def _first(kind: str, telling: Sequence[Cycle]) -> datetime:
    """When the first of the newest windows in a row that show it began."""
    row = list(takewhile(lambda cycle: kind in ills(cycle), reversed(telling)))
    return datetime.fromisoformat(row[-1].get("start") or row[-1]["at"])


def ills(cycle: Cycle) -> dict[str, str]:
    """Kind → words, of what a window shows that nothing has undone."""
    heal, watch = cycle.get("heal") or {}, cycle.get("watch") or {}
    words = {}
    if cycle.get("data_fault"):
        words["data_fault"] = f"data fault: {'; '.join(cycle['data_fault'])}"
    elif watch.get("held"):
        words["worse"] = f"version {watch['version']} is worse than {watch['against']}: {'; '.join(watch['reasons'])}"
    elif cycle.get("confirmed") and not (
        cycle.get("health") in LEFT_ALONE or heal.get("promoted") or watch.get("rolled_back")
    ):
        words["alarm"] = f"drift, confirmed and not undone: {'; '.join(cycle['reasons'])}"
        if cycle.get("worthless"):
            words["retrain"] = f"stop, retrain: labels show that it is worth less than a constant: {cycle['worthless']}"
    if cycle.get("failed_heal") and not heal.get("promoted"):
        words["degraded"] = f"degraded: {'; '.join(cycle['failed_heal'])}"
    return words


def _done(cycle: Cycle) -> str:
    heal = cycle.get("heal")
    if not heal:
        return "nothing was healed"
    if heal["failure"]:
        return f"the heal failed: {heal['failure']}"
    return f"heal: {heal['decision']}, {heal['diagnosis']}: {'; '.join([*heal['reasons'][:2], heal['note']])}"


def _next(name: str, kind: str, heal: Mapping[str, Any]) -> str:
    if kind == "data_fault":
        return "mend what sends these columns; nothing needs undoing"
    if kind == "retrain":
        return f"do not decide by its answers; retrain {name} on labels of these windows and adopt it anew"
    if kind == "worse":
        return f"selfheal rollback {name}, or selfheal unfreeze {name}"
    return f"selfheal audit {name}" if heal.get("decision") == "audit" else f"selfheal status {name}"


def of_stages(name: str, beat: Heartbeat | None, cycles: Sequence[Cycle]) -> dict[str, Condition]:
    """What whoever looks at the stages says of them and of the policy; and that nobody looks any more."""
    conditions: dict[str, Condition] = {}
    status = f"selfheal status {name}"
    troubles = {} if beat is None else beat.troubles
    for kind in {"policy", "production"} & troubles.keys():
        conditions[kind] = Condition(troubles[kind].words, troubles[kind].since, next=status)
    if beat is None and cycles and cycles[-1].get("faults"):  # no service runs: what the monitor saw
        since = datetime.fromisoformat(cycles[-1]["at"])
        conditions["policy"] = Condition("; ".join(cycles[-1]["faults"]), since, next=status)
    if "policy" in conditions:
        words = f"the policy is invalid, the last valid one is in force: {conditions['policy'].what}"
        conditions["policy"] = Condition(words, conditions["policy"].since, next=f"mend rules/{name}.yaml")
    if beat is not None and (silent := beat.complaints().get("stages")):
        what = "nobody looks at the stages any more, so that no change of them is served"
        conditions["reconciler"] = Condition(what, beat.looked, silent, f"restart the service: selfheal serve {name}")
    return conditions


def _silence(name: str, every: str, ran: datetime, now: datetime) -> Condition | None:
    """Whether no monitor run has finished for too long; nothing is known of one that never ran."""
    return silence(name, ran, now, MISSED * timedelta(seconds=float(every)) + SLACK)


def longest(spans: Sequence[Span], *, least: timedelta = timedelta(0)) -> timedelta:
    """The length of the longest of these windows."""
    return max((end - start for start, end in spans), default=least)


def natural_pause(spans: Sequence[Span], windows: timedelta) -> timedelta:
    """For how long no rows come without a fault: for that of some windows, or that of the longest pauses before."""
    pauses = [later[0] - earlier[1] for earlier, later in itertools.pairwise(spans)]
    return max(windows, QUIET_PAUSES * max(pauses, default=timedelta(0)))


def quiet(name: str, spans: Sequence[Span], handled: datetime, now: datetime) -> Condition | None:
    """Whether rows have stopped coming.

    Parameters
    ----------
    spans
        Start and end of the last windows, oldest first.
    handled
        When the newest was handled: one of long ago by then is a replay's, and says nothing of now.
    """
    if not spans:
        return None
    bound, end = natural_pause(spans, QUIET_WINDOWS * longest(spans)) + SLACK, spans[-1][1]
    if now - end <= bound or handled - end > bound:
        return None
    what = f"no rows come any more: no window has closed since {end:%Y-%m-%d %H:%M} UTC (limit {bound})"
    return Condition(what, end, next=f"does whatever sends rows of {name} still run?")


def silence(name: str, ran: datetime, now: datetime, bound: timedelta) -> Condition | None:
    """The condition of a monitor whose last run finished at ``ran``."""
    if now - ran <= bound:
        return None
    # Without the time that has passed, which would make another text at each look.
    minutes = f"{bound.total_seconds() / 60:.0f} minutes"
    what = f"no monitor run has finished since {ran:%Y-%m-%d %H:%M:%S} UTC (limit {minutes}): no window is looked at"
    return Condition(what, ran, next=f"selfheal monitor {name} says what it waits for; is the schedule running?")
