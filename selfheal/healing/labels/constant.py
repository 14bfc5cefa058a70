"""Is a model still worth serving? By labels, beside a constant: the class shares that were known before each row."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.healing.evidence import Evidence
from selfheal.healing.labels.fair import selected
from selfheal.healing.labels.rows import Earlier, labelled_rows
from selfheal.healing.sequential import Says
from selfheal.model import MonitoredModel

PSEUDO = 30
"""Rows that the reference's shares count for: the labels of a window replace them, a handful does not."""


def beside_constant(model: MonitoredModel, windows: Earlier) -> tuple[Says, str]:
    """What labels say of the constant beside the model: ``better`` where it would be let out in the model's place.

    The same paired test as for any version that waits (:func:`selfheal.healing.sequential.trial`), so that it may be
    asked after every label: a model that is worth more than the constant is found worth less in at most 5 % of cases.

    Parameters
    ----------
    windows
        Raw rows and labels since nothing explains the drift, oldest first.

    Returns
    -------
    says, reason
        ``undecided`` where the labels are no fair draw of the rows, which no such test survives.
    """
    known = labelled_rows(model, windows)
    if not len(known):
        return "undecided", "no labels"
    unfair = selected(model, windows)
    if unfair:
        return "undecided", unfair
    labels = model.reference_labels.to_numpy()
    start = np.array([(labels == c).mean() for c in model.classes_.tolist()])
    truth = np.eye(len(start))[known.truth]
    trial = Evidence(truth, model.predict_proba(known.rows), shares_before(start, known.truth)).trial(model)
    return trial.says, f"a constant in its place, {trial.reason}"


def shares_before(start: Floats, truth: NDArray[np.int64]) -> Floats:
    """Class shares [n, k] as they were known before each row: nothing of the row itself, so that the bet is fair.

    Parameters
    ----------
    start : float [k]
        Shares before the first, worth :data:`PSEUDO` rows.
    truth : int [n], class index, in order.
    """
    seen = np.eye(len(start))[truth]
    before = np.cumsum(seen, axis=0) - seen
    return np.asarray((before + PSEUDO * start) / (np.arange(len(truth)) + PSEUDO)[:, None])
