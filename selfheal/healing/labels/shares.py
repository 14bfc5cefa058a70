"""Do labels say more than that classes come in other shares? Labels that come sooner for one class say just that.

Where neither the served score nor the columns know the truth, labels that were selected by it look like a fair draw
(:mod:`selfheal.healing.labels.fair`). What they teach is the selection: call every row what most labels are. So a patch
has to beat what serves under the labels' shares: its logits times a scale and moved by an offset for each class, both
fitted to the very labels that judge. Where their owner declares that rows were drawn by lot to be labelled
(``declare.labels_by_lot``), other shares are the truth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from selfheal.drift.stats import Floats
from selfheal.healing.evidence import Evidence
from selfheal.healing.labels.rows import LOWEST, decision_losses, log_losses
from selfheal.healing.sequential import LEVEL
from selfheal.model import MonitoredModel, softmax

MORE = 0.01
"""Nats a row by which a patch must beat what serves under the labels' own shares, where rows without a label show that
these look like a fair draw. Of 74 harmful patches from labels that were none these rows had not shown 28, and none of
those gained more than -.001."""

ALONE = 0.03
"""The same where too few rows without a label are there, and then at no loss of decisions."""

PROVEN, SPREAD = 1 / LEVEL, 1.64
"""E-value of decisions beside what serves under the labels' shares, asked for where one class has more of the labels
than any has of the reference, and 5 % of fair draws; of 156 turned concepts four wait for it that gained."""

PULL = 1.0
"""Pseudo-row that keeps scale and offsets finite where all labels are of one class."""


def reshared(served: Floats, truth: Floats) -> Floats:
    """What serves, with the scale (never below zero) and the offsets under which the labels are likeliest.

    Parameters
    ----------
    served : float [n, k], probabilities.
    truth : float [n, k], 1 for the class that a label names.

    Examples
    --------
    >>> reshared(np.full((8, 2), 0.5), np.tile([0.0, 1.0], (8, 1))).argmax(axis=1).tolist()
    [1, 1, 1, 1, 1, 1, 1, 1]
    """
    logits, k = np.log(np.maximum(served, LOWEST)), served.shape[1]
    start = np.r_[1.0, np.zeros(k)]

    def loss(theta: Floats) -> tuple[float, Floats]:
        proba, away = softmax(theta[0] * logits + theta[1:]), theta - start
        gap = proba - truth
        value = -(truth * np.log(np.maximum(proba, 1e-12))).sum() + PULL * (away**2).sum() / 2
        return float(value), np.r_[(gap * logits).sum(), gap.sum(axis=0)] + PULL * away

    bounds = [(0.0, 5.0)] + [(None, None)] * k
    theta = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return softmax(theta[0] * logits + theta[1:])


def no_more(model: MonitoredModel, foretold: Evidence, compared: bool) -> str:
    """Why labels say no more than class shares; empty where they do, or where no decision changes.

    Parameters
    ----------
    foretold
        Labelled rows that the candidate was not fitted to.
    compared
        Whether rows without a label have shown that the labels look like a fair draw.
    """
    label = foretold.truth.argmax(axis=1)
    if len(label) and np.ptp(label) == 0:
        only = model.classes_.tolist()[label[0]]
        return f"all {len(label)} labels are of class {only!r}: they say nothing of rows of others; wait for them"
    alike = np.array_equal(model.decide(foretold.candidate), model.decide(foretold.served))
    if alike or model.policy.declare.labels_by_lot:
        return ""
    decisions, nats = beyond_shares(model, foretold)
    if nats >= (MORE if compared else ALONE) and (compared or decisions >= 0):
        return ""
    return (
        "the labels say little more than that classes come in other shares, as labels do that come sooner for one "
        f"class: the patch gains {nats:+.3f} nats a row (bound {MORE if compared else ALONE}) and {decisions:+.3f} of "
        "decisions beside what serves under their shares (declare.labels_by_lot, where rows are drawn to be labelled)"
    )


def lopsided(model: MonitoredModel, foretold: Evidence) -> str:
    """Why labels of mostly one class say little more than that; empty where they do, or are not mostly of one.

    Where the concept turned in a part of the rows no class has more of them than some class had before, but where the
    parts had shares of their own. Labels that come sooner for one class give it more, and a table for each side of a
    column that tells the classes besides is better than their shares alone (:func:`no_more`): one such cost eleven
    points.
    """
    shares, n = foretold.truth.mean(axis=0), len(foretold.truth)
    most = float(model.reference_labels.value_counts(normalize=True).max())
    bound = most + SPREAD * np.sqrt(most * (1 - most) / n)
    if model.policy.declare.labels_by_lot or shares.max() <= bound:
        return ""
    beside = replace(foretold, served=reshared(foretold.served, foretold.truth)).trial(model).decisions
    if beside.better >= PROVEN:
        return ""
    return (
        f"{shares.max():.0%} of {n} labels are of class {model.classes_.tolist()[int(shares.argmax())]!r}, of the "
        f"reference {most:.0%} of any (bound {bound:.0%}), and decisions hardly gain beside what serves under the "
        f"labels' shares (e-value {beside.better:.3g}, bound {PROVEN:g}): do labels of other classes come later?"
    )


def beyond_shares(model: MonitoredModel, foretold: Evidence) -> tuple[float, float]:
    """What a candidate gains over what serves under the labels' shares, a row: in loss of decisions, and in nats."""
    label, rival = foretold.truth.argmax(axis=1), reshared(foretold.served, foretold.truth)
    decisions = decision_losses(model, rival, label) - decision_losses(model, foretold.candidate, label)
    nats = log_losses(rival, label) - log_losses(foretold.candidate, label)
    return float(decisions.mean()), float(nats.mean())
