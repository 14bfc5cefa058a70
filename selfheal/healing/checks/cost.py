"""Where the policy declares costs, its decisions must cost less."""

from __future__ import annotations

from selfheal.healing.check import Candidate, Check, Refusal
from selfheal.healing.evidence import costly


def ask(candidate: Candidate) -> Refusal | None:
    """Whether the expected cost does not fall."""
    dearer = costly(candidate.case.model, candidate.evidence)
    return Refusal("refuse", dearer) if dearer else None


CHECK = Check("cost", rank=40, ask=ask)
