"""The checks of the gate: each may stop a candidate, and what none of them stops is left to the policy.

A check is a module here with a :class:`~selfheal.healing.check.Check` that it calls ``CHECK``, and joins by existing.
None knows another; the order of their ranks says only whose reason is read where several would refuse.
"""

from __future__ import annotations

from functools import cache

from selfheal.healing.check import Check
from selfheal.members import members


@cache
def every() -> tuple[Check, ...]:
    """All checks, in the order in which they are asked."""
    return members(__name__, __path__, Check)


every()  # imported with the package: a heal's process is forked from one that has imported it
