"""It must be sure of itself: what half of the rows teach, the other half must teach too."""

from __future__ import annotations

from selfheal.adapter import Adapter
from selfheal.healing.case import halved
from selfheal.healing.check import Candidate, Check, Refusal, differing

STEADY = (0.03, 0.6)
"""Adapters from two halves may disagree on this share of rows, or on this share of what changes (docs/notes.md)."""


def ask(candidate: Candidate) -> Refusal | None:
    """Whether adapters from two halves of the rows that it was fitted to disagree."""
    case, finding = candidate.case, candidate.finding
    if finding.refit is None:
        return None
    halves = case.halves if finding.labels is None else halved(finding.labels.fitted, case.seed)
    first, second = (
        case.base.with_adapter(finding.refit(half) or Adapter()).predict_proba(case.raw) for half in halves
    )
    apart = differing(case, first, second)
    bound = max(STEADY[0], STEADY[1] * candidate.changed)
    if apart > bound:
        return Refusal(
            "refuse", f"unstable: adapters from two halves disagree on {apart:.1%} of rows (bound {bound:.1%})"
        )
    return None


CHECK = Check("steadiness", rank=30, ask=ask)
