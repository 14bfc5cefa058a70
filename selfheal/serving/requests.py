"""Reads a request's body: MLflow's four forms into checked columns.

The usual body, numbers where numbers belong, is parsed straight into an array. Whatever is not usual (text that may
be a number, NaN, a missing column) is laid into a data frame and put to the model's own check, whose words the
client then reads: there is one judge of what is a good row.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.errors import InputError, nearest, shown
from selfheal.model import LISTED, MonitoredModel
from selfheal.serving.ids import next_ids
from selfheal.serving.scorer import Scorer
from selfheal.table.predictions import check_id, storable_text
from selfheal.table.values import event_us, from_us

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
PARAMS = ("event_time", "prediction_ids", "durable")
_NUMBERS = frozenset((int, float, bool))
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True)
class Request:
    """Checked rows and what the client said of them.

    Attributes
    ----------
    numbers
        float64 [n, d]: the numeric features in the model's order; NaN only where the reference has gaps too.
    words
        The text features, one list a column.
    ids, times
        Prediction ids, and event times in microseconds since 1970.
    durable
        Whether the answer waits until the rows are committed.
    """

    numbers: NDArray[np.float64]
    words: list[Sequence[str | None]]
    ids: list[str]
    times: list[int]
    durable: bool


def parse(body: bytes | bytearray, scorer: Scorer, *, latest_us: float) -> Request:
    """Read a body for the version that will answer it.

    Parameters
    ----------
    latest_us
        Event times after this are refused; infinity where the client's clock counts.

    Raises
    ------
    InputError
        Naming what is wrong and the remedy.
    """
    message = _message(body)
    forms = [name for name in FORMS if name in message]
    if len(forms) != 1:
        raise InputError(f"send exactly one of {', '.join(FORMS)}; the body has {', '.join(forms) or 'none of them'}")
    for key in message:
        if key != forms[0] and key != "params":
            raise InputError(f"unknown key {shown(key)} beside {forms[0]!r}{nearest(key, (*FORMS, 'params'))}")
    plain = _plain(forms[0], message[forms[0]], scorer)
    if plain is None:
        columns, n = _FORM[forms[0]](message[forms[0]], scorer.model)
        if n == 0:
            raise InputError(f"{forms[0]} holds no rows; send at least one")
        numbers, words = _checked(columns, scorer)
    else:
        numbers, words, n = plain, [], len(plain)
    params = message.get("params") or {}
    if not isinstance(params, dict):
        raise InputError("params must be an object: {event_time: [...], prediction_ids: [...], durable: true}")
    ids, times, durable = _params(params, n, latest_us) if params else (next_ids(n), [now_us()] * n, False)
    return Request(numbers, words, ids, times, durable)


def extent(body: bytes | bytearray, latest_us: float) -> tuple[int, int]:
    """How many rows a refused body holds (at least 1), and when the first happened: now, unless it says when.

    The body is read a second time, so that a good request costs no more for it.
    """
    try:
        message = _message(body)
    except InputError:
        return 1, now_us()
    rows = next((message[name] for name in FORMS if name in message), None)
    if isinstance(rows, dict):  # the rows of a split, or the first column
        rows = rows.get("data", next(iter(rows.values()), None))
    n = len(rows) if isinstance(rows, list) and rows else 1
    params = message.get("params")
    times = params.get("event_time") if isinstance(params, dict) else None
    try:
        at = _time(times[0] if isinstance(times, list) and times else times, 0)
    except InputError:
        return n, now_us()
    return n, at if at <= latest_us else now_us()


def now_us() -> int:
    """Microseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1000


def _message(body: bytes | bytearray) -> dict[str, Any]:
    try:
        message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = _lenient(body, error)
    if not isinstance(message, dict):
        raise InputError(f"the body must be a JSON object with one of {', '.join(FORMS)}")
    return message


def _lenient(body: bytes | bytearray, error: Exception) -> Any:
    """NaN and Infinity are no JSON, but common senders write them: read on, so that the column can be named."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InputError(f"the body is not JSON: {error}; send UTF-8 JSON, numbers as numbers") from error


Columns = Mapping[str, Sequence[Any]]


def _plain(form: str, value: Any, scorer: Scorer) -> NDArray[np.float64] | None:
    """Rows of nothing but finite numbers in the model's own order, as most clients send; else None, and no verdict."""
    if scorer.texts or form == "dataframe_records":
        return None
    rows = value
    if form == "dataframe_split":
        if type(value) is not dict or type(value.get("columns")) is not list:
            return None
        rows = value.get("data")
        if tuple(value["columns"]) != scorer.numeric:
            return None
    if type(rows) is not list or not rows:
        return None
    width = len(scorer.numeric)
    for row in rows:
        if type(row) is not list or len(row) != width or not _NUMBERS.issuperset(map(type, row)):
            return None
    try:
        numbers = np.array(rows, dtype=np.float64)
    except OverflowError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def _check_names(names: Collection[str], model: MonitoredModel) -> None:
    """Refuse unknown and missing columns before anything is done with the values."""
    for name in names:
        if name not in model.dtypes:
            hint = "it is what the model predicts; " if name == model.target else ""
            more = f" and {len(model.features) - LISTED} more" if len(model.features) > LISTED else ""
            raise InputError(
                f"unknown column {shown(name)}{nearest(name, model.features)} "
                f"({hint}leave it out; known: {', '.join(model.features[:LISTED])}{more})",
                reason="unknown column",
                column=name,
            )
    if names:
        model.check_columns(names)


