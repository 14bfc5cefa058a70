"""A window that cannot be handled is tried again, and given up in the end: it must not stop all later ones."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from selfheal.errors import BusyError, UnavailableError
from selfheal.loop.context import Context
from selfheal.loop.record import record_failed
from selfheal.loop.records import Cycle
from selfheal.steering.leases import MONITOR_TTL

TRY = "try"
"""Kind of the journal entries that say how handling a window failed; so tries are counted across processes."""

TRIES = 3
"""Runs that a window may fail: what a short outage of disk or memory did is over by the third."""

KILLED = "the process ended while it was handled (was it killed, for the memory it took perhaps?)"
"""Why a try failed whose process said nothing more."""

_log = logging.getLogger("selfheal.loop")


def attempt(ctx: Context, handle: Callable[[Context], Cycle], *, passing: tuple[type[Exception], ...] = ()) -> Cycle:
    """Handle a window; what it raises ends the run, until in the third it is recorded as failed and later ones go on.

    So is a window whose process was killed three times. A store that is away and a lease that is lost are no try, nor
    is what interrupts the process.

    Parameters
    ----------
    handle
        All steps of the window.
    passing
        Further errors that are no try.

    Raises
    ------
    Exception
        What ``handle`` raised, in the first two runs.
    """
    no_try: tuple[type[Exception], ...] = (UnavailableError, BusyError, *passing)
    with _under_way(ctx) as killed:
        if killed and _failed(ctx, KILLED) >= TRIES:
            return record_failed(ctx, f"it failed in {TRIES} runs, at last {KILLED}")
        try:
            return handle(ctx)
        except no_try:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            reason = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"
            tries = _failed(ctx, reason)
            _log.exception("%s, window %d: try %d of %d", ctx.name, ctx.ref.index, tries, TRIES)
            if tries < TRIES:
                raise
            return record_failed(ctx, f"it failed in {tries} runs, at last {reason}")


@contextmanager
def _under_way(ctx: Context) -> Iterator[bool]:
    """Hold the window's mark, a lease that nobody waits for; True where one is left by a process that is no more."""
    table, mark, window = ctx.ws.table, f"window:{ctx.name}", str(ctx.ref.index)
    left = table.lease_holder(mark)
    table.acquire(mark, window, MONITOR_TTL)
    try:
        yield left is not None and left[0] == window
    finally:
        with suppress(UnavailableError):
            table.release(mark, window)


def _failed(ctx: Context, reason: str) -> int:
    """Note a try of a window, and how many it had."""
    table, name, index = ctx.ws.table, ctx.name, ctx.ref.index
    table.journal_note(name, TRY, {"window": index, "reasons": [reason]}, "failed", ctx.ws.clock())
    return sum(e.intent["window"] == index for e in table.journal(name, kind=TRY))
