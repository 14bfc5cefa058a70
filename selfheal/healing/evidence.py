"""What a candidate is measured by: rows that it was not fitted to, and how likely each class is there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.healing.hygiene import usable
from selfheal.healing.labels.rows import Earlier, decision_losses, labelled_rows, log_losses
from selfheal.healing.sequential import Trial, trial
from selfheal.model import MonitoredModel
from selfheal.policy import Cost, Policy

COST_GAIN = 0.05
"""With declared costs a change must lower the expected cost by this share: estimates of it are no better than that."""


@dataclass(frozen=True)
class Evidence:
    """Rows that speak about a candidate.

    Attributes
    ----------
    truth : float [n, k]
        Distribution of the truth: under the explanation that was accepted, or 1 for the class that a label names.
    served, candidate : float [n, k]
        Probabilities of what serves, and of the candidate as it is without having seen these rows.
    """

    truth: Floats
    served: Floats
    candidate: Floats

    @cached_property
    def losses(self) -> dict[str, float]:
        """Expected log-loss, nats a row, of ``candidate``, ``incumbent`` and the ``constant``."""
        constant = np.broadcast_to(self.truth.mean(axis=0), self.truth.shape)
        pairs = (("candidate", self.candidate), ("incumbent", self.served), ("constant", constant))
        return {name: cross_entropy(self.truth, proba) for name, proba in pairs}

    def gains(self, model: MonitoredModel) -> tuple[Floats, Floats]:
        """Of labelled rows, each [n]: what the candidate gains in nats, and in loss of the model's decisions."""
        label = self.truth.argmax(axis=1)
        return (
            log_losses(self.served, label) - log_losses(self.candidate, label),
            decision_losses(model, self.served, label) - decision_losses(model, self.candidate, label),
        )

    def trial(self, model: MonitoredModel, e_value: float = 1.0) -> Trial:
        """The paired tests on labelled rows; ``e_value`` is the e-value that they begin with."""
        return trial(*self.gains(model), e_value)


def held_against(serving: MonitoredModel, candidate: MonitoredModel, windows: Earlier) -> Evidence:
    """Two models on labelled windows (raw rows, labels)."""
    known, k = labelled_rows(serving, windows), len(serving.classes_)
    if not len(known):
        return Evidence(*(np.empty((0, k)) for _ in range(3)))
    return Evidence(np.eye(k)[known.truth], serving.predict_proba(known.rows), candidate.predict_proba(known.rows))


def cross_entropy(truth: Floats, proba: Floats) -> float:
    """Expected log-loss of ``proba`` [n, k] where ``truth`` [n, k] is the truth's distribution, in nats."""
    return float(-(truth * np.log(np.maximum(proba, 1e-12))).sum(axis=1).mean())


def expected_cost(cost: Cost, truth: Floats, decided: NDArray[np.int64]) -> float:
    """Expected cost a row of decisions [n] (0 or 1) where ``truth`` [n, 2] is the truth's distribution."""
    wrong = np.where(decided == 1, truth[:, 0] * cost.false_positive, truth[:, 1] * cost.false_negative)
    return float(wrong.mean())


def costly(model: MonitoredModel, evidence: Evidence) -> str:
    """Why the candidate's decisions do not cost less, at the costs that the policy declares; empty where they do."""
    # Whoever reads the probabilities may call the cheaper class, or the likelier one; what changes must cost less.
    ways: tuple[tuple[str, Callable[[Floats], NDArray[np.int64]]], ...] = (
        ("cheaper", model.decide), ("likelier", _likelier)
    )  # fmt: skip
    for way, decide in ways:
        before, after = decide(evidence.served), decide(evidence.candidate)
        if way == "cheaper" or np.any(before != after):
            words = dearer(model.policy, evidence.truth, before, after, f", calling the {way} class")
            if words:
                return words
    return ""


def dearer(policy: Policy, truth: Floats, before: NDArray[np.int64], after: NDArray[np.int64], made: str = "") -> str:
    """Why decisions [n] do not cost less than the ones before where ``truth`` [n, 2] is the truth's distribution.

    ``made``: how they were, in words.
    """
    cost = policy.cost
    if cost is None:
        return ""
    now, then = expected_cost(cost, truth, before), expected_cost(cost, truth, after)
    if now > 0 and then <= (1 - COST_GAIN) * now:
        return ""
    return (
        f"expected cost {now:.3f} → {then:.3f} a row at {cost.false_positive:g} : {cost.false_negative:g}"
        f"{made} (a gain of at least {COST_GAIN:.0%} is asked for)"
    )


def too_much(policy: Policy, changed: float, trial: Trial | None = None) -> str:
    """Why a change of this share of predictions is not made without a person; empty where it may be.

    ``max_changed`` bounds what traffic can do. Labels that prove its decisions better are no traffic.
    """
    most = policy.heal.max_changed
    if changed <= most or (trial is not None and trial.decisions.says == "better"):
        return ""
    proof = "" if trial is None else f", and labels prove no better decisions: e-value {trial.decisions.better:.3g}"
    return f"it changes {changed:.0%} of predictions (max_changed {most:.0%}){proof}"


def barred(
    serving: MonitoredModel, candidate: MonitoredModel, rows: pd.DataFrame, evidence: Evidence, trial: Trial
) -> str:
    """What the policy says against a version that labels found better; empty where it says nothing.

    Parameters
    ----------
    rows : DataFrame [n, >= d]
        Raw rows, labelled or not; of those that are usable the share of changed predictions is counted.
    evidence, told
        The labelled rows, and what the trial says of them.
    """
    rows = usable(serving, rows)
    changed = float((candidate.predict(rows) != serving.predict(rows)).mean())
    return costly(serving, evidence) or too_much(serving.policy, changed, trial)


def _likelier(proba: Floats) -> NDArray[np.int64]:
    return np.asarray(proba.argmax(axis=1), dtype=np.int64)
