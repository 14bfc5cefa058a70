"""A window's report among the runs of a project."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class WindowRun:
    """One window's report among the runs of a project.

    Attributes
    ----------
    project
        The model's name.
    window, name
        Index of the window, and what the run is called.
    at
        Event time at which the window ended, aware.
    tags, metadata
        What it can be filtered by.
    """

    project: str
    window: int
    name: str
    at: datetime
    tags: tuple[str, ...]
    metadata: Mapping[str, str]
