"""Reads a request's body: MLflow's four forms into checked columns.

The usual body, numbers where numbers belong, is parsed straight into an array. Whatever is not usual (text that may
be a number, NaN, a missing column) is laid into a data frame and put to the model's own check, whose words the
client then reads: there is one judge of what is a good row.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from selfheal.errors import InputError, nearest, shown
from selfheal.parts.lists import NUMBERS
from selfheal.parts.signature import LISTED, Signature
from selfheal.serving.checked import Columns, checked
from selfheal.serving.ids import next_ids
from selfheal.serving.params import PARAMS, first_twice, now_us, read_params, read_time
from selfheal.serving.repeats import refuse_repeats
from selfheal.serving.scorer import Scorer
from selfheal.serving.split import Lists, read_split

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_decode = msgspec.json.Decoder().decode


class Reading(NamedTuple):
    """By what a body is read.

    Attributes
    ----------
    latest_us
        Event times after this are refused; infinity where the client's clock counts.
    ignores
        Whether columns that the model does not have are left out, and not refused.
    rows, text
        The most rows of a request, and characters of a text.
    waits
        Whether reading may take as long as opening what judges odd values takes, the first time.
    """

    latest_us: float = math.inf
    ignores: bool = False
    rows: int = 200_000
    text: int = 100_000
    waits: bool = True


class Request(NamedTuple):
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
    ignored
        What of the request has no meaning here, some of it by name.
    lists
        ``numbers`` as lists, one a row, where they came as such and nothing had to be done with them.
    """

    numbers: NDArray[np.float64]
    words: list[Sequence[str | None]]
    ids: list[str]
    times: list[int]
    durable: bool
    ignored: tuple[str, ...] = ()
    lists: Lists | None = None


def parse(body: bytes | bytearray, scorer: Scorer, reading: Reading) -> Request:
    """Read one of MLflow's JSON bodies for the version that will answer it.

    Raises
    ------
    InputError
        Naming what is wrong and the remedy.
    """
    if not scorer.texts and (split := read_split(body, scorer.numeric)) is not None and not _unknown(split[1]):
        lists, params = split
        _check_rows(len(lists), reading)
        request = requested(np.array(lists, dtype=np.float64), [], params, reading)
        return request._replace(lists=lists)
    message = read_message(body)
    forms = [name for name in FORMS if name in message]
    if len(forms) != 1:
        raise InputError(f"send exactly one of {', '.join(FORMS)}; the body has {', '.join(forms) or 'none of them'}")
    form = forms[0]
    ignored = [key for key in message if key != form and key != "params"]
    params = message.get("params") or {}
    if not isinstance(params, dict):
        raise InputError("params must be an object: {event_time: [...], prediction_ids: [...], durable: true}")
    if params:
        ignored += [f"params.{key}" for key in _unknown(params)]
    plain = _plain(form, message[form], scorer)
    if plain is not None:
        _check_rows(len(plain), reading)
        return requested(plain, [], params, reading, ignored)
    columns, n = _FORM[form](message[form], scorer.signature, reading)
    if n == 0:
        raise InputError(f"{form} holds no rows; send at least one")
    ignored += [name for name in columns if not scorer.signature.knows(name)]
    return check_columns(columns, n, scorer, params, reading, ignored)


def check_columns(
    columns: Columns, n: int, scorer: Scorer, params: Mapping[str, Any], reading: Reading, ignored: Sequence[str] = ()
) -> Request:
    """A request of ``n`` rows by column; columns that the model does not have are left out, lists made columns.

    Raises
    ------
    InputError
        A value is wrong, or there are too many.
    """
    _check_rows(n, reading)
    if not columns:
        scorer.signature.check_columns(())
    if ignored:
        columns = {name: columns[name] for name in columns if scorer.signature.knows(name)}
    numbers, words = checked(scorer.signature.spread(columns), scorer, waits=reading.waits)
    for name, column in zip(scorer.texts, words, strict=True):
        if max((len(text) for text in column if text is not None), default=0) > reading.text:
            words_ = f"column {name!r} holds a text of more than {reading.text} characters; cut it"
            raise InputError(words_, reason="long text", column=name)
    return requested(numbers, words, params, reading, ignored)


def requested(
    numbers: NDArray[np.float64],
    words: list[Sequence[str | None]],
    params: Mapping[str, Any],
    reading: Reading,
    ignored: Sequence[str] = (),
) -> Request:
    """Checked rows, and what the params say of them."""
    n = len(numbers)
    if not params:
        return Request(numbers, words, next_ids(n), [now_us()] * n, False, _some(ignored))
    return Request(numbers, words, *read_params(params, n, reading.latest_us), _some(ignored))


def _unknown(params: Mapping[str, Any]) -> list[str]:
    return [key for key in params if key not in PARAMS] if params else []


def _some(ignored: Sequence[str]) -> tuple[str, ...]:
    return tuple(shown(name)[1:-1] for name in ignored[:LISTED]) if ignored else ()


def _check_rows(n: int, reading: Reading) -> None:
    if n > reading.rows:
        raise InputError(f"the request holds {n} rows, more than {reading.rows}; send them in several")


