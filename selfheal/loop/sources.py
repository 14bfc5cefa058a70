"""Where the rows of a model are read from, by its policy."""

from __future__ import annotations

from selfheal.log import OwnTable, Source
from selfheal.steering.workspace import Workspace


def source_of(ws: Workspace, name: str) -> Source:
    """The log of a model: the own table."""
    return OwnTable(ws.table, name)
