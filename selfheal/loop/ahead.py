"""What comes next: the monitor's next run, and what the loop may still do by itself."""

from __future__ import annotations

from typing import Any

from selfheal.alerts.conditions import RAN, SLACK
from selfheal.policy import Policy
from selfheal.steering.limits import budget, not_now
from selfheal.steering.workspace import Workspace


def ahead(ws: Workspace, name: str, policy: Policy) -> dict[str, Any]:
    """What comes next; JSON-able.

    Returns
    -------
    dict
        ``ran, due`` (of monitor runs, ISO; None where none has finished yet), ``overdue``, ``budget`` (in words) and
        ``waits`` (for the end of what, if the loop may not promote now).
    """
    mark = ws.table.outbox.mark(name, RAN)
    due = None if mark is None else mark[1] + policy.monitor.every
    return {
        "ran": None if mark is None else mark[1].isoformat(),
        "due": None if due is None else due.isoformat(),
        "overdue": due is not None and due + SLACK < ws.clock(),
        "budget": budget(ws, name, policy.release),
        "waits": not_now(ws, name, policy.release),
    }
