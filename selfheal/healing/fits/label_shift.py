"""Estimating a changed class prior without labels: EM on calibrated probabilities, and BBSE as its witness."""

from __future__ import annotations

import numpy as np
from scipy.stats import chi2

from selfheal.drift.stats import Floats
from selfheal.model import softmax

PSEUDO_ROWS = 2.0
"""MAP-EM: pseudo-rows per class at the old prior, so that a class without evidence does not vanish (docs/notes.md)."""

RUNS = 20
"""Runs into which a window's rows are cut: 18 rows each of the shortest window that shows a shift."""
BY_CHANCE = float(chi2.isf(1e-3, RUNS - 1) / (RUNS - 1))
"""Ratio of variances, 2.3, that so many runs of independent rows reach once in a thousand windows."""
NEXT, ALIKE = 3.1, 0.98
"""Standard errors, each ``1/sqrt(n)``, from which neighbours are correlated, once in a thousand windows by chance;
and the largest correlation that is counted."""


def em_prior(posterior: Floats, old: Floats, iterations: int = 200) -> Floats:
    """Class prior of a window by expectation-maximisation (Saerens et al. 2002), with a weak pull to the old one.

    Parameters
    ----------
    posterior : float [n, k], calibrated under the prior ``old`` [k].

    Returns
    -------
    float [k], sums to 1.
    """
    prior = old.copy()
    for _ in range(iterations):
        joint = posterior * (prior / old)
        responsibility = joint / joint.sum(axis=1, keepdims=True)
        new = responsibility.sum(axis=0) + PSEUDO_ROWS * len(old) * old
        new /= new.sum()
        if np.abs(new - prior).max() < 1e-7:
            return np.asarray(new)
        prior = new
    return np.asarray(prior)


def em_error(posterior: Floats, old: Floats, prior: Floats) -> Floats:
    """Standard error [k] of :func:`em_prior`, each class against the rest, from the observed information."""
    information = (_score(posterior, old, prior) ** 2).sum(axis=0)
    return np.asarray(1.0 / np.sqrt(np.maximum(information, 1e-12)))


def _score(posterior: Floats, old: Floats, prior: Floats) -> Floats:
    """Derivative of each row's log-likelihood by the share of each class against the rest: [n, k]."""
    likelihood = posterior / old
    rest = (1.0 - posterior) / np.maximum(1.0 - old, 1e-12)
    mix = prior * likelihood + (1 - prior) * rest
    return np.asarray((likelihood - rest) / np.maximum(mix, 1e-12))


def in_runs(posterior: Floats, old: Floats, prior: Floats) -> float:
    """How many times as large :func:`em_error` is where neighbouring rows are alike; 1 where they are a draw.

    By the variance of the score's sum over :data:`RUNS` runs of consecutive rows, over that of single rows (the
    "sandwich" of White 1982, by batch means), and by what a row says of the next, (1 + ρ) / (1 - ρ) as of an AR(1).
    Each counts where chance alone would hardly make it; the larger of both, and of the classes.
    """
    score = _score(posterior, old, prior)
    score = score - score.mean(axis=0)
    sums = np.stack([run.sum(axis=0) for run in np.array_split(score, RUNS)])
    total = np.maximum((score**2).sum(axis=0), 1e-12)
    ratio = float((sums.var(axis=0, ddof=1) * RUNS / total).max())
    next_ = min(float(((score[1:] * score[:-1]).sum(axis=0) / total).max()), ALIKE)
    follows = (1 + next_) / (1 - next_) if next_ > NEXT / np.sqrt(len(score)) else 1.0
    return float(np.sqrt(max(ratio if ratio > BY_CHANCE else 1.0, follows)))


def bbse_prior(window: Floats, reference: Floats, truth: np.ndarray, k: int) -> tuple[Floats, Floats]:
    """Black-box shift estimation (Lipton et al. 2018) with soft predictions, and its standard error.

    Parameters
    ----------
    window : float [n, k] and reference : float [m, k], probabilities of the same classifier; truth : int [m].

    Returns
    -------
    (prior [k], error [k]); the prior is not clipped, so that an impossible value shows.
    """
    confusion = np.column_stack([reference[truth == j].mean(axis=0) for j in range(k)])
    inverse = np.linalg.pinv(confusion)
    prior = inverse @ window.mean(axis=0)
    noise = np.cov(window.T) / len(window) + np.cov(reference.T) / len(reference)
    error = np.sqrt(np.maximum(np.diag(inverse @ noise @ inverse.T), 1e-12))
    return np.asarray(prior), np.asarray(error)


def reweighted(posterior: Floats, old: Floats, new: Floats) -> Floats:
    """Posteriors [n, k] under another prior."""
    return softmax(np.log(np.maximum(posterior, 1e-12)) + np.log(np.maximum(new, 1e-12) / np.maximum(old, 1e-12)))
