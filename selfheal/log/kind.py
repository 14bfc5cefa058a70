"""A kind of place in which a log may lie, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from selfheal.log.rows import Rows
from selfheal.policy import Log, LogLabels


@dataclass(frozen=True)
class Kind:
    """One kind of place.

    Attributes
    ----------
    name
        As people read it.
    rank
        Kinds are asked from the lowest; the first that fits opens the place.
    fits
        Whether a place of the policy is of this kind; its second argument is ``from`` with the environment's values.
    rows
        Opens it; nothing is read yet.
    """

    name: str
    rank: int
    fits: Callable[[Log | LogLabels, str], bool]
    rows: Callable[[Log | LogLabels, str], Rows]
