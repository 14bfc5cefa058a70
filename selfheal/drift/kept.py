"""What was computed of the very same numbers before: a window is judged, and asked again when it is healed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Generic, TypeVar

import numpy as np

from selfheal.drift.stats import Floats

T = TypeVar("T")


class Kept(Generic[T]):
    """The latest results of a pure function of arrays, found by their content; ``most`` are kept.

    >>> kept = Kept[float](most=1)
    >>> [kept.of((np.array([number]),), lambda: number) for number in (1.0, 1.0, 2.0)]
    [1.0, 1.0, 2.0]
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: dict[bytes, T] = {}

    def of(self, content: tuple[Floats, ...], compute: Callable[[], T], more: object = None) -> T:
        """What ``compute`` makes of ``content``, and of ``more`` (its repr counts), or made of it before."""
        hasher = hashlib.blake2b(repr((more, [part.shape for part in content])).encode(), digest_size=16)
        for part in content:
            hasher.update(np.ascontiguousarray(part).data)
        key = hasher.digest()
        # Threads may compute the same at once; nothing is lost by that. The one used last moves to the end.
        before = self._known.pop(key, None)
        made = compute() if before is None else before
        self._known[key] = made
        for oldest in list(self._known)[: -self._most]:
            self._known.pop(oldest, None)
        return made
