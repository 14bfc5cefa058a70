"""The form that most clients send, read by a typed decoder: rows of numbers in the model's own order."""

from __future__ import annotations

from typing import Any

import msgspec

Lists = list[list[float]]


class _Split(msgspec.Struct, gc=False):
    columns: list[str]
    data: Lists


class _Body(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    dataframe_split: _Split
    params: dict[str, Any] | None = None


_BEGIN = b'{"dataframe_split"'
_decode = msgspec.json.Decoder(_Body).decode


def read_split(body: bytes | bytearray, columns: tuple[str, ...]) -> tuple[Lists, dict[str, Any]] | None:
    """Rows of as many finite numbers as there are ``columns``, and the params; None, and no verdict, for all else.

    >>> read_split(b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', ("a",))
    ([[1.0]], {})
    """
    if not body.startswith(_BEGIN):
        return None
    try:
        message = _decode(body)  # no number that it reads is infinite or NaN
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    params = message.params
    if body.count(b'":') != (3 if params is None else 4 + len(params)):
        return None  # a key may be there twice
    split = message.dataframe_split
    if tuple(split.columns) != columns or not split.data:
        return None
    width = len(columns)
    for row in split.data:
        if len(row) != width:
            return None
    return split.data, params or {}
