"""It must know more than the trivial rival: the constant, which calls every row by the class shares."""

from __future__ import annotations

from selfheal.healing.check import Candidate, Check, Refusal

WORSE = 0.02
"""Nats by which a candidate may lie above the constant, which it need not beat: at a tie nothing is left to know."""


def ask(candidate: Candidate) -> Refusal | None:
    """Whether the candidate loses more than the constant does."""
    losses = candidate.evidence.losses
    # Foretold on labels a patch gains, so that only what serves can be the reason to lie above the constant.
    if candidate.finding.labels is None and losses["candidate"] > losses["constant"] + WORSE:
        return Refusal(
            "refuse", f"worse than the constant: {losses['candidate']:.3f} against {losses['constant']:.3f} nats"
        )
    return None


CHECK = Check("constant", rank=20, ask=ask)
