"""Loud words: a line in the journal, one in the log, a tag where people look."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from selfheal.errors import SelfhealError
from selfheal.loop.context import Context

ALERT = "alert"
"""Kind of the journal entries, and key of the tag on the serving version."""

GIVEN_UP = "given up"
"""What is said of a window that could not be handled in any of its tries."""

_log = logging.getLogger("selfheal.loop")


def alert(ctx: Context, what: str, reasons: Sequence[str]) -> str:
    """Say that somebody must look at a window.

    Returns
    -------
    str
        What kept the tag from being written, or empty: an alert never fails for MLflow's sake.
    """
    ws, window = ctx.ws, ctx.ref.index
    text = f"window {window}: {what}: " + "; ".join(reasons)
    _log.error("%s, %s", ctx.name, text)
    intent = {"what": what, "window": window, "version": ctx.version, "reasons": list(reasons)}
    ws.table.journal_note(ctx.name, ALERT, intent, "said", ws.clock())
    try:
        ws.registry.set_tag(ctx.name, ctx.version, ALERT, text)
    except SelfhealError as error:
        return str(error)
    return ""
