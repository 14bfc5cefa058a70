"""Spans of the week, ``"Fri 18:00 - Mon 06:00"``, and whether a moment lies in one, by the clock on somebody's wall."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, PlainSerializer

from selfheal.errors import nearest

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY, WEEK = 24 * 60, 7 * 24 * 60
"""Minutes in them."""

_POINT = r"(?:([A-Za-z]{3})[a-z]*\s+)?(\d{1,2}):(\d{2})"
_SPAN = re.compile(rf"\s*{_POINT}\s*[-\N{{EN DASH}}]\s*{_POINT}\s*")


class Span(NamedTuple):
    """A span of every week, or of every day.

    Attributes
    ----------
    start, end
        Minutes since Monday 00:00, or since midnight where it is of every day; the end is not in it. A span whose end
        is not after its start runs over the end of the week, or of the day.
    daily
        Whether it is of every day.
    """

    start: int
    end: int
    daily: bool

    @classmethod
    def parse(cls, value: object) -> Span:
        """Read ``"Fri 18:00 - Mon 06:00"``, or ``"22:00 - 06:00"`` for every day.

        Raises
        ------
        ValueError
            Naming what is wrong with it.
        """
        if isinstance(value, Span):
            return value
        match = _SPAN.fullmatch(str(value))
        if match is None or (match[1] is None) != (match[4] is None):
            raise ValueError(f"{value!r} is no span; write Fri 18:00 - Mon 06:00, or 22:00 - 06:00 for every day")
        start, end = (_minute(value, *match.groups()[k : k + 3]) for k in (0, 3))
        around = DAY if match[1] is None else WEEK
        if start % around == end % around:
            raise ValueError(f"{value!r} begins where it ends; for always write release.approval: manual")
        return cls(start % around, end % around, match[1] is None)

    def __contains__(self, minute: object) -> bool:
        """Whether a minute of the week lies in it."""
        if not isinstance(minute, int):
            return False
        at = minute % DAY if self.daily else minute
        return self.start <= at < self.end if self.start < self.end else not self.end <= at < self.start

    def __str__(self) -> str:
        return f"{_shown(self.start, self.daily)} - {_shown(self.end, self.daily)}"


Hours = Annotated[Span, BeforeValidator(Span.parse), PlainSerializer(str)]


def check_zone(name: object) -> str:
    """A time zone by its IANA name.

    Raises
    ------
    ValueError
        Naming the nearest one.

    >>> check_zone("UTC")
    'UTC'
    """
    zones = _zones()
    if str(name) not in zones:
        raise ValueError(f"{name!r} is no time zone{nearest(name, zones)}; write an IANA name such as Europe/Berlin")
    return str(name)


Zone = Annotated[str, BeforeValidator(check_zone)]


@cache
def _zones() -> frozenset[str]:
    """Their names, for which each zone's file is opened: once a process."""
    return frozenset(available_timezones() | {"UTC"})


def covering(spans: Sequence[Span], zone: str, at: datetime) -> Span | None:
    """The first span in which an aware time lies, by the clock of ``zone``; None where it lies in none.

    >>> str(covering([Span.parse("Fri 18:00 - Mon 06:00")], "UTC", datetime(2026, 5, 2, tzinfo=UTC)))
    'Fri 18:00 - Mon 06:00'
    """
    local = at.astimezone(_zone(zone))
    minute = local.weekday() * DAY + local.hour * 60 + local.minute
    return next((span for span in spans if minute in span), None)


@cache
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # a system without zones has UTC all the same


def _minute(value: object, day: str | None, hours: str, minutes: str) -> int:
    """Minutes since Monday, or since midnight without a day."""
    if int(hours) * 60 + int(minutes) > DAY or int(minutes) > 59:
        raise ValueError(f"{value!r}: {hours}:{minutes} is no time of day; write 00:00 to 24:00")
    name = "Mon" if day is None else day.capitalize()
    if name not in DAYS:
        raise ValueError(f"{value!r}: {day!r} is no day{nearest(name, DAYS)} (days: {', '.join(DAYS)})")
    return DAYS.index(name) * DAY + int(hours) * 60 + int(minutes)


def _shown(minute: int, daily: bool) -> str:
    day = "" if daily else f"{DAYS[minute // DAY]} "
    return f"{day}{minute % DAY // 60:02}:{minute % 60:02}"
