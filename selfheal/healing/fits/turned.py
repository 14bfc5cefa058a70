"""A concept that turned for a part of the rows: which class stands for which now, on each side of a value of a column.

``p'(y | x) = Σ_c p(c | x) · T[c, y]``: where a class was likely another one is now. One table T for all rows, or one on
each side of a cut of one column; each is held to "as it was" and fitted by EM (Dempster, Laird & Rubin 1977). Few
labels do not tell which cut it is, so the answers of all are mixed, each by how likely it makes the labels (Hoeting,
Madigan, Raftery & Volinsky 1999, "Bayesian model averaging").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.stats import Floats

PULL, STAYS = 4.0, 0.9
"""Pseudo-rows of each class that hold a table to what was, and the share of them that stay what they are."""

QUANTILES = np.arange(1, 8) / 8
"""Of the window's values, at which a column is cut."""

SMALLEST = 0.1
"""Share of the window's rows that each side of a cut must have."""

ASKED = 16
"""Cuts whose tables are fitted: those under which the decisions alone, counted against the labels, tell most."""

STEPS = 20
"""Of EM."""

SEEN = 1e-3
"""Weight of a cut below which it is left out."""


@dataclass(frozen=True)
class Cut:
    """Two sides of a column: the rows of one level and the others, or those up to a value and those above."""

    column: str
    value: Any
    level: bool

    def side(self, units: pd.DataFrame) -> NDArray[np.bool_]:
        """Which rows [n] lie on the first; a missing value lies on the other."""
        values = units[self.column]
        first = values == self.value if self.level else values <= self.value
        return np.asarray(first.to_numpy(dtype=bool, na_value=False))

    def __str__(self) -> str:
        value = self.value if self.level else f"{self.value:.4g}"
        return f"`{self.column}` {'=' if self.level else '≤'} {value}"


@dataclass(frozen=True)
class Turned:
    """What each class stands for now.

    Attributes
    ----------
    whole : float [k, k]
        Of all rows alike: as it was and one table, each times its weight.
    cuts
        The cuts that count, the likeliest first.
    tables : float [m, 2, k, k]
        Of their two sides.
    weights : float [m]
        With the weight of ``whole`` they sum to 1.
    """

    whole: Floats
    cuts: tuple[Cut, ...]
    tables: Floats
    weights: Floats

    def apply(self, proba: Floats, units: pd.DataFrame) -> Floats:
        """Probabilities [n, k] now, of rows that had these."""
        made = proba @ self.whole
        for cut, tables, weight in zip(self.cuts, self.tables, self.weights, strict=True):
            first = cut.side(units)[:, None]
            made = made + weight * np.where(first, proba @ tables[0], proba @ tables[1])
        return np.asarray(made / made.sum(axis=1, keepdims=True))


def cuts_of(units: pd.DataFrame, measured: Sequence[str]) -> list[Cut]:
    """Where rows may be told apart: eighths of columns that are ``measured``, levels of the others.

    Examples
    --------
    >>> rows = pd.DataFrame({"x": range(80), "kind": ["a", "b"] * 40})
    >>> [str(cut) for cut in cuts_of(rows, ["x"])][-3:]
    ['`x` ≤ 69.12', '`kind` = a', '`kind` = b']
    """
    cuts: list[Cut] = []
    for column in units.columns:
        values = units[column].dropna()
        if column in measured:
            numbers = values.to_numpy(dtype=np.float64)
            places = np.unique(np.quantile(numbers, QUANTILES)).tolist() if len(values) else []
            made = [Cut(column, place, level=False) for place in places]
        else:
            made = [Cut(column, value, level=True) for value in values.value_counts().index[: round(1 / SMALLEST)]]
        cuts += [cut for cut in made if SMALLEST <= cut.side(units).mean() <= 1 - SMALLEST]
    return cuts


def sides_of(units: pd.DataFrame, cuts: Sequence[Cut]) -> NDArray[np.bool_]:
    """Which rows lie on the first side of each cut: bool [g, n]."""
    return np.array([cut.side(units) for cut in cuts], dtype=bool).reshape(len(cuts), len(units))


def fit_turned(proba: Floats, truth: NDArray[np.int64], every: NDArray[np.bool_], cuts: Sequence[Cut]) -> Turned:
    """What labelled rows say each class stands for.

    Parameters
    ----------
    proba : float [n, k]
        Of the model as it is.
    truth : int [n], class index.
    every : bool [g, n], of :func:`sides_of`.
    cuts
        Of :func:`cuts_of`: g of them.
    """
    n, k = proba.shape
    chosen = _most_telling(proba, truth, every)
    sides = every[chosen]
    tables, likelihoods = _tables(proba, truth, sides)
    whole, alike = _tables(proba, truth, np.ones((1, n), dtype=bool))
    as_it_was = float(np.log(np.maximum(proba[np.arange(n), truth], 1e-12)).sum())
    # A third each: nothing turned, all did, or one of the cuts tells which rows.
    scores = np.r_[as_it_was, alike, likelihoods - np.log(max(len(cuts), 1))]
    weights = np.exp(scores - scores.max())
    weights /= weights.sum()
    order = np.argsort(-weights[2:], kind="stable")
    order = order[weights[2:][order] > SEEN]
    return Turned(
        weights[0] * np.eye(k) + weights[1] * whole[0, 0],
        tuple(cuts[chosen[i]] for i in order), tables[order], weights[2:][order],
    )  # fmt: skip


def _most_telling(proba: Floats, truth: NDArray[np.int64], sides: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The cuts [m] of ``sides`` [g, n] under which decisions, counted against the labels, tell most."""
    n, k = proba.shape
    pairs = np.zeros((n, k * k))
    pairs[np.arange(n), proba.argmax(axis=1) * k + truth] = 1.0
    first = sides.astype(np.float64) @ pairs
    counts = np.stack([first, pairs.sum(axis=0) - first], axis=1).reshape(-1, 2, k, k)
    table = _normed(counts + _prior(k))
    score = ((counts + _prior(k)) * np.log(table)).sum(axis=(1, 2, 3))
    return np.sort(np.argsort(-score, kind="stable")[:ASKED])


def _tables(proba: Floats, truth: NDArray[np.int64], sides: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Tables [g, 2, k, k] of the sides [g, n] of each cut, and how likely they make the labels [g], in nats."""
    k = proba.shape[1]
    on = np.stack([sides, ~sides], axis=1).astype(np.float64)
    onehot, prior = np.eye(k)[truth], _prior(k)
    tables = np.broadcast_to(prior / PULL, (len(sides), 2, k, k))
    for _ in range(STEPS):
        joint = tables[..., truth] * proba.T
        share = joint / np.maximum(joint.sum(axis=2, keepdims=True), 1e-12) * on[:, :, None]
        tables = _normed(share @ onehot + prior)
    likely = np.log(np.maximum((tables[..., truth] * proba.T).sum(axis=2), 1e-12))
    penalty = (prior * (np.log(tables) - np.log(prior / PULL))).sum(axis=(1, 2, 3))
    return tables, np.asarray((on * likely).sum(axis=(1, 2)) + penalty)


def _prior(k: int) -> Floats:
    return np.asarray(PULL * (STAYS * np.eye(k) + (1 - STAYS) / k))


def _normed(counts: Floats) -> Floats:
    return np.asarray(counts / counts.sum(axis=-1, keepdims=True))
