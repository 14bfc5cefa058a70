"""The gate: an adapter that explains the window must also be worth it, and be sure of itself, before it serves.

The one exit of a heal: whatever found the candidate (a mechanism, in the whole window or from some row on; memory;
labels), only what passes here is promoted or recalled. It is measured by :class:`~selfheal.healing.evidence.Evidence`:
rows that the candidate was not fitted to, under the accepted explanation or by their labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.adapter import Adapter
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case, halved
from selfheal.healing.evidence import Evidence, costly, cross_entropy, too_much
from selfheal.healing.labels.rows import log_losses
from selfheal.healing.outcome import Decision, Finding
from selfheal.healing.restoring import restores

MIN_GAIN = 0.008
"""Expected log-loss (nats per row) that a heal must bring; less is noise or benign (HEALING)."""

PROVEN_GAIN = 0.001
"""The same where the mechanism is proven and not estimated: only rounding could be mistaken for a gain. Of 29 windows
of flights in other units that 0.008 held back, 11 lay over a point of accuracy or .05 nats from clean."""

DECLARED_GAIN = 0.003
"""The same for lines of columns that their owner declared: a gain of 1.25 on one of six columns was worth .006."""

AUDITED_GAIN = 0.02
"""The same where a person would have to label rows for it: what is called harm in this project, and no less."""

WORSE = 0.02
"""Nats by which a candidate may lie above the constant, which it need not beat: at a tie nothing is left to know."""

STEADY = (0.03, 0.6)
"""Adapters from two halves may disagree on this share of rows, or on this share of what changes (HEALING)."""

CANDIDATE_COLUMNS = ["name", "kind", "explained", "measure", "value", "bound", "changed_share", "reason"]
"""Of :attr:`selfheal.Outcome.candidates`."""

LABEL_Z = 1.64
"""One-sided 5 %: labels of the window on which the candidate is this much worse stop it."""

MIN_LABELS = 20
"""Labels of the window below which they stop nothing."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one explained finding."""

    decision: Decision
    reasons: list[str]
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Candidate:
    """What the checks read: the finding, its probabilities [n, k] of the window's rows, what it is measured by."""

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
    def changed(self) -> float:
        """Share of the window's predictions that it changes."""
        return _differing(self.case, self.proba, self.case.served)


def gate(case: Case, finding: Finding, labels: NDArray[np.float64] | None = None) -> Verdict:
    """Hold a finding that explains the window against what serves now, the trivial rivals, itself and the policy.

    Parameters
    ----------
    labels : float [n], class index per row of the case, NaN where unknown.
    """
    if finding.decision in ("keep", "refuse"):
        return Verdict(finding.decision, [])
    candidate = _candidate(case, finding, labels)
    losses = candidate.evidence.losses
    numbers = {f"expected_log_loss_{k}": v for k, v in losses.items()}
    numbers |= {"changed_share": candidate.changed, "gain": candidate.gain} | _of_labels(case, finding)
    what = "expected log-loss" if finding.labels is None else "log-loss on labels it had not seen"
    reasons = [
        f"{what} {losses['incumbent']:.3f} → {losses['candidate']:.3f} (gain {candidate.gain:.3f}, bound "
        f"{_least(finding)}); the constant's is {losses['constant']:.3f}"
    ]
    for check in (_gain, _rivals, _steady, _cost, _labels):
        refusal = check(candidate)
        if refusal is not None:
            return Verdict(refusal[0], [refusal[1], *reasons], numbers)
    decided = case.model.decide(candidate.proba)
    if np.ptp(decided) == 0:
        only = case.model.classes_.tolist()[decided[0]]
        reasons.append(
            f"its decisions now equal the constant's (always {only!r}): what the columns knew is gone, and only the "
            "probabilities gain"
        )
    decision, why = _policy(candidate)
    return Verdict(decision, [*why, *reasons], numbers)


def _candidate(case: Case, finding: Finding, labels: NDArray[np.float64] | None) -> _Candidate:
    proba = held_out(case, finding)
    # Without a teacher nothing speaks for a change: measured against itself, the incumbent cannot be beaten.
    teacher = case.served if finding.teacher is None else finding.teacher
    evidence = Evidence(teacher, case.served, proba) if finding.labels is None else finding.labels.foretold
    return _Candidate(case, finding, proba, evidence, labels)


