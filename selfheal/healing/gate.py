"""The gate: an adapter that explains the window must also be worth it, and be sure of itself, before it serves.

Everything is measured without labels, as an expectation under the accepted explanation (its ``teacher``), on rows
that the adapter was not fitted on; late labels, where there are some, have a veto.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.adapter import Adapter
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.outcome import Decision, Finding
from selfheal.policy import Cost

MIN_GAIN = 0.008
"""Expected log-loss (nats per row) that a heal must bring; less is noise or benign (HEALING)."""

PROVEN_GAIN = 0.001
"""The same where the mechanism is proven and not estimated: only rounding could be mistaken for a gain. Of 29 windows
of flights in other units that 0.008 held back, 11 lay over a point of accuracy or .05 nats from clean."""

AUDITED_GAIN = 0.02
"""The same where a person would have to label rows for it: what is called harm in this project, and no less."""

STEADY = (0.03, 0.6)
"""Adapters from two halves may disagree on this share of rows, or on this share of what changes (HEALING)."""

COST_GAIN = 0.05
"""With declared costs a heal must lower the expected cost by this share: estimates of it are no better than that."""

CANDIDATE_COLUMNS = ["name", "kind", "explained", "measure", "value", "bound", "changed_share", "reason"]
"""Of :attr:`selfheal.Outcome.candidates`."""

LABEL_Z = 1.64
"""One-sided 5 %: labels of the window on which the candidate is this much worse stop it."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one explained finding."""

    decision: Decision
    reasons: list[str]
    numbers: dict[str, float] = field(default_factory=dict)


def cross_entropy(teacher: Floats, proba: Floats) -> float:
    """Expected log-loss of ``proba`` [n, k] where ``teacher`` [n, k] is the truth's distribution, in nats."""
    return float(-(teacher * np.log(np.maximum(proba, 1e-12))).sum(axis=1).mean())


def gate(case: Case, finding: Finding, labels: NDArray[np.float64] | None = None) -> Verdict:
    """Hold a finding that explains the window against what serves now, the trivial rivals, itself and the policy.

    Parameters
    ----------
    labels : float [n], class index per row of the case, NaN where unknown.
    """
    # Without a teacher nothing speaks for a change: measured against itself, the incumbent cannot be beaten.
    candidate, teacher = held_out(case, finding), case.served if finding.teacher is None else finding.teacher
    losses = {
        "candidate": cross_entropy(teacher, candidate),
        "incumbent": cross_entropy(teacher, case.served),
        "constant": cross_entropy(teacher, np.broadcast_to(teacher.mean(axis=0), teacher.shape)),
    }
    changed = float((case.model.decide(candidate) != case.model.decide(case.served)).mean())
    numbers = {f"expected_log_loss_{k}": v for k, v in losses.items()} | {"changed_share": changed}
    gain, least = losses["incumbent"] - losses["candidate"], _least(finding)
    numbers["gain"] = gain
    reasons = [
        f"expected log-loss {losses['incumbent']:.3f} → {losses['candidate']:.3f} (gain {gain:.3f}, bound {least}); "
        f"the constant's is {losses['constant']:.3f}"
    ]
    for check in (_gain, _rivals, _steady, _cost):
        refusal = check(case, finding, candidate, losses)
        if refusal is not None:
            return Verdict(refusal[0], [refusal[1], *reasons], numbers)
    if labels is not None and (stop := _labels(case, candidate, labels)):
        return Verdict("refuse", [stop, *reasons], numbers)
    if np.ptp(case.model.decide(candidate)) == 0:
        only = case.model.classes_.tolist()[case.model.decide(candidate)[0]]
        reasons.append(
            f"its decisions now equal the constant's (always {only!r}): what the columns knew is gone, and only the "
            "probabilities gain"
        )
    return _policy(case, finding, changed, reasons, numbers)


def held_out(case: Case, finding: Finding) -> Floats:
    """The candidate's probabilities [n, k], each row by an adapter that was fitted without it where one was fitted."""
    if finding.refit is None:
        return case.base.with_adapter(finding.adapter or Adapter()).predict_proba(case.raw)
    proba = np.empty((len(case.raw), case.classes))
    for fit, test in (case.halves, case.halves[::-1]):
        fitted = finding.refit(fit) or Adapter()
        proba[test] = case.base.with_adapter(fitted).predict_proba(case.raw.iloc[test])
    return proba


_Refusal = tuple[Decision, str] | None


def _gain(case: Case, finding: Finding, candidate: Floats, losses: dict[str, float]) -> _Refusal:
    gain = losses["incumbent"] - losses["candidate"]
    least = _least(finding)
    if gain < least:
        return "keep", f"what it would change is worth {gain:.4f} nats a row (bound {least}): benign, left alone"
    return None


def _least(finding: Finding) -> float:
    return PROVEN_GAIN if finding.proven else MIN_GAIN if finding.trusted else AUDITED_GAIN


