"""Prediction ids for clients that send none: unique between processes, in order of time within one."""

from __future__ import annotations

import itertools
import os
import secrets
import time

# Ordered ids fall side by side in the table's unique index; random ones would touch a page each.
_counter = itertools.count()
_prefix = ""


def _begin() -> None:
    """Another beginning: a forked child that went on counting would repeat the ids of its parent."""
    global _prefix
    _prefix = f"{int(time.time()):x}-{secrets.token_hex(5)}-"


_begin()
os.register_at_fork(after_in_child=_begin)


def next_ids(n: int) -> list[str]:
    """``n`` ids that nobody has had.

    >>> first, second = next_ids(2)
    >>> first < second
    True
    """
    return [f"{_prefix}{next(_counter):09x}" for _ in range(n)]
