"""A window that cannot be handled is tried again, and given up in the end: it must not stop all later ones."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

from selfheal.errors import BusyError, UnavailableError
from selfheal.loop.context import Context
from selfheal.loop.record import record_failed
from selfheal.loop.records import Cycle

TRY = "try"
"""Kind of the journal entries that say how handling a window failed; so tries are counted across processes."""

TRIES = 3
"""Runs in which a window may raise: what a short outage of disk or memory did is over by the third."""

_log = logging.getLogger("selfheal.loop")


def attempt(ctx: Context, handle: Callable[[Context], Cycle], *, passing: tuple[type[Exception], ...] = ()) -> Cycle:
    """Handle a window; what it raises ends the run, until in the third it is recorded as failed and later ones go on.

    A store that is away and a lease that is lost are no try, nor is what interrupts the process.

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
    try:
        return handle(ctx)
    except no_try:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}: {error}"
        ws, name, index = ctx.ws, ctx.name, ctx.ref.index
        ws.table.journal_note(name, TRY, {"window": index, "reasons": [reason]}, "raised", ws.clock())
        tries = sum(e.intent["window"] == index for e in ws.table.journal(name, kind=TRY))
        _log.exception("%s, window %d: try %d of %d", name, index, tries, TRIES)
        if tries < TRIES:
            raise
        return record_failed(ctx, f"it raised in {tries} runs, at last {reason}")
