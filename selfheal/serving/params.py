"""What a request says of its rows: ids, event times, whether the answer waits for the commit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from selfheal.errors import InputError, shown
from selfheal.serving.ids import next_ids
from selfheal.table.predictions import check_id
from selfheal.table.values import event_us, from_us

PARAMS = ("event_time", "prediction_ids", "durable")


def read_params(params: Mapping[str, Any], n: int, latest_us: float) -> tuple[list[str], list[int], bool]:
    """Ids, event times and durability of ``n`` rows; what is not known is nobody's business here.

    Raises
    ------
    InputError
        Naming the param, the value and the remedy.
    """
    durable = params.get("durable", False)
    if type(durable) is not bool:
        raise InputError(f"params.durable is {shown(durable)}; send true or false")
    ids = params.get("prediction_ids")
    times = params.get("event_time")
    return (
        next_ids(n) if ids is None else checked_ids(ids, n, "params.prediction_ids"),
        [now_us()] * n if times is None else checked_times(times, n, latest_us, "params.event_time"),
        durable,
    )


def checked_ids(ids: Any, n: int, where: str) -> list[str]:
    """Prediction ids [n]: a list, each printable and once; ``where`` says in a message who gave them.

    Raises
    ------
    InputError
    """
    ids = [ids] if isinstance(ids, str) else ids
    if not isinstance(ids, list) or len(ids) != n:
        raise InputError(f"{where} must be a list of {n} ids, one a row")
    for prediction_id in ids:
        check_id(prediction_id)
    if len(set(ids)) != n:
        words = f"prediction id {first_twice(ids)!r} appears twice in one request; give each row its own"
        raise InputError(words, reason="id", column="prediction_ids")
    return ids


def checked_times(times: Any, n: int, latest_us: float, where: str) -> list[int]:
    """Event times [n] in microseconds since 1970: ISO text or datetimes with their zone, none after ``latest_us``.

    Raises
    ------
    InputError
    """
    times = [times] if isinstance(times, str) else times
    if not isinstance(times, list) or len(times) != n:
        raise InputError(f"{where} must be a list of {n} times, one a row")
    out = [read_time(at, row) for row, at in enumerate(times)]
    if not out:
        return out
    newest = max(out)
    if newest > latest_us:
        row = out.index(newest)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        raise InputError(
            f"event_time of row {row}, {from_us(newest).isoformat()}, is in the future (it is {now}); correct the "
            "sender's clock, or start the service with an event clock for a replay",
            reason="time",
            column="event_time",
        )
    return out


def read_time(text: Any, row: int) -> int:
    """Microseconds since 1970 of a time: text, or a datetime."""
    try:
        at = text if isinstance(text, datetime) and text == text else datetime.fromisoformat(text)  # NaT is none
    except (ValueError, TypeError):
        fault = f", {shown(text)}, is not a time; send 2026-01-31T12:00:00Z"
    else:
        if at.tzinfo is None:
            fault = f", {shown(text)}, has no time zone; append Z for UTC, as in 2026-01-31T12:00:00Z"
        else:
            try:
                return event_us(at)
            except InputError as error:
                fault = f": {error}"
    raise InputError(f"event_time of row {row}{fault}", reason="time", column="event_time")


def first_twice(names: Iterable[str]) -> str:
    """The first name that comes a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise ValueError("every name comes once")


def now_us() -> int:
    """Microseconds since 1970 by the clock here."""
    return time.time_ns() // 1000
