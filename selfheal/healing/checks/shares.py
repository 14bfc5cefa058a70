"""Labels must say more than that classes come in other shares: those that come sooner for one class say just that."""

from __future__ import annotations

from selfheal.healing.check import Candidate, Check, Refusal
from selfheal.healing.labels.fair import compared
from selfheal.healing.labels.shares import no_more


def ask(candidate: Candidate) -> Refusal | None:
    """Whether what was made by labels says no more than what serves would under other class shares."""
    by, case = candidate.finding.labels, candidate.case
    if by is None or not len(by.foretold.truth):
        return None
    why = no_more(case.model, by.foretold, compared(case.model, case.labelled_windows))
    return Refusal("refuse", why) if why else None


CHECK = Check("shares", rank=45, ask=ask)
