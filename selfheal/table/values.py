"""Times and JSON records, to the database and back."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from selfheal.errors import InputError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

EARLIEST, LATEST = datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
"""Event times lie in ``[EARLIEST, LATEST)``: the whole years that pandas' nanoseconds can hold, which also leaves room
for the bounds of any window around them. What a broken clock or an unset field says (the years 1 and 9999) is outside.
"""


def to_us(at: datetime) -> int:
    """Microseconds since 1970 (negative before) of an aware time.

    >>> to_us(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
    -1000000
    """
    if at.tzinfo is None:
        raise InputError(f"the time {at} has no time zone; give aware times, UTC where possible")
    return (at - _EPOCH) // _MICROSECOND


def event_us(at: Any) -> int:
    """:func:`to_us` of an event time.

    Raises
    ------
    InputError
        If it is no time, has no time zone, or lies outside ``[EARLIEST, LATEST)``.

    >>> event_us(datetime(1, 1, 1, tzinfo=UTC))
    Traceback (most recent call last):
    selfheal.errors.InputError: the event time 0001-01-01T00:00:00+00:00 is not between the years 1678 and 2261; \
correct the sender's clock, or leave out a time that is not known
    """
    if not isinstance(at, datetime) or at != at:  # NaT is a datetime, and not itself
        raise InputError(f"the event time {at!r} is not a time; give aware datetimes, UTC where possible")
    us = to_us(at)
    if not to_us(EARLIEST) <= us < to_us(LATEST):
        raise InputError(
            f"the event time {at.isoformat()} is not between the years {EARLIEST.year} and {LATEST.year - 1}; "
            "correct the sender's clock, or leave out a time that is not known"
        )
    return us


def from_us(us: int) -> datetime:
    """The UTC time of :func:`to_us`.

    >>> from_us(-1000000)
    datetime.datetime(1969, 12, 31, 23, 59, 59, tzinfo=datetime.timezone.utc)
    """
    return _EPOCH + timedelta(microseconds=us)


def duration_us(duration: timedelta) -> int:
    """A duration in microseconds."""
    return duration // _MICROSECOND


def to_json(record: dict[str, Any]) -> str:
    """A record as JSON; numpy values, times and paths are written plainly."""
    return json.dumps(record, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"a record cannot hold {value!r} of type {type(value).__name__}")
