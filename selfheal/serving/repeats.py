"""A key that a JSON object has twice: of its two values one would be scored, and nobody says which."""

from __future__ import annotations

import json
from typing import Any

from selfheal.errors import InputError, shown


def refuse_repeats(body: bytes | bytearray, message: dict[str, Any]) -> None:
    """Refuse a body in which an object has a key twice.

    Keys are counted in the body and in what was read of it: that costs a hundredth of reading it. Only where the counts
    differ is it read again, pair by pair. (Keys of which some have a space before the colon and others none would
    pass; no client writes such a body.)

    Raises
    ------
    InputError
        Naming the key.
    """
    if body.count(b'":') == _keys(message):
        return
    try:
        json.loads(body, object_pairs_hook=_once)
    except InputError:
        raise
    except (ValueError, RecursionError):
        return  # it was read once: what this reader does not take (a number of 5,000 digits) is refused by its value


def _keys(message: dict[str, Any]) -> int:
    """Keys of the message, its values and the objects in those; deeper ones have no meaning here."""
    count = len(message)
    for value in message.values():
        if type(value) is dict:
            count += len(value)
        elif type(value) is list:
            count += sum(len(row) for row in value if type(row) is dict)
    return count


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise InputError(f"an object of the body has the key {shown(name)} twice; send each once")
        seen.add(name)
    return dict(pairs)
