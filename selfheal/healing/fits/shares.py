"""Class shares of a window that come otherwise than before, and what speaks for and against them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.stats import norm

from selfheal.drift.stats import Floats
from selfheal.healing.case import Case, once_a_case
from selfheal.healing.fits.label_shift import bbse_prior, em_error, em_prior, in_runs, reweighted
from selfheal.model import softmax

WITNESSES = 2.0
"""EM and BBSE must agree within this many standard errors: both are right only if classes look as before. They see
the same rows, so that their errors go together: true shifts on 28 worlds stayed below 0.8."""

FAMILYWISE = 0.05
"""Level of the test that classes look as before: refusing one true shift in twenty is cheaper than one evasion."""

SIXFOLD = 6.0
"""Undeclared, the odds of a class may change by this factor at most: .15 may become .03 to .51."""

STEADY = 1.5
"""The prior must move this much farther than between healthy windows, else it is the season."""


LONE, NATURAL = 0.01, 1.3
"""Level, of all words and codes together, at which one of them comes otherwise than the shifted shares say; and times
what it does so in any healthy window. Of 25 true shifts (five worlds, 8 to 120 words, 400 and 1,000 rows) the farthest
lay at 3.2 standard errors; two words that changed places at 3.2 to 16.5, and four such that went out cost two to eight
points."""


@dataclass(frozen=True)
class Shift:
    """An estimated prior [k] of the window beside the pool's, with what speaks for and against it."""

    pool: Floats
    window: Floats
    disagreement: float
    strength: float


@once_a_case
def pool_prior(case: Case) -> Floats:
    """Estimated class shares of the yardstick's pool, float [k]."""
    return em_prior(case.pool_posterior, case.prior)


@once_a_case
def block_priors(case: Case) -> list[Floats]:
    """Estimated class shares of every healthy window, float [k] each."""
    return [em_prior(case.calibrated(block), case.prior) for block in case.stick.blocks]


def estimate(case: Case, units: pd.DataFrame) -> Shift:
    """Class shares of rows in model units against those of the pool."""
    posterior = case.calibrated(units)
    window, pool = em_prior(posterior, case.prior), pool_prior(case)
    error = em_error(posterior, case.prior, window)
    witness, witness_error = bbse_prior(posterior, case.reference_posterior, case.truth, case.classes)
    apart = np.abs(witness - window) / np.sqrt(error**2 + witness_error**2)
    steps = [np.abs(log_ratio(b, a)).max() for a, b in itertools.pairwise(block_priors(case))]
    runs = in_runs(posterior, case.prior, window)
    noise = 4 * runs * float((error / np.maximum(window * (1 - window), 1e-3)).max())
    strength = float(np.abs(log_ratio(window, pool)).max()) / max(STEADY * max(steps, default=0.0), noise)
    return Shift(pool, window, float(apart.max()), strength)


def departure(case: Case, units: pd.DataFrame) -> float:
    """By how many standard errors the class shares of rows in model units lie off the pool's; natural spread is one."""
    posterior = case.calibrated(units)
    window = em_prior(posterior, case.prior)
    chance = em_error(posterior, case.prior, window) / np.maximum(window * (1 - window), 1e-3)
    steps = [log_ratio(b, a) for a, b in itertools.pairwise(block_priors(case))]
    natural = np.sqrt(np.mean(np.square(steps), axis=0) / 2) if steps else 0.0
    return float((np.abs(log_ratio(window, pool_prior(case))) / np.sqrt(chance**2 + natural**2)).max())


def log_ratio(a: Floats, b: Floats) -> Floats:
    """Log odds ratio of each class share, float [k]."""
    a, b = np.clip(a, 1e-4, 1 - 1e-4), np.clip(b, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(a / (1 - a)) - np.log(b / (1 - b)))


def pool_weights(case: Case, shift: Shift) -> Floats:
    """What turns the pool into a window with the shifted prior: ``π'_y / π_y``, float [m].

    Where labels are unknown its mean, ``Σ_y p(y|x) π'_y / π_y``: a model that knows little blurs it.
    """
    if case.stick.pool_labels is not None:
        truth = np.searchsorted(case.model.classes_, case.stick.pool_labels)
        shares = np.bincount(truth, minlength=case.classes) / len(truth)
        return np.asarray((shift.window / np.maximum(shares, 1e-4))[truth])
    posterior = reweighted(case.pool_posterior, case.prior, shift.pool)
    return np.asarray(posterior @ (shift.window / np.maximum(shift.pool, 1e-4)))


