"""One monitor run: every closed window in order, each step a function that a flow can call by itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial

from selfheal.errors import SelfhealError, UnavailableError
from selfheal.loop.decide import Decision, decide
from selfheal.loop.expected import back_test
from selfheal.loop.heal import HealRecord, heal_window
from selfheal.loop.inspect import Inspection, inspect
from selfheal.loop.record import Cycle, record
from selfheal.loop.trial import try_waiting
from selfheal.loop.tries import attempt
from selfheal.loop.watch import WatchVerdict, watch
from selfheal.steering.leases import MONITOR_TTL, hold, monitor_lease
from selfheal.steering.models import serving_model
from selfheal.steering.policies import policy_of_record
from selfheal.steering.reconcile import reconcile
from selfheal.steering.workspace import Workspace
from selfheal.table import WindowRef

_log = logging.getLogger("selfheal.loop")

Healer = Callable[[Workspace, str, WindowRef, Inspection], HealRecord]


def pending(ws: Workspace, name: str, until: datetime) -> list[WindowRef]:
    """Windows that closed before ``until`` (minus the policy's lateness) and were not processed yet, in order.

    Raises
    ------
    NotFoundError
        No such model.
    """
    spec = policy_of_record(ws, name).policy.monitor
    return ws.table.closed_windows(name, spec.window, until=until, lateness=spec.lateness, min_rows=spec.min_rows)


def monitor(ws: Workspace, name: str, until: datetime, *, heal: Healer | None = None) -> list[Cycle]:
    """Settle the stages, then inspect, watch, decide, heal and record every closed window in order.

    Parameters
    ----------
    until
        The clock: the wall's for a schedule, its own for a replay.
    heal
        What heals a window; by default :func:`heal_window` on it. A flow passes its subflow.

    Raises
    ------
    NotFoundError
        No such model.
    BusyError
        Another monitor run of this model is under way.
    UnavailableError
        The database is away. MLflow being away is noted in each cycle's record instead.
    Exception
        What handling a window raised, see :func:`attempt`.
    """
    with hold(ws, monitor_lease(name), ttl=MONITOR_TTL, wait=None) as lease:
        settle_stages(ws, name)
        refs = pending(ws, name, until)
        cycles = []
        for ref in refs:
            lease.renew()
            newest = ref == refs[-1]
            cycles.append(attempt(ws, name, ref, partial(cycle, ws, name, ref, newest=newest, heal=heal)))
        return cycles


def cycle(ws: Workspace, name: str, ref: WindowRef, *, newest: bool = True, heal: Healer | None = None) -> Cycle:
    """One window through all steps."""
    seen = inspect(ws, name, ref)
    verdict = watch_window(ws, name, seen)
    decision = decide(ws, name, seen, newest=newest, rolled_back=verdict is not None and verdict.rolled_back)
    healed = (heal or _heal)(ws, name, ref, seen) if decision.kind == "heal" else None
    return record(ws, name, seen, decision, healed, verdict)


def settle_stages(ws: Workspace, name: str) -> str:
    """Reconcile before a run; let labels that have come decide about what waits, and judge what was estimated.

    Returns
    -------
    str
        What kept it from doing so, or empty. The loop goes on with what serves.
    """
    try:
        reconcile(ws, name)
    except UnavailableError as error:
        _log.warning("%s: the stages could not be looked at: %s", name, error)
        return str(error)
    try:
        try_waiting(ws, name)
        model, _ = serving_model(ws, name)
        back_test(ws, name, model.with_policy(policy_of_record(ws, name, model).policy))
    except SelfhealError:
        raise
    except Exception as error:  # whatever old rows may raise: the new windows are handled all the same
        _log.exception("%s: labels that came late were not read", name)
        return str(error)
    return ""


def watch_window(ws: Workspace, name: str, seen: Inspection) -> WatchVerdict | None:
    """The watch on an inspected window; None when MLflow is away (the next window asks again)."""
    try:
        return watch(ws, name, seen.ref, problems=seen.problems)
    except SelfhealError as error:
        _log.warning("%s, window %d: not watched: %s", name, seen.ref.index, error)
        return None


def _heal(ws: Workspace, name: str, ref: WindowRef, seen: Inspection) -> HealRecord:
    return heal_window(ws, name, ref, report=seen.report)


__all__ = ["Decision", "Healer", "cycle", "monitor", "pending", "settle_stages", "watch_window"]
