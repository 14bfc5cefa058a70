"""How a log that lies elsewhere stands: journaled when that changes, so that ``status`` need not read the log."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from selfheal.alerts.conditions import QUIET_WINDOWS, longest, natural_pause
from selfheal.policy import Log, Monitor
from selfheal.steering.workspace import Workspace
from selfheal.table.values import from_us

if TYPE_CHECKING:
    from selfheal.log import Source
    from selfheal.log.foreign import Standing

LOG, LABELS = "log", "log labels"
"""Kinds of the journal entries: of the log, and of the place of its labels."""

READ, UNREADABLE, SILENT = "read", "unreadable", "silent"

LOOKED_BACK = 24
"""Handled windows in which late rows are looked for, and whose pauses are natural."""

_log = logging.getLogger("selfheal.loop")


def note_trouble(ws: Workspace, name: str, reason: str, kind: str = LOG) -> None:
    """The log, or the place of its labels, cannot be read; an empty reason: it can."""
    _note(ws, name, UNREADABLE if reason else READ, [reason] if reason else [], kind)


def note_standing(ws: Workspace, name: str, monitor: Monitor, standing: Standing, now: datetime) -> None:
    """The log was read; whether it still grows, and which of its rows no window can hold."""
    reasons = []
    if standing.undated:
        reasons.append(f"{standing.undated} rows have no time or number that can be read: they are in no window")
    if standing.ahead:
        reasons.append(f"{standing.ahead} rows are dated in the future: they wait for their time")
    quiet = silence(standing.newest, ws.table.cycles(name, last=LOOKED_BACK), monitor, now)
    _note(ws, name, SILENT if quiet else READ, [quiet, *reasons] if quiet else reasons)


def silence(newest: int | None, cycles: Sequence[Mapping[str, Any]], monitor: Monitor, now: datetime) -> str:
    """Why the log seems to have stopped growing; empty where it has not: as the windows of another go quiet."""
    if newest is None:
        return "the log holds no row with a time; does whatever fills it run?"
    spans = [(datetime.fromisoformat(c["start"]), datetime.fromisoformat(c["end"])) for c in cycles if "start" in c]
    length = monitor.window.duration or longest(spans, least=timedelta(days=1))
    bound = natural_pause(spans, QUIET_WINDOWS * length + monitor.lateness)
    still = now - from_us(newest)
    if still <= bound:
        return ""
    return (
        f"the log has stopped growing: its newest row is {spoken(still)} old (bound {spoken(bound)}); does whatever "
        "fills it run?"
    )


def spoken(time: timedelta) -> str:
    """A time as people say it, in the largest unit of which there are two.

    >>> spoken(timedelta(hours=50)), spoken(timedelta(minutes=90)), spoken(timedelta(seconds=30))
    ('2.08 days', '90 minutes', '30 seconds')
    """
    seconds = time.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"


def assumed(log: Log) -> list[str]:
    """What a log does not say of its rows, and what is taken in its place."""
    words = []
    if log.columns.version is None:
        words.append("names no version: the one that the journal says served then")
    if not log.columns.probabilities:
        words.append("names no probabilities: computed by the version that served then")
    return words


def note_late(ws: Workspace, name: str, source: Source) -> None:
    """Rows that came after their window was handled are counted in its record; they are in no other window."""
    last = [c for c in ws.table.cycles(name, last=LOOKED_BACK) if c.get("held") is not None]
    now = source.counted([ws.table.window(name, c["index"]) for c in last])
    for cycle in last:
        late = max(now.get(cycle["index"], 0) - cycle["held"], 0)
        if late != cycle.get("late", 0):
            ws.table.amend_cycle(name, cycle["index"], late=late)


def standing_of(ws: Workspace, name: str, kind: str = LOG) -> dict[str, Any]:
    """``state`` and ``reasons`` as they were last journaled; empty before the log was first read."""
    newest = ws.table.journal(name, last=1, kind=kind)
    return {key: newest[-1].intent[key] for key in ("state", "reasons")} if newest else {}


def _note(ws: Workspace, name: str, state: str, reasons: list[str], kind: str = LOG) -> None:
    said, before = {"state": state, "reasons": reasons}, standing_of(ws, name, kind)
    if said == before or (state == READ and not reasons and not before):
        return
    (_log.info if state == READ else _log.error)("%s: %s: %s: %s", name, kind, state, "; ".join(reasons))
    ws.table.journal_note(name, kind, said, state, ws.clock())
