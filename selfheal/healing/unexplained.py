"""When nothing explains the window: is it harmless, a population that moved, or unknown; and which rules broke."""

from __future__ import annotations

from selfheal import rules
from selfheal.healing.case import Case
from selfheal.healing.outcome import Decision, Diagnosis

LOST = 0.75
"""A rule has lost its meaning when its precision can be at most this share of what it was."""


def lost_rules(case: Case) -> list[str]:
    """Rules whose precision on the reference can no longer hold, each with precision then and bound now.

    At an unchanged class share π a rule that fires on a share c of rows is right on at most π / c of them.
    """
    reasons = []
    records = rules.record(case.model.policy.rule_set, case.reference, case.model.classes_[case.truth].tolist())
    for rule, record in zip(case.model.policy.rule_set, records, strict=True):
        if rule.knowledge == "new" or record.fired < 20:
            continue
        share = float(case.prior[list(case.model.classes_).index(rule.vote)])
        covered = float(rule.fires(case.units).mean())
        limit = min(1.0, share / max(covered, 1e-9))
        if limit < LOST * record.precision:
            reasons.append(
                f"rule {rule.name!r} lost its meaning: precision {record.precision:.2f} then, at most {limit:.2f} now: "
                f"it fires on {covered:.0%} of rows ({record.coverage:.0%} then); class {rule.vote!r}: {share:.0%}"
            )
    return reasons


def describe(case: Case, tried: list[str]) -> tuple[Decision, Diagnosis, list[str]]:
    """Decision, diagnosis and reasons for a window that no mechanism explains."""
    lost = lost_rules(case)
    ratios = case.judged.ratios
    moved = ", ".join(case.judged.moved()[:6]) or "none by itself"
    words = f"unusual columns: {moved}; the model's score is at {ratios['score']:.2f} of its natural bound"
    if not lost and ratios["score"] <= 1.0 and ratios["outside"] <= 1.0:
        return "keep", "benign", [f"inputs moved, the model's score did not: left alone. {words}", *tried]
    if not lost and ratios["outside"] <= 1.0 and ratios["residual"] <= 1.0:
        return (
            "keep",
            "population",
            [f"columns moved together as they always do, within known values: left alone. {words}", *tried],
        )
    return (
        "refuse",
        "unknown",
        [*lost, f"nothing explains this window; it cannot be healed without labels. {words}", *tried],
    )
