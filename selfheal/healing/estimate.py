"""How good is the model on rows without labels? Said only under a mechanism that explains them, and with its error.

If the classes look as they did, a calibrated model knows its own accuracy: the mean of the probability that it gives
to what it decides (confidence-based performance estimation; Guillory et al. 2021, Garg et al. 2022). "If" is the whole
matter. So the estimate names the mechanism that it assumes (the window is like the healthy ones, or only the prior
moved, or a map undoes what moved), takes its interval from how wrong it was on blocks of the labelled reference, and is
silent where nothing explains the window. It is shown, and never used to choose: as a selector it promoted 166 worse
candidates for two better ones (docs/notes.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from selfheal.adapter import Adapter
from selfheal.drift import stats
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import Yardstick, cut
from selfheal.healing.case import Case, calibrate
from selfheal.healing.fits.label_shift import reweighted
from selfheal.healing.hygiene import MIN_ROWS, clean
from selfheal.healing.mechanisms import of, prior
from selfheal.healing.outcome import Finding, Outcome
from selfheal.model import MonitoredModel, softmax
from selfheal.policy import Cost

BLOCKS = 10
"""Reference blocks that are estimated without their own labels, by a calibration of the others."""

MARGIN = 2.0
"""Half the interval is this many times the largest error on a block, and a share more where blocks are few: ten have
not seen the worst, three still less."""

CHANCE = 1.96
"""... and at least this many standard errors of an accuracy on so many rows."""

REACH = 2.0
"""How far the window may lie from the *reference*, in bounds of its joint distribution; values it never had, in one.
The calibration is from there. Without it the estimate was .15 to .45 too high on every second window of elec, where
columns that the reference has constant begin to move, and up to .40 on flights under new weather."""

_KNOWN: dict[tuple[object, Cost | None, int], _Reference] = {}
"""What the reference says, by base, costs and rows: a base never changes, and costs say what it decides."""


@dataclass(frozen=True)
class Estimate:
    """Expected performance of what serves on a window without labels.

    Attributes
    ----------
    assumes
        The mechanism it holds under; empty when nothing is said.
    accuracy, log_loss
        (value, low, high), or None when nothing is said; log-loss in nats.
    reason
        What it rests on, or why nothing is said.
    """

    assumes: str
    accuracy: tuple[float, float, float] | None
    log_loss: tuple[float, float, float] | None
    reason: str


def silent(reason: str) -> Estimate:
    """Nothing is said, and why."""
    return Estimate("", None, None, reason)


def estimate(case: Case) -> Estimate:
    """What the serving version should reach on the case's window.

    Silent when neither the healthy windows nor another prior explain it, and for a version with a ReflexiveLayer: what
    taught it was a rule, a declaration or a few labels, and none of these says how often it is right.
    """
    model = case.model
    if model.adapter.reflexive is not None:
        return silent("the ReflexiveLayer that serves has no labelled reference to calibrate it")
    away = _reference(model, len(case.raw)).away(case.units)
    if away:
        return silent(away)
    if case.judged.explained:
        name, ratio = case.judged.worst
        words = f"like the healthy windows ({name} at {ratio:.2f} of its natural bound)"
        return _estimated(case, "stable", _truth(case, case.units), words)
    if model.adapter.logit_offset is None and not model.adapter.input_map:
        shift = prior.explain(case)
        if shift is not None and shift.explained and shift.adapter is not None:
            offset = shift.adapter.logit_offset
            return _estimated(
                case, "prior", _truth(case, case.units, offset), f"another prior explains it: {shift.reason}"
            )
    name, ratio = case.judged.worst
    return silent(f"nothing explains the window: {name} is at {ratio:.2f} of its natural bound")


def of_window(model: MonitoredModel, frame: pd.DataFrame, stick: Yardstick, healthy: list[pd.DataFrame]) -> Estimate:
    """The estimate of raw rows, the unusable ones left out.

    Parameters
    ----------
    stick
        The spread of the healthy windows, for as many rows.
    healthy
        Healthy windows in model units: what is frozen or missing there is no fault.
    """
    cleaned = clean(model, frame, healthy)
    if cleaned.faults or len(cleaned.rows) < MIN_ROWS:
        return silent(next(iter(cleaned.faults), f"{len(cleaned.rows)} usable rows (at least {MIN_ROWS})"))
    # Small matrices: BLAS threads gain nothing, and on a busy host their spinning once cost minutes.
    with threadpool_limits(1):
        return estimate(Case(model, cleaned.rows, stick))


def noted(case: Case, winner: Finding | None, outcome: Outcome) -> Outcome:
    """The outcome with the accuracy to expect of what serves and of what is proposed, under the winner's mechanism."""
    if winner is None or not winner.explained or not of(winner).foretold:
        return outcome
    adapter = winner.adapter
    if adapter is None or adapter.reflexive is not None:
        return outcome
    truth = _truth(case, adapter.input_map.apply(case.raw), adapter.logit_offset)
    healed = case.base.with_adapter(adapter).predict_proba(case.raw)
    numbers = {
        "expected_accuracy_served": _agreement(truth, case.model.decide(case.served)),
        "expected_accuracy_healed": _agreement(truth, case.model.decide(healed)),
        "expected_accuracy_error": _half_widths(case.model, len(case.raw), 0.5)[0],
    }
    return replace(outcome, numbers={**outcome.numbers, **numbers})


