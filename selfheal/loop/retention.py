"""``log.keep``: rows of the own table that are older are deleted, but for those that somebody may still ask for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from selfheal.errors import NotFoundError, SelfhealError
from selfheal.loop.context import Serving
from selfheal.loop.questions import open_question
from selfheal.loop.trial import LABELS_FROM
from selfheal.registry.versions import VersionInfo
from selfheal.steering.look import STAGING
from selfheal.table import WindowRef
from selfheal.table.retention import Forgotten

RETENTION = "retention"
"""Kind of the journal entries that say what was deleted."""

EVERY = timedelta(days=1)
ROWS = 200_000
"""Rows that one run deletes, some ten seconds; the next run goes on."""
LATEST = 24
"""Windows whose rows stay however old they are: labels before a heal, estimates to be judged and the watch ask for
twelve at most."""

_log = logging.getLogger("selfheal.loop")


def forget_old(serving: Serving) -> Forgotten | None:
    """Delete what the policy keeps no longer, at most once a day.

    What stays: rows of windows that were not handled yet, of the last :data:`LATEST` windows, of an open question's,
    and of the windows that a registered version came from; where one waits in Staging for labels or an audit, all
    rows from its window on.

    Returns
    -------
    Forgotten or None
        None where nothing was to be done, or a store is away, which is logged: the next run asks again.
    """
    keep = None if serving.policy.log is None else serving.policy.log.keep
    if keep is None:
        return None
    try:
        now = serving.until or serving.ws.now()
        if not _due(serving, now):
            return None
        return _forget(serving, now, now - keep)
    except SelfhealError as error:
        _log.warning("%s: old rows were not deleted: %s", serving.name, error)
        return None


def _due(serving: Serving, now: datetime) -> bool:
    last = serving.ws.table.journal(serving.name, last=1, kind=RETENTION)
    return not last or abs(now - datetime.fromisoformat(last[0].intent["until"])) >= EVERY


def _forget(serving: Serving, now: datetime, before: datetime) -> Forgotten:
    table, name = serving.ws.table, serving.name
    versions = list(serving.registered().values())
    needed = list(_latest(serving))
    needed += [ref for info in versions if info.stage == STAGING for ref in _made_of(serving, info)]
    bound = min([before, *(ref.start for ref in needed)])
    asked = open_question(serving.ws, name)
    evidence = [ref for info in versions for ref in _made_of(serving, info)]
    evidence += [] if asked is None else _window(serving, asked.window)
    kept = [(ref.start, ref.end) for ref in evidence]
    done = table.retention.forget(table.schema(name), bound, kept, ROWS)
    table.shadows.forget(table.schema(name), bound)
    if not done.more:
        intent = {"until": now.isoformat(), "before": bound.isoformat(), "reasons": ["log.keep"]}
        table.journal_note(name, RETENTION, intent, f"{done.rows} rows deleted", serving.ws.clock())
    if done.rows:
        _log.warning("%s: %d rows from before %s were deleted (log.keep)", name, done.rows, f"{bound:%Y-%m-%d %H:%M}")
    return done


def _latest(serving: Serving) -> Iterator[WindowRef]:
    """The last windows, and those that wait to be handled."""
    table, name = serving.ws.table, serving.name
    for cycle in table.cycles(name, last=LATEST):
        yield from _window(serving, cycle["index"])
    yield from table.retention.unhandled(name)


def _made_of(serving: Serving, info: VersionInfo) -> Iterator[WindowRef]:
    """The window that a version was made from, and the first whose labels it has not seen."""
    for tag in ("window", LABELS_FROM):
        if info.tags.get(tag, "").isdigit():
            yield from _window(serving, int(info.tags[tag]))


def _window(serving: Serving, index: int) -> Iterator[WindowRef]:
    try:
        yield serving.ws.table.window(serving.name, index)
    except NotFoundError:
        return  # of a log that was read before, or restored from a backup
