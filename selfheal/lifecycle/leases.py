"""Leases: one process at a time changes the stages of a model, or runs its monitor."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

from selfheal.errors import BusyError, UnavailableError
from selfheal.lifecycle.workspace import Workspace

STAGES_TTL = timedelta(seconds=8)
"""Renewed before every act (an MLflow transition takes some .05 s, 2 s on a loaded box), so that it only runs out
when its holder died: then the next process may finish the work after this long."""

MONITOR_TTL = timedelta(minutes=5)
"""Longer than the slowest step of a monitor cycle, which is a heal that runs into its time limit."""

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Lease:
    """A lease that is held."""

    ws: Workspace
    name: str
    holder: str
    ttl: timedelta

    def renew(self) -> None:
        """Hold it for another ``ttl``.

        Raises
        ------
        BusyError
            If it ran out and somebody else took it: the work must stop here, the journal hands it on.
        """
        if not self.ws.table.acquire(self.name, self.holder, self.ttl, self.ws.clock()):
            raise BusyError(f"lease {self.name!r} ran out after {self.ttl.total_seconds():g} s and was taken over")


@contextmanager
def hold(ws: Workspace, name: str, *, ttl: timedelta, wait: float = 0.0) -> Iterator[Lease]:
    """Hold the lease ``name`` for the length of a block.

    Parameters
    ----------
    wait
        Seconds to wait for another holder.

    Raises
    ------
    BusyError
        If somebody else still holds it then.
    """
    lease = Lease(ws, name, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}", ttl)
    deadline = time.monotonic() + wait
    while not ws.table.acquire(name, lease.holder, ttl, ws.clock()):
        if time.monotonic() >= deadline:
            raise BusyError(
                f"lease {name!r} is held by another process; it is given back when that is done, or "
                f"{ttl.total_seconds():g} s after that process died; try again then"
            )
        time.sleep(POLL_SECONDS)
    try:
        yield lease
    finally:
        with suppress(UnavailableError):  # it runs out by itself
            ws.table.release(name, lease.holder)


def stages_lease(name: str) -> str:
    """The lease under which the stages of model ``name`` are changed."""
    return f"stages:{name}"


def monitor_lease(name: str) -> str:
    """The lease under which the windows of model ``name`` are handled."""
    return f"monitor:{name}"
