"""A model's day in one message, for whoever wants to hear from it when nothing is wrong."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, time, timedelta

from selfheal.alerts.message import Message
from selfheal.errors import InputError
from selfheal.steering.workspace import Workspace

DAY = timedelta(days=1)

WINDOWS = 512
"""Windows that are counted at most: a day of three-minute ones."""


def due(at: str, last: str, now: datetime) -> str:
    """The day whose digest is due, ISO; empty where none is.

    Parameters
    ----------
    at
        ``HH:MM``, UTC; empty: never.
    last
        The day of the last digest.

    Raises
    ------
    InputError
        ``at`` is no such time.

    >>> due("07:00", "", datetime(2026, 1, 2, 7, 30)), due("07:00", "2026-01-02", datetime(2026, 1, 2, 9))
    ('2026-01-02', '')
    """
    if not at:
        return ""
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", at):
        raise InputError(f"SELFHEAL_ALERTS_DIGEST is {at!r}, which is no time of day; write HH:MM, in UTC: 07:00")
    day = now.date().isoformat()
    return day if now.time() >= time.fromisoformat(at) and day != last else ""


def digest(ws: Workspace, name: str, now: datetime) -> Message:
    """What serves, and what the last day's windows and changes came to."""
    since = now - DAY
    cycles = [c for c in ws.table.cycles(name, last=WINDOWS) if datetime.fromisoformat(c["at"]) >= since]
    changes = Counter(e.kind for e in ws.table.journal(name, last=WINDOWS) if e.at >= since and "change" in e.intent)
    counts = Counter(c["decision"] for c in cycles)
    windows = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.most_common())
    moved = ", ".join(f"{count} {kind}" for kind, count in changes.most_common())
    pointer = ws.table.pointer(name)
    serves = "nothing serves" if pointer is None else f"version {pointer.version} serves"
    what = f"{serves}; {len(cycles)} windows{f': {windows}' if windows else ''}; changes: {moved or 'none'}"
    version = None if pointer is None else pointer.version
    return Message("digest", what, since.isoformat(), "", f"selfheal status {name}", "info", version=version)
