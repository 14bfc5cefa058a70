"""Prediction ids for clients that send none: unique between processes, in order of time within one."""

from __future__ import annotations

import itertools
import secrets
import time

# Ordered ids fall side by side in the table's unique index; random ones would touch a page each.
_PREFIX = f"{int(time.time()):x}-{secrets.token_hex(5)}-"
_counter = itertools.count()


def next_ids(n: int) -> list[str]:
    """``n`` ids that nobody has had.

    >>> first, second = next_ids(2)
    >>> first < second
    True
    """
    return [f"{_PREFIX}{next(_counter):09x}" for _ in range(n)]
