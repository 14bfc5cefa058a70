"""Estimators of the literature: what accuracy the frozen model has on a window, without its labels.

Each is fitted on the labelled reference. None of them sees why the window is unlike it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selfheal.board.rivals import served
from selfheal.board.trial import Floats, Trial


@dataclass(frozen=True)
class Asked:
    """What an estimator gets: the answers on the reference and whether they were right, the answers on the window."""

    trial: Trial

    @cached_property
    def reference(self) -> Floats:
        """Probabilities [n, k] of the labelled reference."""
        return self.trial.model.proba_of_units(self.trial.model.reference)

    @cached_property
    def right(self) -> Floats:
        """1 where the decision on the reference was right, else 0."""
        model = self.trial.model
        return np.asarray(
            model.classes_[model.decide(self.reference)] == model.reference_labels.to_numpy(), dtype=np.float64
        )

    @cached_property
    def window(self) -> Floats:
        """Probabilities [m, k] of the window."""
        return served(self.trial.model, self.trial.window)


def cbpe(asked: Asked) -> float:
    """CBPE (NannyML; Białek et al. 2024): the mean calibrated confidence; here the chance to be right, by isotonics."""
    curve = IsotonicRegression(out_of_bounds="clip").fit(asked.reference.max(axis=1), asked.right)
    return float(curve.predict(asked.window.max(axis=1)).mean())


def atc(asked: Asked) -> float:
    """ATC (Garg et al. 2022): the share of rows above the confidence below which as many reference rows lie as err."""
    bound = np.quantile(_negentropy(asked.reference), 1 - asked.right.mean())
    return float((_negentropy(asked.window) >= bound).mean())


def aetta(asked: Asked, passes: int = 10, dropped: float = 0.4, power: float = 3.0) -> float:
    """AETTA (Lee et al. 2024): how often dropout of hidden units changes the answer, heavier where answers collapse."""
    model = asked.trial.model
    hidden = model.hidden_of_units(model.model_units(asked.trial.window))
    said, differ = asked.window.argmax(axis=1), []
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for _ in range(passes):
            mask = (torch.rand(hidden.shape, generator=generator) >= dropped) / (1 - dropped)
            differ.append((model.head_logits(hidden * mask).argmax(dim=1).numpy() != said).mean())
    mean = asked.window.mean(axis=0)
    entropy = -(mean * np.log(np.maximum(mean, 1e-12))).sum() / np.log(len(mean))
    return float(np.clip(1 - np.mean(differ) * max(entropy, 1e-3) ** -power, 0.0, 1.0))


def suitability(asked: Asked) -> float:
    """Suitability filter (Pouget et al. 2025): the mean chance to be right by a regression on signals of the output."""
    fitted = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    if asked.right.min() == asked.right.max():
        return float(asked.right[0])
    fitted.fit(_signals(asked.reference), asked.right)
    return float(fitted.predict_proba(_signals(asked.window))[:, 1].mean())


ESTIMATORS: dict[str, Callable[[Asked], float]] = {
    "CBPE": cbpe,
    "ATC": atc,
    "AETTA": aetta,
    "suitability filter": suitability,
}


REFERENCE = "as on the reference"
"""Who says that nothing has changed: what each of them must beat."""


def estimates(trial: Trial) -> dict[str, float | None]:
    """What each says of the frozen model's accuracy on the window; None where it can't be scored."""
    asked = Asked(trial)
    if not np.isfinite(asked.window).all():
        return dict.fromkeys((REFERENCE, *ESTIMATORS))
    return {REFERENCE: float(asked.right.mean()), **{name: estimate(asked) for name, estimate in ESTIMATORS.items()}}


def _negentropy(proba: Floats) -> Floats:
    return np.asarray((proba * np.log(np.maximum(proba, 1e-12))).sum(axis=1))


def _signals(proba: Floats) -> Floats:
    """Confidence, margin, entropy, and the log-odds of the surest class."""
    top = np.sort(np.clip(proba, 1e-6, 1 - 1e-6), axis=1)
    best = top[:, -1]
    return np.column_stack([best, best - top[:, -2], _negentropy(proba), np.log(best / (1 - best))])
