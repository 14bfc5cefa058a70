"""What a model needs though no window closes: stages, late labels and rows, decisions judged, old rows deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from selfheal.loop.context import Serving
from selfheal.loop.logged import note_late
from selfheal.loop.monitoring import settle_stages
from selfheal.loop.retention import forget_old
from selfheal.loop.sources import source_of
from selfheal.steering.policies import policy_of_record
from selfheal.steering.workspace import Workspace


def look_back(ws: Workspace, name: str, until: datetime | None = None) -> Serving:
    """Count the rows that came after their window, then :func:`~selfheal.loop.monitoring.settle_stages`.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError, InputError
        The database is away; the log cannot be read, or is not what the policy says.
    """
    note_late(ws, name, source_of(ws, name, policy_of_record(ws, name).policy, until))
    return settle_stages(ws, name, until)


def forgotten(serving: Serving) -> int:
    """Rows that :func:`~selfheal.loop.retention.forget_old` deleted."""
    done = forget_old(serving)
    return 0 if done is None else done.rows


def summary(before: Serving, after: Serving, rows: int) -> dict[str, Any]:
    """What came of it, for people; JSON-able.

    Returns
    -------
    dict
        ``version`` that serves, ``settled`` (whether another did before), ``judged`` windows and ``revised`` ones
        whose records say something else than before, and ``deleted`` rows.
    """
    known = {c["index"]: c for c in before.cycles}

    def changed(key: str) -> list[int]:
        return [c["index"] for c in after.cycles if c.get(key) != known.get(c["index"], {}).get(key)]

    judged = sorted({*changed("judged"), *changed("realised"), *changed("estimate")})
    return {
        "version": after.version,
        "settled": after.version != before.version,
        "judged": judged,
        "revised": changed("revision"),
        "deleted": rows,
    }
