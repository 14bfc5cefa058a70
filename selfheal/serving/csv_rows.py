"""Reads rows as text/csv: a line with the columns' names, then a line each; quotes as in RFC 4180, UTF-8."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

from selfheal.errors import InputError
from selfheal.serving.params import first_twice, now_us
from selfheal.serving.requests import Reading, Request, check_columns, check_names
from selfheal.serving.scorer import Scorer

_TRUTH = {"true": True, "false": False}


def parse_csv(body: bytes | bytearray, scorer: Scorer, reading: Reading) -> Request:
    """Read rows for the version that will answer them. An empty field is a null; ids and times have no place in it.

    Raises
    ------
    InputError
        Naming what is wrong and the remedy.
    """
    model = scorer.signature
    lines = _lines(body)
    names = next(lines, [])
    fields = dict.fromkeys(names)
    check_names(fields, model, reading)
    if len(fields) != len(names):
        raise InputError(f"the first line names column {first_twice(names)!r} twice")
    rows = list(lines)
    if not rows:
        raise InputError("the body holds no rows; send a line with the columns' names, and at least one more")
    for place, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(f"row {place} has {len(row)} fields, the first line {len(names)}")
    turned = zip(names, zip(*rows, strict=True), strict=True)
    columns: dict[str, Sequence[Any]] = {name: _values(texts, model.dtypes.get(name, "str")) for name, texts in turned}
    ignored = [name for name in names if name not in model.dtypes]
    return check_columns(columns, len(rows), scorer, {}, reading, ignored)


def csv_extent(body: bytes | bytearray, latest_us: float) -> tuple[int, int]:
    """How many rows a refused body holds (at least 1), and that they happened now."""
    return max(1, body.count(b"\n") - 1), now_us()


def _lines(body: bytes | bytearray) -> Iterator[list[str]]:
    try:
        text = io.StringIO(body.decode("utf-8-sig"), newline="")
        for row in csv.reader(text, strict=True):
            if row:  # not an empty line
                yield row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the body is not CSV: {error}; send UTF-8, fields with commas in double quotes") from error


def _values(column: Sequence[str], dtype: str) -> list[Any]:
    """Fields as the values they stand for; what is none is left as it is, for the model's check to name."""
    if dtype == "str":
        return [text or None for text in column]
    try:
        return [float(text) if text else None for text in column]
    except ValueError:
        return [_TRUTH.get(text.strip().lower(), text or None) for text in column]