def _estimated(case: Case, assumes: str, truth: Floats, words: str) -> Estimate:
    accuracy = _agreement(truth, case.model.decide(case.served))
    loss = float(-(truth * np.log(np.maximum(case.served, 1e-12))).sum(axis=1).mean())
    wide, wide_loss = _half_widths(case.model, len(case.raw), accuracy)
    reason = f"assumes {assumes}: {words}; within ± {wide:.3f} on the reference"
    return Estimate(
        assumes,
        (accuracy, max(accuracy - wide, 0.0), min(accuracy + wide, 1.0)),
        (loss, max(loss - wide_loss, 0.0), loss + wide_loss),
        reason,
    )


def _truth(case: Case, units: pd.DataFrame, offset: Floats | None = None) -> Floats:
    """Calibrated probabilities [n, k] of rows in model units, under the prior that a logit offset stands for."""
    moved = case.model.adapter.logit_offset if offset is None else offset
    calibrated = case.calibrated(units)
    if moved is None:
        return calibrated
    return reweighted(calibrated, np.ones(case.classes), np.exp(case.calibration[0][0] * moved))


def _agreement(truth: Floats, decided: NDArray[np.int64]) -> float:
    return float(truth[np.arange(len(decided)), decided].mean())


def _half_widths(model: MonitoredModel, n: int, accuracy: float) -> tuple[float, float]:
    """Half the interval of accuracy and of log-loss for windows of ``n`` rows."""
    known = _reference(model, n)
    chance = CHANCE * float(np.sqrt(max(accuracy * (1 - accuracy), 1 / n) / n))
    return max(MARGIN * known.accuracy_error, chance), MARGIN * known.loss_error


@dataclass(frozen=True)
class _Reference:
    """The reference as a place that windows may be near to, and the largest errors of the estimate on its blocks."""

    stick: Yardstick
    accuracy_error: float
    loss_error: float

    @classmethod
    def of(cls, model: MonitoredModel, n: int) -> _Reference:
        accuracy, loss = errors(model, n)
        stick = Yardstick(model.with_adapter(Adapter()), None, n)
        few = 1.0 + 1.0 / len(accuracy)
        return cls(stick, few * float(np.abs(accuracy).max()), few * float(np.abs(loss).max()))

    def away(self, units: pd.DataFrame) -> str:
        """Why rows in model units lie too far from the reference; empty when they do not."""
        x, bounds = self.stick.encode(units), self.stick.bounds
        outside = self.stick.support.outside(x) / bounds.outside
        worst = int(np.argmax(outside))
        if outside[worst] > 1.0:
            return f"column {self.stick.model.features[worst]!r} holds values that the reference never had"
        joint = stats.gaussian_kl(self.stick.scale, self.stick.scale.z(x)) / bounds.joint
        if joint > REACH:
            return f"too far from the reference: {joint:.1f} bounds of its joint distribution (at most {REACH:g})"
        return ""


def _reference(model: MonitoredModel, n: int) -> _Reference:
    # The same weights with another reference are another base. In memory it is the objects, which the entry keeps.
    base = model.manifest or (id(model.backbone), id(model.head), id(model.preprocess), id(model.reference))
    key = (base, model.policy.cost, n)
    if key not in _KNOWN:
        if len(_KNOWN) >= 8:
            _KNOWN.pop(next(iter(_KNOWN)))
        _KNOWN[key] = _Reference.of(model, n)
    return _KNOWN[key]


def errors(model: MonitoredModel, n: int) -> tuple[Floats, Floats]:
    """Estimate minus truth on reference blocks of about ``n`` rows, [blocks]: of the accuracy, of the log-loss."""
    k = len(model.classes_)
    blocks = cut(model.reference, n)[-BLOCKS:]
    logits = [model.logits_of_base(b) for b in blocks]
    truths = [np.searchsorted(model.classes_, model.reference_labels.loc[b.index].to_numpy()) for b in blocks]
    accuracy, loss = [], []
    for i, (z, y) in enumerate(zip(logits, truths, strict=True)):
        others = [j for j in range(len(blocks)) if j != i] or [i]
        slope, bias = calibrate(
            np.concatenate([logits[j] for j in others]), np.concatenate([truths[j] for j in others]), k
        )
        p, served = softmax(z * slope + bias), softmax(z)
        decided, rows = model.decide(served), np.arange(len(y))
        accuracy.append(p[rows, decided].mean() - (decided == y).mean())
        log_p = np.log(np.maximum(served, 1e-12))
        loss.append(-(p * log_p).sum(axis=1).mean() + log_p[rows, y].mean())
    return np.array(accuracy), np.array(loss)
