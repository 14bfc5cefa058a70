"""The gate: an adapter that explains the window must also be worth it, and be sure of itself, before it serves.

The one exit of a heal: whatever found the candidate (a mechanism, in the whole window or from some row on; memory;
labels), only what passes here is promoted or recalled. It is measured by :class:`~selfheal.healing.evidence.Evidence`:
rows that the candidate was not fitted to, under the accepted explanation or by their labels. What may speak against it
is a module each in :mod:`selfheal.healing.checks`; what the owner's policy makes of it stands here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.adapter import Adapter, InputMap
from selfheal.drift.stats import Floats
from selfheal.healing import checks
from selfheal.healing.case import Case
from selfheal.healing.check import Candidate, differing
from selfheal.healing.evidence import Evidence, cross_entropy, too_much
from selfheal.healing.outcome import Decision, Finding, Refit
from selfheal.healing.restoring import restores

CANDIDATE_COLUMNS = ["name", "kind", "explained", "measure", "value", "bound", "changed_share", "reason"]
"""Of :attr:`selfheal.Outcome.candidates`."""


@dataclass(frozen=True)
class Verdict:
    """What the gate says of one explained finding."""

    decision: Decision
    reasons: list[str]
    numbers: dict[str, float] = field(default_factory=dict)


def gate(case: Case, finding: Finding, labels: NDArray[np.float64] | None = None) -> Verdict:
    """Hold a finding that explains the window against what serves now, the trivial rivals, itself and the policy.

    Parameters
    ----------
    labels : float [n], class index per row of the case, NaN where unknown.
    """
    if finding.decision in ("keep", "refuse"):
        return Verdict(finding.decision, [])
    candidate = candidate_of(case, finding, labels)
    losses = candidate.evidence.losses
    numbers = {f"expected_log_loss_{k}": v for k, v in losses.items()}
    numbers |= {"changed_share": candidate.changed, "gain": candidate.gain} | _of_labels(case, finding)
    what = "expected log-loss" if finding.labels is None else "log-loss on labels it had not seen"
    reasons = [
        f"{what} {losses['incumbent']:.3f} → {losses['candidate']:.3f} (gain {candidate.gain:.3f}, bound "
        f"{candidate.least_gain}); the constant's is {losses['constant']:.3f}"
    ]
    for check in checks.every():
        refusal = check.ask(candidate)
        if refusal is not None:
            return Verdict(refusal.decision, [refusal.reason, *reasons], numbers)
    if candidate.constant:
        only = case.model.classes_.tolist()[case.model.decide(candidate.proba)[0]]
        reasons.append(
            f"its decisions now equal the constant's (always {only!r}): what the columns knew is gone, and only the "
            "probabilities gain"
        )
    decision, why = _policy(candidate)
    return Verdict(decision, [*why, *reasons], numbers)


def candidate_of(case: Case, finding: Finding, labels: NDArray[np.float64] | None = None) -> Candidate:
    """What the checks are asked of: the finding, as it does on rows that it was not fitted to."""
    if finding.refit is not None:
        finding = replace(finding, refit=once_for_rows(finding.refit))
    proba = held_out(case, finding)
    # Without a teacher nothing speaks for a change: measured against itself, the incumbent cannot be beaten.
    teacher = case.served if finding.teacher is None else finding.teacher
    evidence = Evidence(teacher, case.served, proba) if finding.labels is None else finding.labels.foretold
    return Candidate(case, finding, proba, evidence, labels)


def once_for_rows(refit: Refit) -> Refit:
    """The same fit, made once of the same rows: what is measured on each half, steadiness asks of both."""
    known: dict[bytes, Adapter | None] = {}

    def kept(rows: NDArray[np.int64]) -> Adapter | None:
        key = rows.tobytes()
        if key not in known:
            known[key] = refit(rows)
        return known[key]

    return kept


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


def _policy(candidate: Candidate) -> tuple[Decision, list[str]]:
    """What the owner's policy makes of a heal that is worth it, and why."""
    model, finding = candidate.case.model, candidate.finding
    trial = None if finding.labels is None else candidate.evidence.trial(model)
    # A version that has served before was held to the cap when it was new.
    free = finding.recall is not None or restores(candidate.case, finding)
    beyond = "" if free else too_much(model.policy, _beyond_answer(candidate), trial)
    if beyond:
        return "audit", [f"{beyond}: a person decides" + ("" if trial is None else ", or later labels do")]
    if finding.labels is not None and not (finding.labels.proof and trial is not None and trial.says == "better"):
        return "audit", ["it waits for labels of the next windows, which decide"]
    if not finding.trusted:
        ambiguous = model.policy.release.ambiguous
        return ambiguous, [f"data cannot tell this from another mechanism; the policy says {ambiguous}"]
    return finding.decision, []


def _beyond_answer(candidate: Candidate) -> float:
    """The share of predictions that a candidate changes beyond what the owner of the data has said is so.

    Whoever was asked whether a unit changed need not decide once more that undoing it changes predictions; what class
    shares change beside it is held to the cap.
    """
    case, finding = candidate.case, candidate.finding
    if not finding.answered or finding.adapter is None or finding.adapter.reflexive is not None:
        return candidate.changed
    maps = {c: one for c, one in finding.adapter.input_map.columns.items() if case.answered(c, True)}
    undone = case.base.with_adapter(Adapter(input_map=InputMap(maps)))
    return differing(case, candidate.proba, undone.predict_proba(case.raw))


def _of_labels(case: Case, finding: Finding) -> dict[str, float]:
    """For the version's later trial: labels that it was fitted to, and the e-value with which it begins."""
    if finding.labels is None:
        return {}
    e_value = finding.labels.foretold.trial(case.model).nats.better if finding.labels.proof else 1.0
    return {"labels_fitted": float(finding.labels.fitted), "labels_held": e_value}


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
    return 0.0 if proba is None else differing(case, proba, case.served)
