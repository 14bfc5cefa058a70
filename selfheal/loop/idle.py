"""Whether a monitor run would find nothing to do: asked of the state database alone, before MLflow is imported for it.

Most scheduled runs are of this kind. Somebody else must look at the stages meanwhile: a reconciler beside a service.
"""

from __future__ import annotations

import json
from datetime import datetime

from selfheal.loop.context import Serving
from selfheal.loop.sources import source_of
from selfheal.steering.policies import policy_of_record
from selfheal.steering.waits import order_of
from selfheal.steering.workspace import Workspace
from selfheal.table.heartbeat import STALE_S

SETTLED = "settled"
"""Mark of what a run found when it had settled everything but new windows."""


def mark_settled(serving: Serving) -> None:
    """Remember that nothing is left but what new windows, labels, entries of the journal or another policy will bring.

    What is held back for a time may be released without any of these: then there is something to do.
    """
    ws, name = serving.ws, serving.name
    # Only what is staged is held back, so that a quiet run asks MLflow for nothing more.
    staged = "Staging" in serving.look.stages.values()
    held = staged and any(order_of(info) is not None for info in serving.registered().values())
    found, mark = "" if held else _state(ws, name, serving.policy.digest), ws.table.outbox.mark(name, SETTLED)
    if mark is None or mark[0] != found:
        ws.table.outbox.set_mark(name, SETTLED, found)


def idle(ws: Workspace, name: str, until: datetime) -> bool:
    """Whether a run would find nothing: no window closed, and nothing came since the last run settled all else.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database is away.
    """
    mark, beat = ws.table.outbox.mark(name, SETTLED), ws.table.heartbeats.last(name)
    if mark is None or not mark[0] or beat is None or beat.age > STALE_S or beat.error or beat.troubles:
        return False
    policy = policy_of_record(ws, name).policy
    if policy.foreign is not None or mark[0] != _state(ws, name, policy.digest):
        return False
    spec = policy.monitor
    window, lateness, rows = spec.window, spec.lateness, spec.min_rows
    source = source_of(ws, name, policy, until)
    return not source.closed_windows(window, until=until, lateness=lateness, min_rows=rows)


def _state(ws: Workspace, name: str, policy: str) -> str:
    return json.dumps([str(ws.table.chain.head(name)), *ws.table.glance.labels(name), policy])
