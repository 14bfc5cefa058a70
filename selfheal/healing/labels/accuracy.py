"""How right a model is, by few labels: rows are drawn by how much they tell, and the interval holds at any time.

Rows are drawn with chances that grow with the model's own doubt, where most errors lie, and each error is weighted by
the inverse of its row's chance, so that the mean of the weighted errors is the error of all rows whatever the chances
are (importance sampling; Sawade, Landwehr, Bickel & Scheffer 2010, "Active risk estimation"). The interval is a
confidence sequence: an error rate stays in it until bets against it have won 1 / level times their stake, which happens
to the true one in at most that share of cases however often one looks and whenever one stops (Waudby-Smith & Ramdas
2024, "Estimating means of bounded random variables by betting", the hedged capital process).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.healing.sequential import STAKES

EVEN = 0.8
"""Part of the chances that all rows share alike: no error weighs more than 1 / this, and the interval of a rare error
is as wide as the heaviest is heavy. Of .3, .5, .6, .8 and 1 the one whose interval was narrower than an even draw's at
30, 100 and 300 labels, on eight worlds; smaller ones win at 300 and lose at 30."""

GRID = 1001
"""Error rates that are asked about: the interval is exact to a tenth of a point."""


@dataclass(frozen=True)
class Accuracy:
    """An accuracy with its interval.

    Attributes
    ----------
    value, low, high
        Share of right decisions over all rows; the interval holds at all times at once with 1 - ``level``.
    labels
        Draws that it rests on; a row that is drawn again counts again.
    level
        Probability, at most, that the truth ever lies outside.
    """

    value: float
    low: float
    high: float
    labels: int
    level: float


def chances(proba: Floats) -> Floats:
    """Chance [n] of each row to be drawn next, from the probabilities [n, k] of what is asked about.

    Their square root makes the estimate's variance least (Sawade et al.).

    Examples
    --------
    >>> chances(np.array([[0.99, 0.01], [0.5, 0.5]])).round(3).tolist()
    [0.425, 0.575]
    """
    doubt = np.sqrt(np.maximum(1 - proba.max(axis=1), 1e-4))
    return np.asarray(EVEN / len(proba) + (1 - EVEN) * doubt / doubt.sum())


def draw(proba: Floats, rows: int, seed: int) -> NDArray[np.int64]:
    """Positions of the rows to ask about, in that order, drawn with replacement: one drawn again is not asked again."""
    drawn = np.random.default_rng(seed).choice(len(proba), size=rows, p=chances(proba))
    return np.asarray(drawn, dtype=np.int64)


def accuracy(proba: Floats, drawn: NDArray[np.int64], wrong: NDArray[np.bool_], level: float = 0.05) -> Accuracy:
    """The accuracy on all rows, by the answers so far.

    Parameters
    ----------
    proba : float [n, k]
        What the chances were made of.
    drawn : int [m]
        Rows in the order of :func:`draw`; the first m of them, stopped whenever one pleases.
    wrong : bool [m]
        Whether the decision was wrong there.

    Examples
    --------
    >>> proba = np.tile([0.9, 0.1], (1000, 1))
    >>> told = accuracy(proba, draw(proba, 100, 0), np.zeros(100, dtype=bool))
    >>> told.value, round(told.low, 2), told.high
    (1.0, 0.94, 1.0)
    """
    weights = weights_of(proba)
    return weighed(weights[drawn], float(weights.max()), np.asarray(wrong, dtype=bool), level=level)


def weights_of(proba: Floats) -> Floats:
    """How many rows' worth an error of each row [n] counts when it is drawn: 1 over n times its chance."""
    return np.asarray(1 / (len(proba) * chances(proba)))


def weighed(
    weights: Floats,
    most: float,
    wrong: NDArray[np.bool_],
    unknown: NDArray[np.bool_] | None = None,
    level: float = 0.05,
) -> Accuracy:
    """The accuracy on all rows, by draws whose weights were kept.

    Parameters
    ----------
    weights : float [m]
        Of the drawn rows, in the order in which they were drawn; see :func:`weights_of`.
    most
        The largest weight that any row had.
    wrong, unknown : bool [m]
        Whether the decision was wrong; and where nobody has said so yet: the lower end counts those draws as wrong, the
        upper one as right, so that it does not matter which rows are answered.

    Examples
    --------
    >>> asked = np.ones(40)
    >>> known = weighed(asked, 1.0, np.arange(40) < 4)
    >>> open_ = weighed(asked, 1.0, np.arange(40) < 4, unknown=np.arange(40) >= 30)
    >>> known.value, open_.labels, open_.low < known.low < known.high <= open_.high
    (0.9, 30, True)
    """
    unknown = np.zeros(len(weights), dtype=bool) if unknown is None else unknown
    loss, known = np.asarray(weights * (wrong & ~unknown) / most), ~unknown
    worst = np.where(unknown, weights / most, loss)
    value = float(np.clip(1 - loss[known].mean() * most, 0.0, 1.0)) if known.any() else float("nan")
    low = 1 - _kept(worst, most, level).max()
    return Accuracy(value, float(low), float(1 - _kept(loss, most, level).min()), int(known.sum()), level)


def _kept(loss: Floats, most: float, level: float) -> Floats:
    """The error rates that bets on ``loss`` [m], as a share of the heaviest, have not refuted."""
    rates = np.linspace(0.0, 1.0, GRID)
    means = np.minimum(rates / most, 1 - 1e-9)
    return np.asarray(rates[_wealth(loss, means) < 1 / level])


def _wealth(loss: Floats, means: Floats) -> Floats:
    """Wealth [g] of bets, half of them each way, that the mean of ``loss`` [m], in [0, 1], is not each of ``means``."""
    more, less = (np.zeros((len(STAKES), len(means))) for _ in range(2))
    for value in loss:
        more += np.log1p(STAKES[:, None] * (value - means) / np.maximum(means, 1e-9))
        less += np.log1p(-STAKES[:, None] * (value - means) / (1 - means))
    wealth = [np.exp(np.minimum(logs, 700.0)).mean(axis=0) for logs in (more, less)]
    return np.asarray((wealth[0] + wealth[1]) / 2)
