"""Labels of the window have a veto, whatever the explanation says; an answered fact yields to proof alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfheal.healing.check import Candidate, Check, Refusal
from selfheal.healing.evidence import Evidence
from selfheal.healing.labels.rows import log_losses

LABEL_Z = 1.64
"""One-sided 5 %: labels of the window on which the candidate is this much worse stop it."""

MIN_LABELS = 20
"""Labels of the window below which they stop nothing."""


def ask(candidate: Candidate) -> Refusal | None:
    """Whether the candidate is worse on the rows whose labels are known."""
    labels = candidate.labels
    if labels is None or np.isfinite(labels).sum() < MIN_LABELS:
        return None
    known = np.isfinite(labels)
    truth = labels[known].astype(np.int64)
    if candidate.finding.answered:
        return _contrary(candidate, known, truth)
    gap = log_losses(candidate.case.served[known], truth) - log_losses(candidate.proba[known], truth)
    z = float(gap.mean() / max(gap.std(ddof=1) / np.sqrt(len(gap)), 1e-9))
    if z < -LABEL_Z:
        return Refusal("refuse", f"{len(truth)} labels speak against it: paired log-loss z {z:.1f} (bound -{LABEL_Z})")
    return None


def _contrary(candidate: Candidate, known: NDArray[np.bool_], truth: NDArray[np.int64]) -> Refusal | None:
    """Whether decisions on labels prove the contrary of what the owner of the data has said.

    A weak speech does not: where the model is stale, the exact repair is right on few more rows than the nonsense it
    serves.
    """
    model = candidate.case.model
    rows = Evidence(np.eye(candidate.case.classes)[truth], candidate.case.served[known], candidate.proba[known])
    trial = rows.trial(model).decisions
    if trial.says != "worse":
        return None
    return Refusal(
        "refuse", f"decisions on labels prove the contrary of what was answered: {trial.reason}; was it this column?"
    )


CHECK = Check("labels", rank=50, ask=ask)
