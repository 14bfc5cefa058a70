"""The mechanisms: each asks of the window "is it this?", and if so builds what undoes it.

A mechanism is a module here with a :class:`~selfheal.healing.mechanism.Mechanism` that it calls ``MECHANISM``, and
joins by existing. What leaves everything as it is has the lowest rank; what needs the least faith follows; a
declaration of the owner has a high one, for it is believed and not seen.
"""

from __future__ import annotations

from functools import cache

from selfheal.healing.mechanism import Mechanism
from selfheal.healing.outcome import Finding
from selfheal.members import members


@cache
def every() -> tuple[Mechanism, ...]:
    """All mechanisms, in the order in which they are asked."""
    return members(__name__, __path__, Mechanism)


def of(finding: Finding) -> Mechanism:
    """The mechanism whose finding it is."""
    return next(mechanism for mechanism in every() if mechanism.name == finding.name)


every()  # imported with the package: a heal's process is forked from one that has imported it
