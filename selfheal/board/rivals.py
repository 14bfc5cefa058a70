"""What a healer must not be worse than, and what it could reach at best: rivals and the oracle.

All of them answer for the unseen rows after fitting on the window. They are written apart from the healer, so that a
fault in its parts cannot hide in theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import nn

from selfheal.adapter import Adapter, ReflexiveLayer
from selfheal.board.trial import Floats, Trial
from selfheal.model import MonitoredModel, softmax

RIDGE = 1e-2
"""Added to the covariances of hidden units (z-scored scale), many of which never fire."""


def served(model: MonitoredModel, frame: pd.DataFrame) -> Floats:
    """Probabilities [n, k] of raw rows as they would be served; rows that cannot be scored give NaN, no error."""
    return model.proba_of_units(model.model_units(frame))


def constant(trial: Trial) -> Floats:
    """The reference's class shares for every row."""
    labels = trial.model.reference_labels.to_numpy()
    share = np.array([(labels == c).mean() for c in trial.model.classes_])
    return np.tile(share, (len(trial.unseen), 1))


def prior_correction(trial: Trial) -> Floats:
    """EM for the class shares on the served probabilities as they are (Saerens et al. 2002), 100 rounds."""
    old = constant(trial)[0]
    window, share = served(trial.model, trial.window), old.copy()
    for _ in range(100):
        weighted = window * (share / old)
        share = (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
    answer = served(trial.model, trial.unseen) * (share / old)
    return np.asarray(answer / answer.sum(axis=1, keepdims=True))


def entropy(trial: Trial) -> Floats:
    """TENT-like (Wang et al. 2021): a scale and a shift of every hidden unit, 100 steps down the window's entropy."""
    hidden = _hidden(trial, trial.window)
    scale, shift = torch.ones(hidden.shape[1]), torch.zeros(hidden.shape[1])
    parameters = [scale.requires_grad_(), shift.requires_grad_()]
    optimiser = torch.optim.Adam(parameters, lr=5e-3)
    for _ in range(100):
        log_p = nn.functional.log_softmax(trial.model.head_logits(hidden * scale + shift), dim=1)
        loss = -(log_p.exp() * log_p).sum(dim=1).mean()
        downhill(optimiser, parameters, loss)
    return _answer(trial.model, _hidden(trial, trial.unseen) * scale.detach() + shift.detach())


def coral(trial: Trial) -> Floats:
    """CORAL (Sun et al. 2016) on hidden features: the window's mean and covariance become the reference's."""
    reference = trial.model.hidden_of_units(trial.model.reference).double().numpy()
    window = _hidden(trial, trial.window).double().numpy()
    unit = reference.std(axis=0) + 1e-3
    reference, window = reference / unit, window / unit
    whiten = _power(np.cov(window.T), -0.5)
    colour = _power(np.cov(reference.T), 0.5)
    unseen = _hidden(trial, trial.unseen).double().numpy() / unit
    moved = ((unseen - window.mean(axis=0)) @ whiten @ colour + reference.mean(axis=0)) * unit
    return _answer(trial.model, torch.from_numpy(moved.astype(np.float32)))


def article(trial: Trial) -> Floats:
    """The published recipe: a ReflexiveLayer on the window's real labels (70 %) and the rules' votes (30 %)."""
    model = trial.model
    wanted = np.eye(len(model.classes_))[np.searchsorted(model.classes_, trial.truth)]
    rules = [rule for rule in model.policy.rule_set if len(model.classes_) == 2]
    if rules:
        units = model.model_units(trial.window)
        fired = np.any([rule.fires(units) for rule in rules], axis=0)
        votes = np.searchsorted(model.classes_, [rule.vote for rule in rules])
        wanted = 0.7 * wanted + 0.3 * np.eye(2)[np.where(fired, votes[0], 1 - votes[0])]
    layer = learned(model, _hidden(trial, trial.window), wanted)
    return _answer(model, layer(_hidden(trial, trial.unseen)))


RIVALS: dict[str, Callable[[Trial], Floats]] = {
    "constant": constant,
    "prior correction": prior_correction,
    "entropy": entropy,
    "coral": coral,
    "article, with labels": article,
}
"""Beside "no healing", which every row has as ``before``."""


def oracle(trial: Trial) -> Floats | None:
    """The exact adapter where it is known, else a ReflexiveLayer trained on labelled rows of the drifted world.

    A trained one answers only if it beats the frozen model on a fifth of the labelled rows that it was not fitted on.
    """
    if trial.oracle is None:
        return None
    if isinstance(trial.oracle, str):
        return None if trial.undrifted is None else served(trial.model, trial.undrifted)
    if isinstance(trial.oracle, Adapter):
        return served(trial.model.with_adapter(trial.oracle), trial.unseen)
    model = trial.model
    truth = np.searchsorted(model.classes_, trial.oracle[model.target].to_numpy())
    hidden = model.hidden_of_units(model.model_units(trial.oracle))
    cut = len(hidden) * 4 // 5
    layer = learned(model, hidden[:cut], np.eye(len(model.classes_))[truth[:cut]])
    rest, frozen = hidden[cut:], served(model, trial.oracle.iloc[cut:])
    rows = np.arange(len(rest))
    better = np.log(np.maximum(_answer(model, layer(rest))[rows, truth[cut:]], 1e-7)).mean()
    if better <= np.log(np.maximum(frozen[rows, truth[cut:]], 1e-7)).mean():
        return served(model, trial.unseen)
    return _answer(model, layer(_hidden(trial, trial.unseen)))


def downhill(optimiser: torch.optim.Optimizer, parameters: Sequence[torch.Tensor], loss: torch.Tensor) -> None:
    """One step down a loss, by these parameters alone: what is frozen gets no gradient."""
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimiser.step()


def learned(model: MonitoredModel, hidden: torch.Tensor, wanted: Floats, steps: int = 150) -> ReflexiveLayer:
    """A ReflexiveLayer fitted to class probabilities [n, k] at hidden states [n, d]; AdamW, full batch, cosine."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = ReflexiveLayer(hidden.shape[1], scale=1.0)
    parameters, goal = list(layer.parameters()), torch.from_numpy(wanted.astype(np.float32))
    optimiser = torch.optim.AdamW(parameters, lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        loss = -(goal * nn.functional.log_softmax(model.head_logits(layer(hidden)), dim=1)).sum(dim=1).mean()
        downhill(optimiser, parameters, loss)
        schedule.step()
    return layer.eval().requires_grad_(False)


def _hidden(trial: Trial, frame: pd.DataFrame) -> torch.Tensor:
    return trial.model.hidden_of_units(trial.model.model_units(frame))


def _answer(model: MonitoredModel, hidden: torch.Tensor) -> Floats:
    with torch.inference_mode():
        logits: Floats = model.head_logits(hidden).double().numpy()
    return softmax(logits)


def _power(covariance: Floats, exponent: float) -> Floats:
    values, vectors = np.linalg.eigh(covariance + RIDGE * np.eye(len(covariance)))
    return np.asarray((vectors * np.maximum(values, RIDGE) ** exponent) @ vectors.T)
