"""Are the labelled rows a fair draw of the rows? Those that come sooner for one class do not say the truth.

Where they hang on the truth they hang on the score, which knows something of it: labelled and other rows are compared
by it. Where the concept turned the score knows nothing of the truth, but the columns do: so a linear score of their
hidden states is taught to tell the labelled rows from the others of one stretch, and must not tell those of the next.
What is selected by the label alone, and not by anything that the model sees, can't be told.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from selfheal.drift.stats import Floats
from selfheal.healing.hygiene import usable
from selfheal.healing.labels.rows import Earlier
from selfheal.model import MonitoredModel

LEVEL = 1e-3
"""Of the test by the score: one fair set of labels in a thousand waits. Half of it is for the columns."""

FEWEST = 20
"""Labelled rows of a window, and others, from which it is asked."""

OTHERS = 100
"""Other rows of a window from which a test that finds nothing says that there is little to find."""

FOLDS = 5
"""Contiguous stretches of a window: within one rows are alike whenever their labels come, early or late."""

PULL = 10.0
"""Pseudo-rows that hold the linear score to zero."""


def selected(model: MonitoredModel, windows: Earlier) -> str:
    """Why labels are no fair draw of their windows' rows; empty where nothing speaks against it.

    The rank-sum test (Wilcoxon 1945) of every class's probability, labelled against other rows, summed over windows;
    and of a score that was taught to tell them apart (a classifier two-sample test, Lopez-Paz & Oquab 2017).
    """
    gap, variance = np.zeros(len(model.classes_)), np.zeros(len(model.classes_))
    apart, spread = 0.0, 0.0
    for frame, labels in windows:
        rows = usable(model, frame)
        known = labels.reindex(rows.index).notna().to_numpy()
        if min(known.sum(), (~known).sum()) < FEWEST:
            continue
        proba = model.predict_proba(rows)
        moments = np.array([_rank_sum(scores, known) for scores in proba.T])
        gap, variance = gap + moments[:, 0], variance + moments[:, 1]
        more, wide = _told_apart(model.hidden_of_units(model.model_units(rows)).double().numpy(), known)
        apart, spread = apart + more, spread + wide
    return _by_score(model, gap / np.sqrt(np.maximum(variance, 1e-12))) or _by_columns(
        apart / float(np.sqrt(max(spread, 1e-12)))
    )


def compared(model: MonitoredModel, windows: Earlier) -> bool:
    """Whether there are rows without a label beside labelled ones, enough to see by them what was selected."""
    others = 0
    for frame, labels in windows:
        rows = usable(model, frame)
        missing = labels.reindex(rows.index).isna().to_numpy()
        others += int(missing.sum()) if (~missing).sum() >= FEWEST else 0
    return others >= OTHERS


def _by_score(model: MonitoredModel, z: Floats) -> str:
    k, bound = int(np.abs(z).argmax()), float(norm.isf(LEVEL / 2 / len(z)))
    if abs(z[k]) <= bound:
        return ""
    return (
        f"labels come {'more' if z[k] > 0 else 'less'} often where class {model.classes_.tolist()[k]!r} is likely (z "
        f"{z[k]:+.1f}, bound {bound:.1f}): they are no fair draw of the rows and not believed; wait for the others"
    )


def _by_columns(z: float) -> str:
    bound = float(norm.isf(LEVEL / 2))
    if z <= bound:
        return ""
    return (
        f"the columns tell rows with a label from those without (z {z:+.1f}, bound {bound:.1f}): they are no fair draw "
        "of the rows and not believed; wait for the others"
    )


def _told_apart(hidden: Floats, known: NDArray[np.bool_]) -> tuple[float, float]:
    """Rank sum less its expectation, and variance, of a linear score [n] of hidden states [n, d], stretch by stretch.

    The score is fitted to the other stretches: where the labels are a fair draw it can tell nothing in this one.
    """
    spread = hidden.std(axis=0)
    x = (hidden - hidden.mean(axis=0)) / np.maximum(spread, max(0.1 * float(spread.mean()), 1e-9))
    x = np.column_stack([x, np.ones(len(x))])
    fold, gap, variance = np.arange(len(x)) * FOLDS // len(x), 0.0, 0.0
    for one in range(FOLDS):
        out = fold == one
        if known[out].all() or not known[out].any():
            continue
        taught, wanted = x[~out], known[~out] - known[~out].mean()
        weight = np.linalg.solve(taught.T @ taught + PULL * np.eye(x.shape[1]), taught.T @ wanted)
        more, wide = _rank_sum(x[out] @ weight, known[out])
        gap, variance = gap + more, variance + wide
    return gap, variance


def _rank_sum(scores: Floats, known: NDArray[np.bool_]) -> tuple[float, float]:
    """Rank sum of the labelled rows less its expectation, and its variance with ties."""
    n, m = int(known.sum()), int((~known).sum())
    ranks = rankdata(scores)
    _, ties = np.unique(scores, return_counts=True)
    whole = n + m
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (whole * (whole - 1))
    return float(ranks[known].sum() - n * (whole + 1) / 2), n * m / 12 * (whole + 1 - tied)