def _rivals(case: Case, finding: Finding, candidate: Floats, losses: dict[str, float]) -> _Refusal:
    # A tie with the constant is no reason to refuse: it can be the limit (nothing left to know). Worse is.
    if losses["candidate"] > losses["constant"] + 0.02:
        return "refuse", f"worse than the constant: {losses['candidate']:.3f} against {losses['constant']:.3f} nats"
    return None


def _steady(case: Case, finding: Finding, candidate: Floats, losses: dict[str, float]) -> _Refusal:
    if finding.refit is None:
        return None
    first, second = (
        case.base.with_adapter(finding.refit(half) or Adapter()).predict_proba(case.raw).argmax(axis=1)
        for half in case.halves
    )
    apart = float((first != second).mean())
    changed = float((candidate.argmax(axis=1) != case.served.argmax(axis=1)).mean())
    bound = max(STEADY[0], STEADY[1] * changed)
    if apart > bound:
        return "refuse", f"unstable: adapters from two halves disagree on {apart:.1%} of rows (bound {bound:.1%})"
    return None


def expected_cost(cost: Cost, teacher: Floats, decided: NDArray[np.int64]) -> float:
    """Expected cost a row of decisions [n] (0 or 1) where ``teacher`` [n, 2] is the truth's distribution."""
    wrong = np.where(decided == 1, teacher[:, 0] * cost.false_positive, teacher[:, 1] * cost.false_negative)
    return float(wrong.mean())


def _cost(case: Case, finding: Finding, candidate: Floats, losses: dict[str, float]) -> _Refusal:
    cost = case.model.policy.cost
    if cost is None or finding.teacher is None:
        return None
    # Whoever reads the probabilities may call the likelier class, or the cheaper one; both must cost less.
    for decide, way in ((case.model.decide, "cheaper"), (_likelier, "likelier")):
        now, then = (expected_cost(cost, finding.teacher, decide(p)) for p in (case.served, candidate))
        if then > (1 - COST_GAIN) * now:
            return "refuse", (
                f"expected cost {now:.3f} → {then:.3f} a row at {cost.false_positive:g} : {cost.false_negative:g}, "
                f"calling the {way} class (a gain of at least {COST_GAIN:.0%} is asked for)"
            )
    return None


def _likelier(proba: Floats) -> NDArray[np.int64]:
    return np.asarray(proba.argmax(axis=1), dtype=np.int64)


def _labels(case: Case, candidate: Floats, labels: NDArray[np.float64]) -> str:
    known = np.isfinite(labels)
    if known.sum() < 20:
        return ""
    truth = labels[known].astype(np.int64)
    rows = np.arange(len(truth))
    gap = np.log(np.maximum(candidate[known][rows, truth], 1e-6)) - np.log(
        np.maximum(case.served[known][rows, truth], 1e-6)
    )
    z = float(gap.mean() / max(gap.std(ddof=1) / np.sqrt(len(gap)), 1e-9))
    return f"{len(truth)} labels speak against it: paired log-loss z {z:.1f} (bound -{LABEL_Z})" if z < -LABEL_Z else ""


def _policy(case: Case, finding: Finding, changed: float, reasons: list[str], numbers: dict[str, float]) -> Verdict:
    """What the owner's policy makes of a heal that is worth it."""
    policy = case.model.policy
    if changed > policy.heal.max_changed:
        reasons.insert(
            0, f"it changes {changed:.0%} of predictions (max_changed {policy.heal.max_changed:.0%}): a person decides"
        )
        return Verdict("audit", reasons, numbers)
    if not finding.trusted:
        reasons.insert(0, f"data cannot tell this from another mechanism; the policy says {policy.release.ambiguous}")
        return Verdict(policy.release.ambiguous, reasons, numbers)
    return Verdict("promote", reasons, numbers)


def candidates_table(case: Case, findings: list[Finding], teacher: Floats | None) -> pd.DataFrame:
    """A row per mechanism asked and per trivial rival."""
    rows = [
        {
            "name": f.name, "kind": "mechanism", "explained": f.explained, "measure": f.measure, "value": f.value,
            "bound": f.bound, "changed_share": _changed(case, f.teacher), "reason": f.reason,
        }
        for f in findings
    ]  # fmt: skip
    if teacher is not None:
        for name, proba in _rival_answers(case, teacher).items():
            loss = cross_entropy(teacher, proba)
            rows.append(
                {
                    "name": name, "kind": "rival", "explained": False, "measure": "expected log-loss", "value": loss,
                    "bound": np.nan, "changed_share": _changed(case, proba),
                    "reason": "under the explanation that was accepted",
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=CANDIDATE_COLUMNS)


def _rival_answers(case: Case, teacher: Floats) -> dict[str, Floats]:
    return {
        "no healing": case.served,
        "constant": np.broadcast_to(teacher.mean(axis=0), teacher.shape),
        "frozen model": case.base.proba_of_units(case.raw),
    }


def _changed(case: Case, proba: Floats | None) -> float:
    if proba is None:
        return 0.0
    return float((case.model.decide(proba) != case.model.decide(case.served)).mean())