def _twice(names: Iterable[str]) -> str:
    """The first name that comes a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    raise ValueError("every name comes once")


def _split(value: Any, model: MonitoredModel) -> tuple[Columns, int]:
    if not isinstance(value, dict) or not isinstance(value.get("columns"), list):
        raise InputError("dataframe_split must be an object with columns and data")
    names = [name if type(name) is str else str(name) for name in value["columns"]]
    held = dict.fromkeys(names)
    _check_names(held, model)
    if len(held) != len(names):
        raise InputError(f"dataframe_split names column {_twice(names)!r} twice")
    return _by_rows(names, value.get("data"), "dataframe_split.data")


def _records(value: Any, model: MonitoredModel) -> tuple[Columns, int]:
    if not isinstance(value, list) or not all(type(row) is dict for row in value):
        raise InputError("dataframe_records must be a list of objects, one a row")
    if not value:
        return {}, 0
    names = value[0]
    _check_names(names, model)
    try:
        columns = {name: [row[name] for row in value] for name in names}
    except KeyError as error:
        name = error.args[0]
        place = next(i for i, row in enumerate(value) if name not in row)
        raise InputError(
            f"row {place} lacks column {name!r}, which row 0 has; send it, null if unknown",
            reason="missing column",
            column=name,
        ) from None
    for place, row in enumerate(value):
        if len(row) != len(names):
            extra = next(name for name in row if name not in columns)
            raise InputError(
                f"row {place} has column {shown(extra)}, which row 0 lacks; send the same columns in each row",
                reason="unknown column",
                column=extra,
            )
    return columns, len(value)


def _instances(value: Any, model: MonitoredModel) -> tuple[Columns, int]:
    if isinstance(value, list) and value and type(value[0]) is dict:
        return _records(value, model)
    return _by_rows(list(model.features), value, "instances")


def _inputs(value: Any, model: MonitoredModel) -> tuple[Columns, int]:
    if not isinstance(value, dict):
        return _instances(value, model)
    _check_names(value, model)
    columns = {name: column if isinstance(column, list) else [column] for name, column in value.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    n = max(lengths.values(), default=0)
    for name, length in lengths.items():
        if length != n:
            raise InputError(f"inputs: column {name!r} has {length} values, others {n}; send as many for each")
    return columns, n


def _by_rows(names: list[str], rows: Any, where: str) -> tuple[Columns, int]:
    if not isinstance(rows, list) or not all(type(row) is list for row in rows):
        raise InputError(f"{where} must be a list of rows, each a list of {len(names)} values")
    for place, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(f"{where}: row {place} has {len(row)} values for {len(names)} columns")
    if not rows:
        return {}, 0
    return dict(zip(names, zip(*rows, strict=True), strict=True)), len(rows)


_FORM = {"dataframe_split": _split, "dataframe_records": _records, "instances": _instances, "inputs": _inputs}


def _checked(columns: Columns, scorer: Scorer) -> tuple[NDArray[np.float64], list[Sequence[str | None]]]:
    numeric = [columns[name] for name in scorer.numeric]
    if all(_NUMBERS.issuperset(map(type, column)) for column in numeric):
        try:
            numbers = np.array(numeric, dtype=np.float64).T if numeric else np.empty((_length(columns), 0))
        except OverflowError:
            numbers = np.full((1, 1), np.inf)  # an integer beyond any float: the model's check names it
        if np.isfinite(numbers).all():
            return numbers, checked_words(columns, scorer)
    return _judged(columns, scorer)


def _judged(columns: Columns, scorer: Scorer) -> tuple[NDArray[np.float64], list[Sequence[str | None]]]:
    """The model's own check of the rows: raises, or takes what the quick look could not."""
    frame = pd.DataFrame({name: pd.Series(list(column), dtype=object) for name, column in columns.items()})
    try:
        rows = scorer.model.check_rows(frame)
        numbers = rows[list(scorer.numeric)].to_numpy(dtype=np.float64)
    except InputError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        words = f"a numeric column holds a value that is not a number: {error}"
        raise InputError(words, reason="not a number") from error
    return numbers, checked_words(columns, scorer)


def checked_words(columns: Columns, scorer: Scorer) -> list[Sequence[str | None]]:
    """The text features in the model's order: text that a database can hold, None where a gap is known.

    Raises
    ------
    InputError
    """
    words: list[Sequence[str | None]] = []
    for name in scorer.texts:
        column = columns[name]
        if not all(type(value) is str and storable_text(value) for value in column):
            column = [_word(value, row, name, scorer.model) for row, value in enumerate(column)]
        words.append(column)
    return words


def _word(value: Any, row: int, name: str, model: MonitoredModel) -> str | None:
    if type(value) is str:
        if storable_text(value):
            return value
        words = f"column {name!r}, row {row}: the text holds a NUL or a lone surrogate; remove it"
        raise InputError(words, reason="not text", column=name)
    null = value is None or value != value
    if null and name in model.nullable:
        return None
    raise InputError(
        f"column {name!r}, row {row}: {shown(value)} is not text; send a JSON string",
        reason="null" if null else "not text",
        column=name,
    )


def _length(columns: Columns) -> int:
    return len(next(iter(columns.values()), ()))


def _params(params: dict[str, Any], n: int, latest_us: float) -> tuple[list[str], list[int], bool]:
    for key in params:
        if key not in PARAMS:
            raise InputError(f"unknown param {shown(key)}{nearest(key, PARAMS)}; known: {', '.join(PARAMS)}")
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
        words = f"prediction id {_twice(ids)!r} appears twice in one request; give each row its own"
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
    out = [_time(at, row) for row, at in enumerate(times)]
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


def _time(text: Any, row: int) -> int:
    try:
        at = text if isinstance(text, datetime) and text == text else datetime.fromisoformat(text)
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
