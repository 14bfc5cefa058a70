"""Loud words: a line in the journal, one in the log, a tag where people look."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from selfheal.errors import SelfhealError
from selfheal.steering.workspace import Workspace

ALERT = "alert"
"""Kind of the journal entries, and key of the tag on the serving version."""

_log = logging.getLogger("selfheal.loop")


def alert(ws: Workspace, name: str, what: str, reasons: Sequence[str], *, window: int, version: int) -> str:
    """Say that somebody must look at ``name``.

    Returns
    -------
    str
        What kept the tag from being written, or empty: an alert never fails for MLflow's sake.
    """
    text = f"window {window}: {what}: " + "; ".join(reasons)
    _log.error("%s, %s", name, text)
    intent = {"what": what, "window": window, "version": version, "reasons": list(reasons)}
    ws.table.journal_note(name, ALERT, intent, "said", ws.clock())
    try:
        ws.registry.set_tag(name, version, ALERT, text)
    except SelfhealError as error:
        return str(error)
    return ""
