"""Tests that may be looked at after every label: a paired one for two models, and one for a handful of answers.

A test at a fixed size is void as soon as somebody looks twice and stops when it pleases. These two are not: whoever
stops, and whenever, errs no more often than stated.

*Paired.* The gain of a candidate over what serves, row by row, is bet on: with stakes λ the wealth ``Π (1 + λ·gain)``
is a non-negative supermartingale while the mean gain is not above zero, so it reaches 1 / level with a probability of
at most ``level`` however long one looks (Ville's inequality; Waudby-Smith & Ramdas 2024, "Estimating means of bounded
random variables by betting"). The stakes are mixed over a grid, as Robbins (1970) mixes and Cover's universal
portfolio (1991) does: no stake has to be guessed, and the order of rows within a batch does not count.

*Audit.* Wald's sequential probability ratio test (1945) on rows where exactly one of the two is right: three in four
for the candidate against one in four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from selfheal.drift.stats import Floats

Says = Literal["better", "worse", "undecided"]

LEVEL = 0.05
"""Share of candidates no better than what serves that a paired test lets through at most, however often it looks."""

BOUND = 2.0
"""Nats that one row can speak for at most: a single confident miss must not outweigh a hundred rows."""

STAKES: Floats = np.geomspace(0.05, 0.9, 8)
"""Shares of the wealth that are bet, each with the same part of it: from gains that a thousand rows show to ones that
a dozen do. All below 1, so that no row can ruin a bet."""

RIGHT = 0.75
"""Share of right answers, where the two differ, of the one that the mechanism made for this world (docs/notes.md); the
other's is a quarter. In between, either choice costs little."""

ERROR = 0.0125
"""Wrong decisions of an audit, on either side. At three against one the lead has to be 4 answers: 7 to 8 on average,
right in 98.8 % of audits."""


@dataclass(frozen=True)
class Paired:
    """What labelled rows say of a candidate beside what serves.

    Attributes
    ----------
    says
        ``better`` or ``worse`` once an e-value reaches ``bound``.
    rows
        Labelled rows.
    gain
        Mean gain a row, each clipped at the bound that was bet within.
    better, worse
        E-values against "no better" and "no worse": 1 at the start, and 1 on average while that is true.
    bound
        1 / level.
    """

    says: Says
    rows: int
    gain: float
    better: float
    worse: float
    bound: float

    @property
    def reason(self) -> str:
        """One line for people."""
        return (
            f"{self.rows} labels: gain {self.gain:+.4f} a row; e-value {self.better:.3g} for better, "
            f"{self.worse:.3g} for worse (bound {self.bound:g})"
        )


def paired(gain: Floats, limit: float = BOUND, level: float = LEVEL, e_value: float = 1.0) -> Paired:
    """Test whether the mean of ``gain`` is above or below zero, at any time.

    Parameters
    ----------
    gain : float [n], loss of what serves minus loss of the candidate, row by row, all rows so far.
    limit
        Gains are clipped to ± this; the test is about the mean of the clipped ones.
    level
        Probability, at most, of saying ``better`` of a candidate that is not, over all looks; the same for ``worse``.
    e_value
        E-value for ``better`` from rows before these: a bet goes on with what it has won or lost.

    Examples
    --------
    >>> paired(np.full(40, 0.5)).says, paired(np.full(40, -0.5)).says, paired(np.zeros(1000)).says
    ('better', 'worse', 'undecided')
    """
    x = np.clip(np.asarray(gain, dtype=np.float64) / limit, -1.0, 1.0)
    better, worse = e_value * wealth(x), wealth(-x)
    # Both at once only where the mean is so near zero, on so many rows, that neither matters.
    says: Says = "better" if better >= 1 / level > worse else "worse" if worse >= 1 / level > better else "undecided"
    return Paired(says, len(x), float(x.mean() * limit) if len(x) else 0.0, better, worse, 1 / level)


def wealth(x: Floats) -> float:
    """Wealth, from 1, of bets on the mean of ``x`` (float [n] in [-1, 1]) being above zero."""
    logs = np.log1p(np.multiply.outer(STAKES, x)).sum(axis=1)
    return float(np.exp(np.minimum(logs, 700.0)).mean())


