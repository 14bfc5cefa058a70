"""The classes come in other shares, each looking as it did: a logit offset in closed form."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from selfheal.adapter import Adapter
from selfheal.drift.stats import Floats, ks
from selfheal.healing.case import Case
from selfheal.healing.label_shift import bbse_prior, em_error, em_prior, reweighted
from selfheal.healing.outcome import Finding
from selfheal.model import softmax

WITNESSES = 0.75
"""EM and BBSE must agree within this many standard errors: both are right only if classes look as before. They see
the same rows, so that their errors go together: true shifts on ten worlds stayed below .36, evasion lay at .56-1.34
(the tails below catch the smaller ones)."""

SIXFOLD = 6.0
"""Undeclared, the odds of a class may change by this factor at most: .15 may become .03 to .51."""

TAILS = (-1.5, 0.0)
TAIL_KS = 1.63
"""Among rows with a logit above each of these, √n·D stays below its 1 % bound when classes look as before: true shifts
on ten worlds gave .5-1.5, evasion that poses as a shift 1.4-2.7."""

STEADY = 1.5
"""The prior must move this much farther than between healthy windows, else it is the season."""


@dataclass(frozen=True)
class Shift:
    """An estimated prior [k] of the window beside the pool's, with what speaks for and against it."""

    pool: Floats
    window: Floats
    disagreement: float
    strength: float


def estimate(case: Case, units: pd.DataFrame) -> Shift:
    """Class shares of rows in model units against those of the pool."""
    posterior = case.calibrated(units)
    window, pool = em_prior(posterior, case.prior), case.pool_prior
    error = em_error(posterior, case.prior, window)
    witness, witness_error = bbse_prior(posterior, case.reference_posterior, case.truth, case.classes)
    apart = np.abs(witness - window) / np.sqrt(error**2 + witness_error**2)
    steps = [np.abs(log_ratio(b, a)).max() for a, b in itertools.pairwise(case.block_priors)]
    noise = 4 * float((error / np.maximum(window * (1 - window), 1e-3)).max())
    strength = float(np.abs(log_ratio(window, pool)).max()) / max(STEADY * max(steps, default=0.0), noise)
    return Shift(pool, window, float(apart.max()), strength)


def log_ratio(a: Floats, b: Floats) -> Floats:
    """Log odds ratio of each class share, float [k]."""
    a, b = np.clip(a, 1e-4, 1 - 1e-4), np.clip(b, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(a / (1 - a)) - np.log(b / (1 - b)))


def pool_weights(case: Case, shift: Shift) -> Floats:
    """What turns the pool into a window with the shifted prior: ``Σ_y p(y|x) π'_y / π_y``, float [m]."""
    posterior = reweighted(case.pool_posterior, case.prior, shift.pool)
    return np.asarray(posterior @ (shift.window / np.maximum(shift.pool, 1e-4)))


def offset(case: Case, shift: Shift) -> Floats:
    """The logit offset [k] that is best on the labelled reference once its classes weigh as they come now.

    On the model's own logits, calibrated or not: the closed form ``log π'/π`` is right for calibrated ones only.
    """
    logits = case.base.logits_of_base(case.reference)
    weights = (shift.window / np.maximum(case.prior, 1e-4))[case.truth]
    weights /= weights.sum()
    rows, onehot = np.arange(len(logits)), np.eye(case.classes)[case.truth]

    def loss(step: Floats) -> tuple[float, Floats]:
        p = softmax(logits + step)
        value = -weights @ np.log(np.maximum(p[rows, case.truth], 1e-12)) + 1e-6 * (step**2).sum()
        return float(value), weights @ (p - onehot) + 2e-6 * step

    found = minimize(loss, np.zeros(case.classes), jac=True, method="L-BFGS-B")
    return np.asarray(found.x - found.x.mean())


def band(case: Case) -> tuple[Floats, Floats]:
    """Lowest and highest believable share of every class, float [k] each."""
    odds = case.prior / np.maximum(1 - case.prior, 1e-6)
    low, high = odds / SIXFOLD, odds * SIXFOLD
    low, high = low / (1 + low), high / (1 + high)
    declared = case.model.policy.declare.prior_band
    if declared is not None:
        low, high = np.zeros(case.classes), np.ones(case.classes)
        low[-1], high[-1] = declared
    return low, high


def tail_ratio(case: Case, units: pd.DataFrame, weights: Floats) -> float:
    """KS of the score among rows that lean to a class, over its chance bound: evasion shows here."""
    mine, pool = case.stick.margin(units), case.stick.pool_margin
    worst = 0.0
    for j in range(mine.shape[1]):
        for tail in TAILS:
            x, rows = mine[mine[:, j] > tail, j], pool[:, j] > tail
            if len(x) < 30 or rows.sum() < 30:
                continue
            mass = weights[rows]
            effective = mass.sum() ** 2 / (mass**2).sum()
            worst = max(worst, ks(x, pool[rows, j], mass) / (TAIL_KS * np.sqrt(1 / len(x) + 1 / effective)))
    return worst


def believed(case: Case, shift: Shift) -> list[str]:
    """What speaks against an estimated shift: too small, two witnesses that disagree, out of band."""
    low, high = band(case)
    inside = bool(np.all((low <= shift.window) & (shift.window <= high)))
    bounds = ", ".join(f"{a:.2f}-{b:.2f}" for a, b in zip(low, high, strict=True))
    checks = (
        (shift.strength > 1.0, f"not larger than between healthy windows ({shift.strength:.2f} of it)"),
        (
            shift.disagreement <= WITNESSES,
            f"EM and BBSE disagree by {shift.disagreement:.1f} standard errors (bound {WITNESSES:g})",
        ),
        (inside, f"outside the band of shares ({bounds})"),
    )
    return [why for ok, why in checks if not ok]


def explain(case: Case) -> Finding | None:
    """Whether the pool under another prior explains the window."""
    shift = estimate(case, case.raw)
    before, after = (", ".join(f"{v:.3f}" for v in shares) for shares in (shift.pool, shift.window))
    weights = pool_weights(case, shift)
    judged = case.stick.judge(case.raw, weights).ratios | {"tail": tail_ratio(case, case.raw, weights)}
    name = max(judged, key=lambda k: judged[k])
    ratio = judged[name]
    failed = believed(case, shift)
    failed += [f"the reweighted pool leaves {name} at {ratio:.2f} of its bound"] if ratio > 1.0 else []
    adapter = Adapter(logit_offset=offset(case, shift))
    return Finding(
        "prior", "prior", not failed, "reweighted " + name, ratio, 1.0,
        f"class shares {before} → {after}" + "".join(f"; {why}" for why in failed),
        adapter=adapter, teacher=case.base.with_adapter(adapter).proba_of_units(case.raw),
        refit=lambda rows: Adapter(logit_offset=offset(case, estimate(case, case.raw.iloc[rows]))),
    )  # fmt: skip
