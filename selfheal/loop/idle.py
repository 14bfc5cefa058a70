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
from selfheal.table.glance import Books
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
    waits = staged and any(order_of(info) is not None for info in serving.registered().values())
    state = "" if waits else _state(serving.books, serving.policy.digest)
    if serving.books.marks.get(SETTLED) != state:
        ws.table.outbox.set_mark(name, SETTLED, state)


def idle(ws: Workspace, name: str, until: datetime) -> bool:
    """Whether a run would find nothing: no window closed, and nothing came since the last run settled all else.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database is away.
    """
    books, beat = ws.table.glance.books(name), ws.table.heartbeats.last(name)
    mark = books.marks.get(SETTLED)
    if not mark or beat is None or beat.age > STALE_S or beat.error or beat.troubles:
        return False
    policy = policy_of_record(ws, name).policy
    if policy.foreign is not None or mark != _state(books, policy.digest):
        return False
    spec = policy.monitor
    window, lateness, rows = spec.window, spec.lateness, spec.min_rows
    source = source_of(ws, name, policy, until)
    return not source.closed_windows(window, until=until, lateness=lateness, min_rows=rows)


def _state(books: Books, policy: str) -> str:
    return json.dumps([str(books.head), *books.labels, policy])
