"""Scores answers against the truth that only the demo knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.demo.replay import Answer
from selfheal.demo.results import Accuracy
from selfheal.demo.streams import Slice
from selfheal.model import MonitoredModel


def accuracies(
    base: MonitoredModel, slice_: Slice, answers: Sequence[Answer], *, frozen: MonitoredModel | None = None
) -> Accuracy:
    """The four accuracies of rows that no heal has seen.

    Parameters
    ----------
    base : the base model with an identity adapter.
    slice_ : the rows and their truth.
    answers : what was served for them, in order.
    frozen : what would have answered them had nothing been done; by default the base.
    """
    _, counts = np.unique(slice_.labels, return_counts=True)
    return Accuracy(
        clean=share_right(base, slice_.clean, slice_.clean_labels),
        broken=share_right(frozen or base, slice_.rows.frame, slice_.labels),
        after=share_served(base, answers, slice_.labels),
        constant=float(counts.max() / counts.sum()),
    )


def share_right(model: MonitoredModel, frame: pd.DataFrame, labels: NDArray[Any]) -> float:
    """Share of rows that the model calls by their label."""
    return float(np.mean(model.predict(frame) == labels))


def share_served(model: MonitoredModel, answers: Sequence[Answer], labels: NDArray[Any]) -> float:
    """Share of served rows [n] that were called by their label; ``answers`` hold all of them, in order."""
    said = model.classes_[model.decide(np.concatenate([answer.probabilities for answer in answers]))]
    return float(np.mean(said == labels))
