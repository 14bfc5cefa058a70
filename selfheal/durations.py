"""Lengths of time as a policy writes them: ``5m``, ``1h``, ``30s``, ``365d``."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

LONGEST_DURATION = dt.timedelta(days=36_500)
"""A century: with it the bounds of every window around an event time can still be represented."""


def parse_duration(value: object) -> dt.timedelta:
    """``"5m"``, ``"1h"``, ``"30s"``, ``"365d"`` as a timedelta.

    >>> parse_duration("90s")
    datetime.timedelta(seconds=90)
    """
    if isinstance(value, dt.timedelta):
        seconds = value.total_seconds()
    elif match := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", str(value)):
        seconds = float(match[1]) * _UNITS[match[2]]
    else:
        raise ValueError(f"{value!r} is not a duration; write a number and s, m, h or d, such as 5m")
    if seconds > LONGEST_DURATION.total_seconds():
        raise ValueError(f"{value!r} is longer than {LONGEST_DURATION.days}d, a century; write a shorter duration")
    return dt.timedelta(seconds=seconds)


def format_duration(value: dt.timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads back.

    >>> format_duration(dt.timedelta(hours=1))
    '1h'
    """
    seconds = value.total_seconds()
    for unit in ("d", "h", "m"):
        if seconds and seconds % _UNITS[unit] == 0:
            return f"{seconds / _UNITS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds:f}s"


Duration = Annotated[dt.timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
