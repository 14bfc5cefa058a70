"""Are the labelled rows a fair draw of the rows? Those that come sooner for one class do not say the truth.

Where they hang on the truth they hang on the score, which knows something of it: labelled and other rows are compared
by it. What is selected by the label alone, and not by anything that the model sees, can't be told.
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
"""Of the test, over all classes: one fair set of labels in a thousand waits."""

FEWEST = 20
"""Labelled rows of a window, and others, from which it is asked."""


def selected(model: MonitoredModel, windows: Earlier) -> str:
    """Why labels are no fair draw of their windows' rows; empty where nothing speaks against it.

    The rank-sum test (Wilcoxon 1945) of every class's probability, labelled against other rows, summed over windows.
    """
    gap, variance = np.zeros(len(model.classes_)), np.zeros(len(model.classes_))
    for frame, labels in windows:
        rows = usable(model, frame)
        known = labels.reindex(rows.index).notna().to_numpy()
        if min(known.sum(), (~known).sum()) < FEWEST:
            continue
        proba = model.predict_proba(rows)
        for k, scores in enumerate(proba.T):
            less, spread = _rank_sum(scores, known)
            gap[k], variance[k] = gap[k] + less, variance[k] + spread
    z = gap / np.sqrt(np.maximum(variance, 1e-12))
    k, bound = int(np.abs(z).argmax()), float(norm.isf(LEVEL / 2 / len(z)))
    if abs(z[k]) <= bound:
        return ""
    return (
        f"labels come {'more' if z[k] > 0 else 'less'} often where class {model.classes_.tolist()[k]!r} is likely (z "
        f"{z[k]:+.1f}, bound {bound:.1f}): they are no fair draw of the rows and not believed; wait for the others"
    )


def _rank_sum(scores: Floats, known: NDArray[np.bool_]) -> tuple[float, float]:
    """Rank sum of the labelled rows less its expectation, and its variance with ties."""
    n, m = int(known.sum()), int((~known).sum())
    ranks = rankdata(scores)
    _, ties = np.unique(scores, return_counts=True)
    whole = n + m
    tied = float((ties.astype(np.float64) ** 3 - ties).sum()) / (whole * (whole - 1))
    return float(ranks[known].sum() - n * (whole + 1) / 2), n * m / 12 * (whole + 1 - tied)
