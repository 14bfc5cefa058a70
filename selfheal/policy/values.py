"""Values of a policy that are written as text: names, durations, windows."""

from __future__ import annotations

import datetime as dt
import re
from fractions import Fraction
from typing import Annotated, NamedTuple

from pydantic import BeforeValidator, PlainSerializer

from selfheal.errors import InputError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,47}")

LONGEST_DURATION = dt.timedelta(days=36_500)
"""A century: with it the bounds of every window around an event time can still be represented."""


def check_name(name: str) -> str:
    """A model's name, if every store can hold it: PostgreSQL cuts a table's name, ``predictions_<name>``, at 63 bytes.

    Raises
    ------
    InputError
        If it is not 1 to 48 letters, digits, ``_`` and ``-``, or begins or ends with what is not allowed.

    >>> check_name("fraud")
    'fraud'
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot name a model ({len(name)} characters): 1 to 48 letters, digits, '_' and '-', beginning "
            "with a letter or digit; choose another name"
        )
    if name.endswith("-base"):
        raise InputError(f"{name!r} ends in '-base', the name of another model's bases; choose another name")
    return name


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


class WindowSpec(NamedTuple):
    """How the log is cut: by event time (``duration``) or by arrival (``rows``); exactly one is set."""

    duration: dt.timedelta | None = None
    rows: int | None = None

    @classmethod
    def parse(cls, value: object) -> WindowSpec:
        """Read ``"1h"`` or ``"365 rows"``."""
        if isinstance(value, WindowSpec):
            return value
        if match := re.fullmatch(r"\s*([1-9]\d*)\s*rows\s*", str(value)):
            return cls(rows=int(match[1]))
        try:
            duration = parse_duration(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is not a window; write a duration such as 1h, or a count such as 365 rows"
            ) from None
        if duration <= dt.timedelta(0):
            raise ValueError(f"{value!r} is an empty window")
        return cls(duration=duration)

    def __str__(self) -> str:
        return f"{self.rows} rows" if self.duration is None else format_duration(self.duration)


def parse_share(value: object) -> Fraction:
    """``"1/1000"`` or ``0.001`` as a fraction above 0 and below 1.

    >>> parse_share("1/1000") == parse_share(0.001)
    True
    """
    try:
        share = Fraction(str(value).replace(" ", ""))
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"{value!r} is not a share; write a fraction such as 1/1000, or 0.001") from None
    if not 0 < share < 1:
        raise ValueError(f"{value!r} is no share that can be exceeded; write one above 0 and below 1, such as 1/1000")
    return share


Share = Annotated[Fraction, BeforeValidator(parse_share), PlainSerializer(str)]
Duration = Annotated[dt.timedelta, BeforeValidator(parse_duration), PlainSerializer(format_duration)]
Window = Annotated[WindowSpec, BeforeValidator(WindowSpec.parse), PlainSerializer(str)]
