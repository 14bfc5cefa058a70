"""It must be worth it: what would hardly be missed is left alone."""

from __future__ import annotations

from selfheal.healing.check import Candidate, Check, Refusal


def ask(candidate: Candidate) -> Refusal | None:
    """Whether the candidate gains less than it must."""
    gain, least = candidate.gain, candidate.least_gain
    if gain < least:
        return Refusal(
            "keep", f"what it would change is worth {gain:.4f} nats a row (bound {least}): benign, left alone"
        )
    return None


CHECK = Check("gain", rank=10, ask=ask)