def extent(body: bytes | bytearray, latest_us: float) -> tuple[int, int]:
    """How many rows a refused body holds (at least 1), and when the first happened: now, unless it says when.

    The body is read a second time, so that a good request costs no more for it.
    """
    try:
        message = read_message(body)
    except InputError:
        return 1, now_us()
    rows = next((message[name] for name in FORMS if name in message), None)
    if isinstance(rows, dict):  # the rows of a split, or the first column
        rows = rows.get("data", next(iter(rows.values()), None))
    n = len(rows) if isinstance(rows, list) and rows else 1
    params = message.get("params")
    times = params.get("event_time") if isinstance(params, dict) else None
    try:
        at = read_time(times[0] if isinstance(times, list) and times else times, 0)
    except InputError:
        return n, now_us()
    return n, at if at <= latest_us else now_us()


def read_message(body: bytes | bytearray) -> dict[str, Any]:
    """A body as a JSON object.

    Raises
    ------
    InputError
        It is none, or has a key twice.
    """
    try:
        message = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        message = _lenient(body, error)
    if not isinstance(message, dict):
        raise InputError(f"the body must be a JSON object with one of {', '.join(FORMS)}")
    refuse_repeats(body, message)
    return message


def _lenient(body: bytes | bytearray, error: Exception) -> Any:
    """NaN and Infinity are no JSON, but common senders write them: read on, so that the column can be named."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise InputError(f"the body is not JSON: {error}; send UTF-8 JSON, numbers as numbers") from error


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
        if type(row) is not list or len(row) != width or not NUMBERS.issuperset(map(type, row)):
            return None
    try:
        numbers = np.array(rows, dtype=np.float64)
    except OverflowError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def check_names(names: Collection[str], model: Signature, reading: Reading) -> None:
    """Refuse unknown and missing columns before anything is done with the values."""
    for name in () if reading.ignores else names:
        if not model.knows(name):
            hint = "it is what the model predicts; " if name == model.target else ""
            more = f" and {len(model.raw) - LISTED} more" if len(model.raw) > LISTED else ""
            raise InputError(
                f"unknown column {shown(name)}{nearest(name, model.raw)} "
                f"({hint}leave it out; known: {', '.join(model.raw[:LISTED])}{more})",
                reason="unknown column",
                column=name,
            )
    if names:
        model.check_columns(names)


def _split(value: Any, model: Signature, reading: Reading) -> tuple[Columns, int]:
    if not isinstance(value, dict) or not isinstance(value.get("columns"), list):
        raise InputError("dataframe_split must be an object with columns and data")
    names = [name if type(name) is str else str(name) for name in value["columns"]]
    fields = dict.fromkeys(names)
    check_names(fields, model, reading)
    if len(fields) != len(names):
        raise InputError(f"dataframe_split names column {first_twice(names)!r} twice")
    return _by_rows(names, value.get("data"), "dataframe_split.data")


def _records(value: Any, model: Signature, reading: Reading) -> tuple[Columns, int]:
    if not isinstance(value, list) or not all(type(row) is dict for row in value):
        raise InputError("dataframe_records must be a list of objects, one a row")
    if not value:
        return {}, 0
    names = value[0]
    check_names(names, model, reading)
    try:
        columns: dict[str, Sequence[Any]] = {
            name: [row[name] for row in value] if model.knows(name) else () for name in names
        }
    except KeyError as error:
        name = error.args[0]
        place = next(i for i, row in enumerate(value) if name not in row)
        raise InputError(
            f"row {place} lacks column {name!r}, which row 0 has; send it, null if unknown",
            reason="missing column",
            column=name,
        ) from None
    for place, row in enumerate(value):
        if len(row) != len(names) and not reading.ignores:
            extra = next(name for name in row if name not in columns)
            raise InputError(
                f"row {place} has column {shown(extra)}, which row 0 lacks; send the same columns in each row",
                reason="unknown column",
                column=extra,
            )
    return columns, len(value)


def _instances(value: Any, model: Signature, reading: Reading) -> tuple[Columns, int]:
    if isinstance(value, dict):
        return _inputs(value, model, reading)  # one object: by column, as MLflow reads it
    if isinstance(value, list) and value and type(value[0]) is dict:
        return _records(value, model, reading)
    first = value[0] if model.lists and isinstance(value, list) and value else None
    with_lists = isinstance(first, list) and list in map(type, first)
    return _by_rows(list(model.raw if with_lists else model.features), value, "instances")


def _inputs(value: Any, model: Signature, reading: Reading) -> tuple[Columns, int]:
    if not isinstance(value, dict):
        return _instances(value, model, reading)
    check_names(value, model, reading)
    columns = {name: column if _is_column(column, name in model.lists) else [column] for name, column in value.items()}
    lengths = {name: len(column) for name, column in columns.items()}
    n = max(lengths.values(), default=0)
    for name, length in lengths.items():
        if length != n:
            raise InputError(f"inputs: column {name!r} has {length} values, others {n}; send as many for each")
    return columns, n


def _is_column(value: Any, of_lists: bool) -> bool:
    """Whether it holds a value a row, and is not the one row's own."""
    return isinstance(value, list) and not (of_lists and value and NUMBERS.issuperset(map(type, value)))


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
