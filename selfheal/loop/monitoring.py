"""One monitor run: the stages are settled, then every closed window is handled in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial

from selfheal.alerts import told_at_the_end
from selfheal.errors import SelfhealError, UnavailableError
from selfheal.loop.asked import tell_accuracy
from selfheal.loop.backtest import back_test
from selfheal.loop.confirm import look_after
from selfheal.loop.context import Context, Serving, load
from selfheal.loop.decide import may_heal
from selfheal.loop.harm import judge_heals
from selfheal.loop.idle import mark_settled
from selfheal.loop.judgement import judge_decisions
from selfheal.loop.logged import note_late
from selfheal.loop.records import Cycle
from selfheal.loop.retention import forget_old
from selfheal.loop.revise import revise
from selfheal.loop.sealed import seal
from selfheal.loop.sentinels import tell_sentinel
from selfheal.loop.shadows import compare_shadows
from selfheal.loop.sources import source_of
from selfheal.loop.steps import Step, plainly, run
from selfheal.loop.trial import free_waiting, try_waiting
from selfheal.loop.tries import attempt
from selfheal.loop.worth import weigh
from selfheal.policy import Policy
from selfheal.steering.leases import MONITOR_TTL, Lease, hold, monitor_lease
from selfheal.steering.policies import policy_of_record
from selfheal.steering.reconciler import reconcile
from selfheal.steering.shadowing import tell_shadows
from selfheal.steering.stand import stand_of
from selfheal.steering.workspace import Workspace
from selfheal.table import WindowRef

_log = logging.getLogger("selfheal.loop")


def monitor(ws: Workspace, name: str, until: datetime) -> list[Cycle]:
    """Settle the stages, then handle every closed window in order, see :func:`run`.

    Parameters
    ----------
    until
        The clock: the wall's for a schedule, its own for a replay.

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
    with told_at_the_end(ws, name) as end, hold(ws, monitor_lease(name), ttl=MONITOR_TTL, wait=None) as lease:
        serving = settle_stages(ws, name, until)
        end.policy = serving.policy
        return list(passes(lease, serving, pending(ws, name, until, serving.policy)))


def settle_stages(ws: Workspace, name: str, until: datetime | None = None) -> Serving:
    """Reconcile before a run; let labels that have come decide about what waits, release what was held back and may go
    now, and judge what was estimated and decided.

    Where MLflow is away the loop goes on with what serves.

    Parameters
    ----------
    until
        The clock, see :class:`Serving`.

    Raises
    ------
    NotFoundError
        No such model.
    """
    try:
        stand = reconcile(ws, name).stand
        serving = load(ws, name, stand, until=until)
        tell_shadows(ws, stand, serving.policy)
    except UnavailableError as error:
        _log.warning("%s: the stages could not be looked at: %s", name, error)
        return load(ws, name, until=until)
    seal(ws, name, stand, serving.books)
    try:
        tried = try_waiting(serving)
        if tried is not None and (tried.promoted or tried.archived):
            serving = load(ws, name, stand_of(ws, name), until=until)
        serving = compare_shadows(serving)
        freed = free_waiting(serving)
        if freed is not None and freed.promoted:
            serving = load(ws, name, stand_of(ws, name), until=until)
        serving = judge_decisions(back_test(revise(look_after(serving))))
        judge_heals(serving)
        weigh(serving)
        tell_accuracy(serving)
        mark_settled(serving)
        return serving
    except SelfhealError:
        raise
    except Exception:  # whatever old rows may raise: the new windows are handled all the same
        _log.exception("%s: labels or rows that came late were not read", name)
        return serving


def pending(ws: Workspace, name: str, until: datetime, policy: Policy | None = None) -> list[WindowRef]:
    """Windows that closed before ``until`` (minus the policy's lateness) and were not processed yet, in order.

    Parameters
    ----------
    policy
        By default the one of record.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError, InputError
        The log cannot be read, or is not what the policy says.
    """
    policy = policy or policy_of_record(ws, name).policy
    spec, source = policy.monitor, source_of(ws, name, policy, until)
    if policy.foreign is not None:
        note_late(ws, name, source)
    return source.closed_windows(spec.window, until=until, lateness=spec.lateness, min_rows=spec.min_rows)


def passes(
    lease: Lease,
    serving: Serving,
    refs: Sequence[WindowRef],
    *,
    step: Step = plainly,
    healer: Callable[[Context], Context] | None = None,
    passing: tuple[type[Exception], ...] = (),
) -> Iterator[Cycle]:
    """Handle windows one by one, as far as they are asked for; after the last, delete what the policy keeps no longer.

    Parameters
    ----------
    lease
        The monitor's, renewed before each window.
    serving
        What serves before the first window; before each later one it is read anew.
    step, healer
        See :func:`run`.
    passing
        See :func:`attempt`.
    """
    heals, known = may_heal(refs) if refs else None, serving.cycles
    for place, ref in enumerate(refs):
        lease.renew()
        if place:
            judge_heals(serving, anew=True)
            serving = load(lease.ws, serving.name, versions=serving.versions, until=serving.until)
        ctx = serving.at(ref, newest=ref == heals)
        cycle = attempt(ctx, partial(run, step=step, healer=healer), passing=passing)
        known = (*serving.cycles, {"index": ref.index, **cycle.record})
        yield cycle
    lease.renew()
    if refs:
        judge_heals(serving, anew=True)
        weigh(serving, known)
    forget_old(serving)
    if serving.policy.monitor.sentinel or serving.books.plan:
        tell_sentinel(load(serving.ws, serving.name))
