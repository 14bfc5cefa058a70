"""A check of the gate: one question to a candidate, which may speak against it and never for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.evidence import Evidence
from selfheal.healing.outcome import Finding

MIN_GAIN = 0.008
"""Expected log-loss (nats per row) that a heal must bring; less is noise or benign (docs/notes.md)."""

PROVEN_GAIN = 0.001
"""The same where the mechanism is proven and not estimated: only rounding could be mistaken for a gain. Of 29 windows
of flights in other units that 0.008 held back, 11 lay over a point of accuracy or .05 nats from clean."""

DECLARED_GAIN = 0.003
"""The same for lines of columns that their owner declared: a gain of 1.25 on one of six columns was worth .006."""

AUDITED_GAIN = 0.02
"""The same where a person would have to label rows for it: what is called harm in this project, and no less."""


@dataclass(frozen=True)
class Candidate:
    """What a check reads, and changes nothing of.

    Attributes
    ----------
    case, finding
        The window, and what explains it.
    proba : float [n, k]
        The candidate's probabilities of the window's rows, each by an adapter that was fitted without it.
    evidence
        The rows that it is measured by.
    labels : float [n] or None
        Class index per row of the window, NaN where unknown.
    """

    case: Case
    finding: Finding
    proba: Floats
    evidence: Evidence
    labels: NDArray[np.float64] | None

    @cached_property
    def gain(self) -> float:
        """Expected nats a row over what serves."""
        losses = self.evidence.losses
        return losses["incumbent"] - losses["candidate"]

    @cached_property
    def least_gain(self) -> float:
        """Nats a row that :attr:`gain` must come to: the less was estimated, the fewer."""
        finding = self.finding
        if finding.proven or finding.recall is not None:
            return PROVEN_GAIN
        if finding.trusted and finding.diagnosis == "sensor" and finding.labels is None:
            return PROVEN_GAIN if finding.refit is None else DECLARED_GAIN
        return MIN_GAIN if finding.trusted else AUDITED_GAIN

    @cached_property
    def constant(self) -> bool:
        """Whether it calls every row of the window alike."""
        return bool(np.ptp(self.case.model.decide(self.proba)) == 0)

    @cached_property
    def changed(self) -> float:
        """Share of the window's predictions that it changes."""
        return differing(self.case, self.proba, self.case.served)


def differing(case: Case, one: Floats, other: Floats) -> float:
    """Share of decisions that differ between two models' probabilities [n, k]."""
    return float((case.model.decide(one) != case.model.decide(other)).mean())


class Refusal(NamedTuple):
    """Why a candidate does not pass, and what follows.

    Attributes
    ----------
    decision
        ``"keep"``: what serves is as good; ``"refuse"``: something is wrong with the candidate.
    reason
        One line for people: what was measured, its value, its bound.
    """

    decision: Literal["keep", "refuse"]
    reason: str


@dataclass(frozen=True)
class Check:
    """One thing that may be wrong with a candidate.

    Attributes
    ----------
    name
        As people read it.
    rank
        Its place: checks are asked from the lowest, and the first refusal is the gate's.
    ask
        What it says against a candidate; None for nothing. It changes nothing, and the same candidate gets the same
        answer. What proposes no change (a finding to keep or to refuse) is not brought before it.
    """

    name: str
    rank: int
    ask: Callable[[Candidate], Refusal | None]
