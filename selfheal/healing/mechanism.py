"""A mechanism: something that may have happened to the data, which it tells from the window, and what undoes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from selfheal.healing.case import Case
from selfheal.healing.outcome import Finding

LABELS_NEEDED = 20
"""Fewer labels say nothing that a ridge of 4 pseudo-rows lets through."""


@dataclass(frozen=True)
class Need:
    """What a mechanism can say nothing without, and whether a case has it."""

    what: str
    met: Callable[[Case], bool]


UNUSUAL_AS_SENT = Need("a window that is unusual as it was sent", lambda case: not case.judged_raw.explained)
UNUSUAL_AS_SERVED = Need("a window that is unusual as it is served", lambda case: not case.judged.explained)
MEMORY = Need("an earlier version that is not what serves", lambda case: bool(case.others))
NEW_RULE = Need("a rule marked `knowledge: new`", lambda case: bool(case.new_rules))
STABLE_CLASS = Need(
    "a class declared as `stable_class`", lambda case: case.model.policy.declare.stable_class is not None
)
LABELS = Need(f"{LABELS_NEEDED} labelled rows", lambda case: len(case.labelled) >= LABELS_NEEDED)

NEEDS = (UNUSUAL_AS_SENT, UNUSUAL_AS_SERVED, MEMORY, NEW_RULE, STABLE_CLASS, LABELS)
"""All that there are."""


@dataclass(frozen=True)
class Mechanism:
    """One way in which a window may have come to look as it does.

    Attributes
    ----------
    name
        As people read it, and as its findings are called.
    rank
        Its place: mechanisms are asked from the lowest, and the first that explains the window and can be trusted to
        wins.
    explain
        What it says of a case; None for nothing. It reads the case and changes nothing, and the same case gives the
        same finding.
    needs
        Where one of these is missing it is not asked.
    heeds
        What it listens to besides, where it is there.
    foretold
        Whether the calibrated model can tell its own accuracy once the window is explained so
        (:mod:`selfheal.healing.estimate`): classes look as they did, and no layer was taught.
    last_resort
        Whether it is asked only where the others led nowhere, and of data that are not broken.
    beside_faults
        Whether it may be what happened to other columns than those that a fault has broken.
    """

    name: str
    rank: int
    explain: Callable[[Case], Finding | None]
    needs: tuple[Need, ...] = ()
    heeds: tuple[Need, ...] = field(default=(), kw_only=True)
    foretold: bool = False
    last_resort: bool = False
    beside_faults: bool = False

    def ask(self, case: Case) -> Finding | None:
        """What it says of a case that has all it needs; else None."""
        return self.explain(case) if all(need.met(case) for need in self.needs) else None