def lone(case: Case, weights: Floats) -> str:
    """Which word or code comes more or less often than the shifted shares explain, in words; empty where none does.

    Two that changed places, or one large customer, look like other shares of the classes to the model's score, and in
    few rows of many words to every distance too.

    Parameters
    ----------
    weights : float [m], of the pool's rows (:func:`pool_weights`).
    """
    model, pool = case.model, case.stick.pool_frame
    columns = [c for c in model.features if model.dtypes[c] == "str" or c in case.code_columns]
    every = {c: _away(case.raw[c], pool[c], weights) for c in columns}
    bound = float(norm.isf(LONE / 2 / max(sum(len(away) for away in every.values()), 1)))
    for column, away in every.items():
        if not len(away) or away.abs().max() <= bound:
            continue
        level = away.abs().idxmax()
        healthy = [_away(block[column], pool[column]) for block in case.stick.blocks]
        least = max(bound, NATURAL * max((abs(block.get(level, 0.0)) for block in healthy), default=0.0))
        if abs(away[level]) > least:
            return (
                f"{column} is {level!r} {'more' if away[level] > 0 else 'less'} often than these shares explain "
                f"({abs(away[level]):.1f} standard errors, bound {least:.1f}): did that alone change?"
            )
    return ""


def _away(rows: pd.Series, pool: pd.Series, weights: Floats | None = None) -> pd.Series:
    """Of each level, how many standard errors its share of the rows lies off that of the weighted pool."""
    w = np.full(len(pool), 1 / len(pool)) if weights is None else weights / weights.sum()
    then = pd.Series(w).groupby(pool.to_numpy()).sum()
    now = rows.value_counts(normalize=True)
    levels = then.index.union(now.index)
    then, now = then.reindex(levels, fill_value=0.0), now.reindex(levels, fill_value=0.0)
    m, n = 1 / float(w @ w), len(rows)
    both = ((then * m + now * n) / (m + n)).clip(1e-4, 1 - 1e-4)
    away: pd.Series = (now - then) / np.sqrt(both * (1 - both) * (1 / m + 1 / n))
    return away


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

    optimum = minimize(loss, np.zeros(case.classes), jac=True, method="L-BFGS-B")
    return np.asarray(optimum.x - optimum.x.mean())


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


def distortion(case: Case, units: pd.DataFrame, shift: Shift) -> float:
    """How much a class looks different under the shifted shares, over the bound of chance.

    A class that walked (fraud that evades) looks at first like another share of it. But then the rows that are taken
    for it are not where its rows were: mean and variance of every class's own log-odds, over rows as far as they belong
    to it, are held against the pool's under the same shares. On 28 worlds evasion gave 2.6 to 6.8 standard errors where
    it passed all else, 77 of 79 true shifts less than 2.5.
    """
    mine, pool = (_belonging(case, p, shift.window) for p in (case.calibrated(units), case.pool_posterior))
    mass = pool_weights(case, shift)
    mass /= mass.sum()
    worst = 0.0
    for k in range(case.classes):
        (ours, log_odds), (theirs, usual) = ((part[0][:, k], part[1][:, k]) for part in (mine, pool))
        share = mass * theirs
        middle = share @ usual / share.sum()
        spread = max(float(np.sqrt(share @ (usual - middle) ** 2 / share.sum())), 1e-9)
        z, usual_z = (log_odds - middle) / spread, (usual - middle) / spread
        now, then = ours * np.array([z, z**2 - 1]), theirs * np.array([usual_z, usual_z**2 - 1])
        mean = then @ mass
        noise = now.var(axis=1) / now.shape[1] + ((then - mean[:, None]) ** 2 @ mass) * (mass @ mass)
        worst = max(worst, float((np.abs(now.mean(axis=1) - mean) / np.sqrt(np.maximum(noise, 1e-18))).max()))
    return worst / float(norm.isf(FAMILYWISE / 2 / (2 * case.classes)))


def _belonging(case: Case, posterior: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """How far every row belongs to every class under other shares, and its log-odds for it: float [n, k] each."""
    log_odds = np.log(np.maximum(posterior, 1e-9)) - np.log(np.maximum(1 - posterior, 1e-9))
    return reweighted(posterior, case.prior, shares), np.clip(log_odds, -12, 12)


def believed(case: Case, shift: Shift, units: pd.DataFrame) -> list[str]:
    """What speaks against an estimated shift: too small, two witnesses that disagree, out of band, another look."""
    low, high = band(case)
    inside = bool(np.all((low <= shift.window) & (shift.window <= high)))
    bounds = ", ".join(f"{a:.2f}-{b:.2f}" for a, b in zip(low, high, strict=True))
    changed = distortion(case, units, shift)
    checks = (
        (shift.strength > 1.0, f"not larger than between healthy windows ({shift.strength:.2f} of it)"),
        (
            shift.disagreement <= WITNESSES,
            f"EM and BBSE disagree by {shift.disagreement:.1f} standard errors (bound {WITNESSES:g})",
        ),
        (inside, f"outside the band of shares ({bounds})"),
        (changed <= 1.0, f"a class looks different ({changed:.2f} of its bound): it moved, and not its share alone"),
    )
    return [why for ok, why in checks if not ok]
