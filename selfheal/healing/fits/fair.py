"""Were rows chosen by the model's own answer? A log that keeps half of the declined ones looks like fewer positives.

Where classes come in other shares, the density of the scores is multiplied by a function that is linear in the
posterior (Saerens et al. 2002); where rows were kept by what the model decided, by a step at the decision. Both have
one free figure a class, so the likelier one is told by the likelihood alone. What hangs on the label and not on the
score can't be seen without labels, nor can a selection that is itself linear in the posterior.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from selfheal.drift.stats import Floats

CLEARLY = 2.0
"""Nats of likelihood by which other class shares must explain the scores better than a cut at the model's decision,
where the two can be told apart by as much. Of 20 true shifts of one world from 18 to 35 % none fell below it, from
18 to 9 % four did; of 60 logs that kept 15 to 50 % of what was declined one passed."""


def cut_at_decision(window: Floats, pool: Floats, decided: NDArray[np.int64], usual: NDArray[np.int64]) -> str:
    """Why the window's scores may as well come from a cut at the decision as from other class shares; empty if not.

    Where the scores are so far apart that a cut and other shares do the same to them, only the clear lead of a cut says
    anything.

    Parameters
    ----------
    window, pool : float [n, k], [m, k]
        Calibrated probabilities.
    decided, usual : int [n], [m]
        What the model decides on these rows.
    """
    rows, groups = np.concatenate([window, pool]), np.concatenate([decided, usual])
    inside = np.r_[np.ones(len(window)), np.zeros(len(pool))]
    expected = _shares(inside, rows)
    lead = _likelihood(inside, _cut(inside, groups)) - _likelihood(inside, expected)
    told_apart = _likelihood(expected, expected) - _likelihood(expected, _cut(expected, groups))
    bound = -CLEARLY if told_apart >= CLEARLY else CLEARLY
    if lead <= bound:
        return ""
    return (
        f"a cut at the model's decision explains the scores {'better' if lead > 0 else 'as well'} ({lead:+.1f} nats, "
        f"bound {bound:+.1f}): are all rows logged, whatever was answered?"
    )


def _shares(inside: Floats, rows: Floats) -> Floats:
    """How likely each row is one of the window's, where the odds are the likeliest linear function of the posterior."""
    k = rows.shape[1]

    def loss(theta: Floats) -> tuple[float, Floats]:
        ratio = np.exp(theta)
        density = rows @ ratio
        odds = np.log(density)
        value = np.logaddexp(0, odds) - inside * odds
        return float(value.sum()), ((density / (1 + density) - inside) / density) @ rows * ratio

    start = np.full(k, np.log(inside.mean() / (1 - inside.mean())))
    optimum = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=[(-12, 12)] * k)
    density = rows @ np.exp(optimum.x)
    return np.asarray(density / (1 + density))


def _cut(inside: Floats, decided: NDArray[np.int64]) -> Floats:
    """The same where the odds hang on the decision alone."""
    return np.asarray((np.bincount(decided, weights=inside) / np.maximum(np.bincount(decided), 1))[decided])


def _likelihood(inside: Floats, chance: Floats) -> float:
    """Log-likelihood in nats of what is inside [n] (0 to 1) under these chances [n]."""
    chance = np.clip(chance, 1e-12, 1 - 1e-12)
    return float((inside * np.log(chance) + (1 - inside) * np.log1p(-chance)).sum())
