"""Labelled rows: of this window and of the ones before it, and what a candidate gains on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.errors import InputError, shown
from selfheal.healing.hygiene import usable
from selfheal.model import MonitoredModel
from selfheal.parts.labels import Spelling

Earlier = Sequence[tuple[pd.DataFrame, pd.Series]]
"""Windows before, oldest first: raw rows, and labels on their index (NaN where unknown)."""

LOWEST = 1e-6
"""Probabilities below this count as this much: a row costs at most 13.8 nats."""


@dataclass(frozen=True)
class Labelled:
    """Rows whose truth is known.

    Attributes
    ----------
    rows : DataFrame [n, d], raw.
    truth : int [n], class index.
    window : int [n], which window each comes from, 0 the oldest.
    """

    rows: pd.DataFrame
    truth: NDArray[np.int64]
    window: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.truth)


def labelled_rows(model: MonitoredModel, windows: Earlier) -> Labelled:
    """The usable labelled rows of some windows, oldest first: every number finite where the reference's are.

    Raises
    ------
    InputError
        If a label is no class of the model.
    """
    frames, truths, places = [], [], []
    for place, (frame, labels) in enumerate(windows):
        known = labels.dropna()
        rows = usable(model, frame.loc[known.index.intersection(frame.index)])
        frames.append(rows)
        truths.append(class_index(model, known.loc[rows.index]))
        places.append(np.full(len(rows), place))
    if not frames:
        return Labelled(model.reference.iloc[:0], np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    return Labelled(pd.concat(frames, ignore_index=True), np.concatenate(truths), np.concatenate(places))


def class_index(model: MonitoredModel, labels: pd.Series) -> NDArray[np.int64]:
    """Position of each label among the model's classes."""
    spelling, known = Spelling(model.classes_.tolist()), labels.tolist()
    codes = [spelling.position(label) for label in known]
    if None in codes:
        label = known[codes.index(None)]
        raise InputError(f"labels: {shown(label)} is no class of the model (classes: {model.classes_.tolist()})")
    return np.array(codes, dtype=np.int64)


def log_losses(proba: Floats, truth: NDArray[np.int64]) -> Floats:
    """Log-loss [n] in nats of probabilities [n, k]."""
    return np.asarray(-np.log(np.maximum(proba[np.arange(len(truth)), truth], LOWEST)))


def decision_losses(model: MonitoredModel, proba: Floats, truth: NDArray[np.int64]) -> Floats:
    """Loss [n] of the decisions: the policy's costs over the larger one where declared, else 0 or 1."""
    said = model.decide(proba)
    wrong: Floats = (said != truth).astype(np.float64)
    cost = model.policy.cost
    if cost is None:
        return wrong
    costs = np.where(said == 1, cost.false_positive, cost.false_negative)
    return np.asarray(costs * wrong / max(cost.false_positive, cost.false_negative))
