"""Which version served when, as the journal has it."""

from __future__ import annotations

from datetime import datetime

from selfheal.steering.models import serving_pointer
from selfheal.steering.workspace import Workspace


def served_since(ws: Workspace, name: str) -> list[tuple[datetime, int]]:
    """The versions that have served, oldest first, each with the time at which it was settled.

    Raises
    ------
    NotFoundError
        No such model.
    """
    times: list[tuple[datetime, int]] = []
    for entry in ws.table.journal(name):
        look = (entry.outcome or {}).get("look")
        settled = look["settled"] if look else None
        if settled is not None and (not times or times[-1][1] != settled):
            times.append((entry.at, settled))
    pointer = serving_pointer(ws, name)
    return times or [(pointer.settled_at, pointer.version)]
