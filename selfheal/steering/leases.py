"""Leases: one process at a time changes the stages of a model, or runs its monitor."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from selfheal.errors import BusyError, UnavailableError
from selfheal.steering.workspace import Workspace
from selfheal.table import Claim

STAGES_TTL = timedelta(seconds=8)
"""How long the lease of a dead process keeps others waiting. A live one renews it three times in that time, and before
every act, so that it never acts on a lease that it has lost."""

MONITOR_TTL = timedelta(seconds=30)
"""The same for a monitor run: shorter than any schedule, longer than a machine that pages holds its breath."""

POLLS = 100
"""Looks at a lease that is waited for, in its time to live."""

_log = logging.getLogger("selfheal.steering")


@dataclass(frozen=True)
class Lease:
    """A lease that is held."""

    ws: Workspace
    name: str
    holder: str
    ttl: timedelta

    @property
    def claim(self) -> Claim:
        """What it is in the database: what is written under it is refused once it is lost."""
        return Claim(self.name, self.holder, self.ttl)

    def renew(self) -> None:
        """Hold it for another ``ttl``.

        Raises
        ------
        BusyError
            If it ran out and somebody else took it: the work must stop here, the journal hands it on.
        """
        if not self.ws.table.renew(*self.claim):
            raise BusyError(self.claim.lost)


@contextmanager
def hold(ws: Workspace, name: str, *, ttl: timedelta, wait: float | None = 0.0) -> Iterator[Lease]:
    """Hold the lease ``name`` for the length of a block.

    Parameters
    ----------
    wait
        Seconds to wait for another holder. None: as long as that one may be dead, that is until it gives a sign of
        life (a third of ``ttl``) or runs out.

    Raises
    ------
    BusyError
        If somebody else still holds it then.
    """
    lease = Lease(ws, name, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}", ttl)
    _acquire(lease, wait)
    try:
        with ws.pace.every(ttl.total_seconds() / 3, partial(_keep, lease), f"lease {name}"):
            yield lease
    finally:
        with suppress(UnavailableError):  # it runs out by itself
            ws.table.release(name, lease.holder)


def _acquire(lease: Lease, wait: float | None) -> None:
    ttl, pace = lease.ttl.total_seconds(), lease.ws.pace
    deadline = pace.now() + (ttl + 1 if wait is None else wait)
    first: tuple[str, int] | None = None
    while not lease.ws.table.acquire(lease.name, lease.holder, lease.ttl):
        holder = lease.ws.table.lease_holder(lease.name)
        lives = wait is None and first is not None and holder not in (None, first)
        whose = f"held by another process ({holder[0] if holder else 'just now'})"
        if lives or pace.now() >= deadline:
            raise BusyError(
                f"lease {lease.name!r} is {whose}; it is given back when that is done, or {ttl:g} s after that "
                "process died; try again then"
            )
        if first is None and holder is not None:
            first = holder
            _log.warning("waiting for lease %r, %s", lease.name, whose)
        pace.wait(ttl / POLLS)


def _keep(lease: Lease) -> None:
    """Renew a lease while its holder lives, however long a step takes."""
    with suppress(UnavailableError, BusyError):  # the holder finds out at its own next renewal
        lease.renew()


@dataclass(frozen=True)
class StagesLease:
    """The right to change the stages of a model: who has none can't."""

    lease: Lease
    model: str

    @property
    def ws(self) -> Workspace:
        """Where the lease is held."""
        return self.lease.ws

    @property
    def claim(self) -> Claim:
        """See :attr:`Lease.claim`."""
        return self.lease.claim

    def renew(self) -> None:
        """Before every act, see :meth:`Lease.renew`."""
        self.lease.renew()


@contextmanager
def hold_stages(ws: Workspace, model: str, wait: float | None = 0.0) -> Iterator[StagesLease]:
    """:func:`hold` the lease of a model's stages."""
    with hold(ws, stages_lease(model), ttl=STAGES_TTL, wait=wait) as lease:
        yield StagesLease(lease, model)


def stages_lease(name: str) -> str:
    """The lease under which the stages of model ``name`` are changed."""
    return f"stages:{name}"


def monitor_lease(name: str) -> str:
    """The lease under which the windows of model ``name`` are handled."""
    return f"monitor:{name}"
