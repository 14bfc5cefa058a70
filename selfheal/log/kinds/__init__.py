"""The kinds of place that a log may lie in.

A kind is a module here with a :class:`~selfheal.log.kind.Kind` that it calls ``KIND``, and joins by existing.
"""

from __future__ import annotations

from functools import cache

from selfheal.log.kind import Kind
from selfheal.members import members


@cache
def every() -> tuple[Kind, ...]:
    """All kinds, in the order in which they are asked."""
    return members(__name__, __path__, Kind)
