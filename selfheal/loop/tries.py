"""A window that cannot be handled is tried again, and given up in the end: it must not stop all later ones."""

from __future__ import annotations

import logging
import sys
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

    So is a window whose process was killed three times. A store that is away is no try, unless it is the state database
    and went in mid-window, nor is a lease that is lost or what interrupts the process.

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
        if killed and (given_up := _tried(ctx, KILLED)):
            return given_up
        try:
            return handle(ctx)
        except no_try:
            raise
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            if given_up := _tried(ctx, f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"):
                return given_up
            raise


@contextmanager
def _under_way(ctx: Context) -> Iterator[bool]:
    """Hold the window's mark, a lease that nobody waits for; True where one is left by a process that is no more."""
    table, mark, window = ctx.ws.table, f"window:{ctx.name}", str(ctx.ref.index)
    left = table.lease_holder(mark)
    table.acquire(mark, window, MONITOR_TTL)
    try:
        yield left is not None and left[0] == window
    finally:
        with suppress(UnavailableError):  # a database that goes in mid-window leaves the mark, and that is a try
            table.release(mark, window)


def _tried(ctx: Context, reason: str) -> Cycle | None:
    """Note a try of a window that failed; the record that it is given up, if that was the last."""
    table, name, index = ctx.ws.table, ctx.name, ctx.ref.index
    table.journal_note(name, TRY, {"window": index, "reasons": [reason]}, "failed", ctx.ws.clock())
    tries = sum(e.intent["window"] == index for e in table.journal(name, kind=TRY))
    _log.error("%s, window %d: try %d of %d: %s", name, index, tries, TRIES, reason, exc_info=sys.exception())
    return record_failed(ctx, f"it failed in {tries} runs, at last {reason}") if tries >= TRIES else None
