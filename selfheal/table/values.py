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


def to_us(at: datetime) -> int:
    """Microseconds since 1970 (negative before) of an aware time.

    >>> to_us(datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC))
    -1000000
    """
    if at.tzinfo is None:
        raise InputError(f"the time {at} has no time zone; give aware times, UTC where possible")
    return (at - _EPOCH) // _MICROSECOND


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
