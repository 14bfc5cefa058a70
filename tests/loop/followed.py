"""A pass followed room by room: how often whoever reads along changes the room, and how often into a known module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import selfheal

ROOT = Path(selfheal.__file__).parent
EVERYWHERE = {"errors", "members", "settings", "svg"}
"""What every room may use: none of its own."""


@dataclass
class Way:
    """Stops in the order in which they were first made.

    A stop is the first call of a function of one module by one of another room; a room is a package or a module right
    below ``selfheal``. Properties and what Python calls by itself (``__init__``, a comprehension) are no functions.
    """

    stops: dict[tuple[str, str], None] = field(default_factory=dict)

    @property
    def turns_back(self) -> int:
        """Stops in a module in which the pass had been before."""
        been: set[str] = set()
        turns = 0
        for caller, called in self.stops:
            turns += called in been
            been |= {caller, called}
        return turns


def _module(code: CodeType) -> str:
    path = Path(code.co_filename)
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts) if path.is_relative_to(ROOT) else ""
    return "" if name.partition(".")[0] in EVERYWHERE else name


def _properties() -> set[CodeType]:
    held = [v for name, m in list(sys.modules.items()) if name.startswith("selfheal") for v in list(vars(m).values())]
    parts = [part for each in held if isinstance(each, type) for part in vars(each).values()]
    return {part.fget.__code__ for part in parts if isinstance(part, property) and part.fget is not None}


@contextmanager
def followed() -> Iterator[Way]:
    """What this thread calls, until the end."""
    way, calls = Way(), list[tuple[str, str, CodeType]]()
    modules: dict[CodeType, str] = {}

    def of(code: CodeType) -> str:
        return modules[code] if code in modules else modules.setdefault(code, _module(code))

    def called(frame: FrameType, event: str, _: Any) -> None:
        code, caller = frame.f_code, frame.f_back
        if event != "call" or not of(code) or code.co_name.startswith(("<", "__")):
            return
        while caller is not None and not of(caller.f_code):
            caller = caller.f_back
        if caller is not None and of(caller.f_code).partition(".")[0] != of(code).partition(".")[0]:
            calls.append((of(caller.f_code), of(code), code))

    sys.setprofile(called)
    try:
        yield way
    finally:
        sys.setprofile(None)
        read = _properties()
        way.stops.update(dict.fromkeys((caller, of_) for caller, of_, code in calls if code not in read))
