"""Candidates for the gate, every figure of them known: the model's one column is the log-odds of the last class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from selfheal import Adapter, MonitoredModel
from selfheal.healing.case import Case, halved
from selfheal.healing.check import Candidate
from selfheal.healing.evidence import Evidence
from selfheal.healing.gate import candidate_of
from selfheal.healing.outcome import ByLabels, Finding

Floats = NDArray[np.float64]
N = 1000
COSTS = {"false_positive": 1, "false_negative": 5}
CHEAPER = float(np.log(1 / 5))
"""Log-odds from which the last class is the cheaper one to call."""


@cache
def network() -> MonitoredModel:
    """One column, which is the log-odds of the last class."""
    head = nn.Linear(1, 1)
    with torch.no_grad():
        head.weight.fill_(1.0)
        head.bias.zero_()
    return MonitoredModel(nn.Identity(), head, pd.DataFrame({"x": np.linspace(-2, 2, 50), "y": np.arange(50) % 2}), "y")


def case_of(log_odds: Sequence[float] | Floats, **policy: Any) -> Case:
    """A window that is served these log-odds, under a policy that lets any share of predictions change."""
    model = network().with_policy({"heal": {"max_changed": 1.0}, **policy})
    return Case(model, pd.DataFrame({"x": np.asarray(log_odds, dtype=np.float64)}), None)  # type: ignore[arg-type]


def shift(by: float) -> Adapter:
    """What adds ``by`` to the log-odds."""
    return Adapter(logit_offset=np.array([-by / 2, by / 2]))


def sure(share: float | Floats, n: int = N) -> Floats:
    """Distribution [n, 2] of a truth whose last class has this share."""
    last = np.broadcast_to(share, n).astype(np.float64)
    return np.column_stack([1 - last, last])


def proba(log_odds: float | Floats, n: int = N) -> Floats:
    return sure(1 / (1 + np.exp(-np.asarray(log_odds, dtype=np.float64))), n)


def finding(adapter: Adapter, teacher: Floats | None, diagnosis: Any = "sensor", **more: Any) -> Finding:
    return Finding("m", diagnosis, True, "measure", 0.0, 1.0, "so", adapter=adapter, teacher=teacher, **more)


def worth(gain: float, by: float) -> Floats:
    """The truth under which moving all log-odds from 0 to ``by`` gains so many nats."""
    served, candidate = 0.5, 1 / (1 + np.exp(-by))
    up, down = np.log(candidate / served), np.log((1 - candidate) / (1 - served))
    return sure((gain - down) / (up - down))


def world(*groups: tuple[int, float, int]) -> tuple[Floats, Floats]:
    """Log-odds [n] and truth [n, 2] of groups of rows: how many, their log-odds, their class."""
    odds = np.concatenate([np.full(count, at) for count, at, _ in groups])
    return odds, sure(np.concatenate([np.full(count, float(label)) for count, _, label in groups]), len(odds))


# ------------------------------------------------------------------ one candidate for each answer


def little_gained() -> Candidate:
    return candidate_of(case_of(np.zeros(N)), finding(shift(0.2), worth(0.007, 0.2), "prior"))


def worse_than_the_constant() -> Candidate:
    """Right only in that it says less of what is wrong: the truth is a share of .3 and nothing else."""
    return candidate_of(case_of(np.full(N, 3.0)), finding(shift(-1.0), sure(0.3)))


def other_shares() -> Candidate:
    """Most labels are of the last class, and calling all rows so is all that the patch does."""
    truth, n = sure(np.r_[np.ones(90), np.zeros(10)], 100), 100
    by = ByLabels(n, Evidence(truth, proba(-0.5, n), proba(1.5, n)), proof=True)
    return candidate_of(case_of(np.ones(N)), finding(shift(2.0), None, labels=by, refit=lambda rows: shift(2.0)))


def torn() -> Candidate:
    """One half has it that all log-odds rise by 3, the other that they fall by 3."""
    first, _ = halved(N, 0)
    refit = lambda rows: shift(3.0 if np.array_equal(rows, first) else -3.0)  # noqa: E731
    case = case_of(np.linspace(-2, 2, N))
    teacher = candidate_of(case, finding(shift(3.0), None, refit=refit)).proba
    return candidate_of(case, finding(shift(3.0), sure((teacher[:, 1] > 0.5).astype(np.float64)), refit=refit))


def dearer() -> Candidate:
    odds, truth = world((49, CHEAPER + 0.1, 0), (951, CHEAPER + 0.9, 0), (300, -4.0, 0), (300, 4.0, 1))
    return candidate_of(case_of(odds, cost=COSTS), finding(shift(-0.2), truth))


def spoken_against() -> Candidate:
    labels = np.r_[np.zeros(60), np.full(N - 60, np.nan)]
    return candidate_of(case_of(np.zeros(N)), finding(shift(1.0), worth(0.05, 1.0)), labels)


STOPPED: dict[str, Callable[[], Candidate]] = {
    "gain": little_gained,
    "constant": worse_than_the_constant,
    "steadiness": torn,
    "cost": dearer,
    "shares": other_shares,
    "labels": spoken_against,
}
"""Check → a candidate that fails it, and no check before it."""


def right(**more: Any) -> Candidate:
    """A unit that changed, undone: dear where it was wrong, the same from any half, and labels agree."""
    odds, truth = world((200, -2.0, 1), (500, 1.5, 1), (300, -5.0, 0))
    labels = np.where(np.arange(len(odds)) % 10 == 0, truth[:, 1], np.nan)
    return candidate_of(case_of(odds, cost=COSTS), finding(shift(2.2), truth, **more), labels)


def proven_by_labels() -> Candidate:
    """A patch whose labels show better decisions window by window, of rows of one score that it tells apart."""
    served, foretold = (
        proba(np.r_[np.full(60, -0.5), np.ones(100)], 160),
        proba(np.r_[np.full(60, 0.5), np.full(50, 2), np.full(50, -1)], 160),
    )
    truth = sure(np.r_[np.ones(110), np.zeros(50)], 160)
    by = ByLabels(60, Evidence(truth, served, foretold), proof=True)
    return candidate_of(case_of(np.ones(N)), finding(shift(1.0), None, labels=by, refit=lambda rows: shift(1.0)))


RIGHT: dict[str, Callable[[], Candidate]] = {
    "a unit undone": right,
    "the same from any half": lambda: right(refit=lambda rows: shift(2.2)),
    "a version that comes back": lambda: right(decision="recall", recall=1),
    "a patch that labels prove": proven_by_labels,
}
"""What nothing speaks against."""