@dataclass(frozen=True)
class Trial:
    """What labels say of a candidate: of its probabilities, and of its decisions.

    Attributes
    ----------
    says
        ``better`` when the log-loss is, and the decisions are too or none differs; ``worse`` when either is.
    nats, decisions
        The two paired tests.
    """

    says: Says
    nats: Paired
    decisions: Paired

    @property
    def reason(self) -> str:
        """One line for people."""
        return (
            f"{self.nats.rows} labels: log-loss gain {self.nats.gain:+.3f} nats a row, e-value {self.nats.better:.3g} "
            f"for better, {self.nats.worse:.3g} for worse (bound {self.nats.bound:g}); decisions "
            f"{self.decisions.gain:+.3f}, e-value {self.decisions.better:.3g} (bound {1 / DECISIVE:g})"
        )


DECISIVE = 0.2
"""Level at which better decisions must show beside a better log-loss. On the first half of elec and flights the
log-loss alone let 7 of 33 patches through that lost accuracy on the next window, with this 0 of 31."""


def trial(nats: Floats, decisions: Floats, e_value: float = 1.0) -> Trial:
    """Hold a candidate against what serves on labelled rows that it was not fitted to; ask again when more have come.

    Parameters
    ----------
    nats : float [n], log-loss of what serves minus that of the candidate.
    decisions : float [n] in [-1, 1], the same for the loss of decisions.
    e_value : e-value for a better log-loss from labels before these.
    """
    loss, said = paired(nats, e_value=e_value), paired(decisions, limit=1.0)
    agreed = not np.any(decisions) or said.better >= 1 / DECISIVE
    better = loss.says == "better" and agreed and said.says != "worse"
    says: Says = "better" if better else "worse" if "worse" in (loss.says, said.says) else "undecided"
    return Trial(says, loss, said)


@dataclass(frozen=True)
class Audit:
    """What the answers of an audit say.

    Attributes
    ----------
    says
        ``better``: the candidate is right where the two differ; ``worse``: what serves is.
    candidate, incumbent
        Rows on which it alone was right.
    answered
        Rows with an answer, those included on which neither was right.
    lead
        Answers by which one has to be ahead.
    """

    says: Says
    candidate: int
    incumbent: int
    answered: int
    lead: int

    @property
    def reason(self) -> str:
        """One line for people."""
        return (
            f"of {self.answered} rows on which they differ the candidate was right on {self.candidate}, what serves on "
            f"{self.incumbent} (a lead of {self.lead} decides; wrong in at most {ERROR:.2%} of audits)"
        )


def audit(right: Sequence[int], share: float = RIGHT, error: float = ERROR) -> Audit:
    """Wald's test on answers in the order in which they were given; what comes after the decision is not read.

    Parameters
    ----------
    right : int [n]
        1 where the candidate alone was right, -1 where what serves alone was, 0 where neither was.

    Examples
    --------
    >>> audit([1, 1, -1, 1, 1, 1]).says, audit([1, -1, 0]).says
    ('better', 'undecided')
    """
    needed = lead(share, error)
    ahead = 0
    counted = {1: 0, -1: 0, 0: 0}
    for answer in right:
        counted[int(np.sign(answer))] += 1
        ahead = counted[1] - counted[-1]
        if abs(ahead) >= needed:
            break
    says: Says = "better" if ahead >= needed else "worse" if -ahead >= needed else "undecided"
    return Audit(says, counted[1], counted[-1], sum(counted.values()), needed)


def lead(share: float = RIGHT, error: float = ERROR) -> int:
    """Answers by which one must be ahead: the log odds of the error, in steps of the log odds of one answer.

    >>> lead()
    4
    """
    # Rounded down by a hair: at 1.25 % the odds are 79 : 1, and four answers at 3 : 1 make 81 : 1.
    return int(np.ceil(np.log((1 - error) / error) / np.log(share / (1 - share)) - 1e-9))