def held_out(case: Case, finding: Finding) -> Floats:
    """The candidate's probabilities [n, k] of the window's rows, each by an adapter that was fitted without it.

    Where nothing was fitted to the window, by the adapter as it is.
    """
    if finding.refit is None or finding.labels is not None:
        return case.base.with_adapter(finding.adapter or Adapter()).predict_proba(case.raw)
    proba = np.empty((len(case.raw), case.classes))
    for fit, test in (case.halves, case.halves[::-1]):
        fitted = finding.refit(fit) or Adapter()
        proba[test] = case.base.with_adapter(fitted).predict_proba(case.raw.iloc[test])
    return proba


_Refusal = tuple[Decision, str] | None


def _gain(candidate: _Candidate) -> _Refusal:
    gain, least = candidate.gain, _least(candidate.finding)
    if gain < least:
        return "keep", f"what it would change is worth {gain:.4f} nats a row (bound {least}): benign, left alone"
    return None


def _least(finding: Finding) -> float:
    if finding.proven or finding.recall is not None:
        return PROVEN_GAIN
    if finding.trusted and finding.diagnosis == "sensor" and finding.labels is None:
        return PROVEN_GAIN if finding.refit is None else DECLARED_GAIN
    return MIN_GAIN if finding.trusted else AUDITED_GAIN


def _rivals(candidate: _Candidate) -> _Refusal:
    losses = candidate.evidence.losses
    # Foretold on labels a patch gains, so that only what serves can be the reason to lie above the constant.
    if candidate.finding.labels is None and losses["candidate"] > losses["constant"] + WORSE:
        return "refuse", f"worse than the constant: {losses['candidate']:.3f} against {losses['constant']:.3f} nats"
    return None


def _steady(candidate: _Candidate) -> _Refusal:
    case, finding = candidate.case, candidate.finding
    if finding.refit is None:
        return None
    halves = case.halves if finding.labels is None else halved(finding.labels.fitted, case.seed)
    first, second = (
        case.base.with_adapter(finding.refit(half) or Adapter()).predict_proba(case.raw) for half in halves
    )
    apart = _differing(case, first, second)
    bound = max(STEADY[0], STEADY[1] * candidate.changed)
    if apart > bound:
        return "refuse", f"unstable: adapters from two halves disagree on {apart:.1%} of rows (bound {bound:.1%})"
    return None


def _cost(candidate: _Candidate) -> _Refusal:
    told = costly(candidate.case.model, candidate.evidence)
    return ("refuse", told) if told else None


def _labels(candidate: _Candidate) -> _Refusal:
    labels = candidate.labels
    if labels is None or np.isfinite(labels).sum() < MIN_LABELS:
        return None
    known = np.isfinite(labels)
    truth = labels[known].astype(np.int64)
    gap = log_losses(candidate.case.served[known], truth) - log_losses(candidate.proba[known], truth)
    z = float(gap.mean() / max(gap.std(ddof=1) / np.sqrt(len(gap)), 1e-9))
    if z < -LABEL_Z:
        return "refuse", f"{len(truth)} labels speak against it: paired log-loss z {z:.1f} (bound -{LABEL_Z})"
    return None


def _policy(candidate: _Candidate) -> tuple[Decision, list[str]]:
    """What the owner's policy makes of a heal that is worth it, and why."""
    model, finding = candidate.case.model, candidate.finding
    told = None if finding.labels is None else candidate.evidence.trial(model)
    # A version that has served before was held to the cap when it was new.
    free = finding.recall is not None or restores(candidate.case, finding)
    beyond = "" if free else too_much(model.policy, candidate.changed, told)
    if beyond:
        return "audit", [f"{beyond}: a person decides" + ("" if told is None else ", or later labels do")]
    if finding.labels is not None and not (finding.labels.proof and told is not None and told.says == "better"):
        return "audit", ["it waits for labels of the next windows, which decide"]
    if not finding.trusted:
        ambiguous = model.policy.release.ambiguous
        return ambiguous, [f"data cannot tell this from another mechanism; the policy says {ambiguous}"]
    return finding.decision, []


def _of_labels(case: Case, finding: Finding) -> dict[str, float]:
    """For the version's later trial: labels that it was fitted to, and the e-value with which it begins."""
    if finding.labels is None:
        return {}
    held = finding.labels.foretold.trial(case.model).nats.better if finding.labels.proof else 1.0
    return {"labels_fitted": float(finding.labels.fitted), "labels_held": held}


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
    return 0.0 if proba is None else _differing(case, proba, case.served)


def _differing(case: Case, one: Floats, other: Floats) -> float:
    """Share of decisions that differ."""
    return float((case.model.decide(one) != case.model.decide(other)).mean())
