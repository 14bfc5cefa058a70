"""Rivals of the literature, each from its paper, on tabular input: hidden features and the head, no image augmentation.

Like the others they fit on the window and answer for the unseen rows, and are written apart from the healer. What a
paper tunes on images (normalisation layers) is here a scale and a shift of every hidden unit, as for the entropy rival.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from sklearn.neighbors import NearestNeighbors
from torch import nn

from selfheal.adapter import ReflexiveLayer
from selfheal.board.rivals import constant, downhill, served
from selfheal.board.trial import Floats, Trial
from selfheal.model import MonitoredModel, softmax

BATCH = 64
"""Rows of a step, where a paper goes through a stream in batches."""

Loss = Callable[[torch.Tensor], torch.Tensor]


def t3a(trial: Trial) -> Floats:
    """T3A (Iwasawa & Matsuo 2021): class prototypes from the head's weights and the window's surest hidden features."""
    model, window, keep = trial.model, _hidden(trial.model, trial.window), 100
    probe = torch.cat([torch.zeros(1, window.shape[1]), torch.eye(window.shape[1])])
    with torch.inference_mode():
        edges = model.head_logits(probe)
        weights = (edges[1:] - edges[:1]).T
        logits = model.head_logits(window)
    weights = weights - weights.mean(dim=0)  # softmax knows classes up to what they share
    called, doubt = logits.argmax(dim=1), _entropies(logits)
    prototypes = []
    for k, weight in enumerate(weights):
        mine = torch.nonzero(called == k)[:, 0]
        surest = mine[torch.argsort(doubt[mine])[:keep]]
        support = torch.cat([weight[None], window[surest]])
        prototypes.append(nn.functional.normalize(nn.functional.normalize(support, dim=1).sum(dim=0), dim=0))
    return _softmax(_hidden(model, trial.unseen) @ torch.stack(prototypes).T)


def lame(trial: Trial, neighbours: int = 5, rounds: int = 100) -> Floats:
    """LAME (Boudiaf et al. 2022): the unseen rows' probabilities, pulled towards those of their neighbours.

    It changes no parameter and answers for the batch that it is given, so that is the unseen rows.
    """
    served_p = served(trial.model, trial.unseen)
    hidden = nn.functional.normalize(_hidden(trial.model, trial.unseen), dim=1).numpy()
    near = NearestNeighbors(n_neighbors=neighbours + 1).fit(hidden).kneighbors(hidden, return_distance=False)[:, 1:]
    logs, answer = np.log(np.maximum(served_p, 1e-10)), served_p
    for _ in range(rounds):
        before, answer = answer, softmax(logs + answer[near].sum(axis=1))
        if np.abs(answer - before).max() < 1e-6:
            break
    return np.asarray(answer)


def rdumb(trial: Trial) -> Floats:
    """RDumb (Press et al. 2023): weighted entropy in one pass over the window, from the frozen model each time.

    The loss is ETA's (Niu et al. 2022): rows below 0.4 ln k nats, the surer the heavier, unless they are like the mean.
    The published reset after 1,000 steps is here one before each window, which has fewer.
    """
    seen = torch.zeros(len(trial.model.classes_))
    margin = 0.4 * float(np.log(len(seen)))

    def loss(logits: torch.Tensor) -> torch.Tensor:
        entropy, proba = _entropies(logits), logits.softmax(dim=1).detach()
        sure = entropy < margin
        if seen.any():
            sure = sure & (nn.functional.cosine_similarity(proba, seen[None], dim=1) < 1 - 1e-3)
        if sure.any():
            seen.copy_(0.9 * seen + 0.1 * proba[sure].mean(dim=0) if seen.any() else proba[sure].mean(dim=0))
        return (torch.exp(margin - entropy.detach()) * entropy * sure).mean()

    return _streamed(trial, loss)


def poem(trial: Trial) -> Floats:
    """POEM (Bar, Shaer & Romano 2024): entropies are matched to the reference's as far as a bet finds them unlike.

    Each entropy is a rank u among the reference's; ``1 + stake (u - 1/2)`` is bet, with the stake learned online. What
    the bet believes the ranks to be is where the entropies are pulled from; without evidence nothing is pulled.
    """
    model, stake, sums = trial.model, [0.0], [1e-8]
    source = _entropies(model.head_logits(model.hidden_of_units(model.model_units(trial.model.reference)))).detach()
    source = torch.sort(source).values

    def loss(logits: torch.Tensor) -> torch.Tensor:
        entropy = _entropies(logits)
        u = (torch.searchsorted(source, entropy.detach()) / len(source)).clamp(0, 1)
        wanted = u + stake[0] / 2 * (u * u - u)  # the distribution function that the bet believes in
        goal = source[(wanted * (len(source) - 1)).round().long()]
        slope = float(((u - 0.5) / (1 + stake[0] * (u - 0.5))).mean())  # of the log wealth: scale-free gradient steps
        sums[0] += slope * slope
        stake[0] = float(np.clip(stake[0] + slope / np.sqrt(sums[0]), -1.8, 1.8))
        return ((entropy - goal) ** 2).mean() / 2

    return _streamed(trial, loss)


def shot(trial: Trial, steps: int = 100) -> Floats:
    """SHOT (Liang, Hu & Feng 2020): sure and diverse answers, pseudo-labels by class centroids; the head is kept."""
    model, hidden = trial.model, _hidden(trial.model, trial.window)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = ReflexiveLayer(hidden.shape[1], scale=1.0)
    parameters = list(layer.parameters())
    optimiser, labels = torch.optim.AdamW(parameters, lr=1e-3), torch.empty(0)
    for step in range(steps):
        features = layer(hidden)
        logits = model.head_logits(features)
        if step % 25 == 0:
            labels = _centroid_labels(features.detach(), logits.detach().softmax(dim=1))
        mean = logits.softmax(dim=1).mean(dim=0)
        diverse = (mean * torch.log(mean + 1e-8)).sum()
        loss = _entropies(logits).mean() + diverse + 0.3 * nn.functional.cross_entropy(logits, labels)
        downhill(optimiser, parameters, loss)
    with torch.inference_mode():
        return _softmax(model.head_logits(layer(_hidden(model, trial.unseen))))


def calibration(trial: Trial) -> Floats:
    """AdapTable-like (Kim et al. 2024): temperatures by a row's doubt, then the window's class shares, half of each.

    Rows in the surest quarter are sharpened, those in the least sure one flattened; the shares are the window's mean
    answer freed of the reference's. The published calibrator, a graph network over columns, is left out.
    """
    reference = constant(trial)[0]
    window, unseen = (np.log(np.maximum(served(trial.model, f), 1e-10)) for f in (trial.window, trial.unseen))
    low, high = np.quantile(_margins(window), [0.25, 0.75])

    def tempered(logs: Floats) -> Floats:
        margin = _margins(logs)
        heat = np.where(margin > high, 1 / 1.5, np.where(margin < low, 1.5, 1.0))
        return np.asarray(softmax(logs / heat[:, None]))

    freed = tempered(window) / reference
    share = (freed / freed.sum(axis=1, keepdims=True)).mean(axis=0)
    plain = tempered(unseen)
    moved = plain * (share / reference)
    return np.asarray((plain + moved / moved.sum(axis=1, keepdims=True)) / 2)


LITERATURE: dict[str, Callable[[Trial], Floats]] = {
    "T3A": t3a,
    "LAME": lame,
    "RDumb": rdumb,
    "POEM": poem,
    "SHOT": shot,
    "AdapTable-like": calibration,
}
"""By the names of their papers."""


def _streamed(trial: Trial, loss: Loss, rate: float = 5e-3) -> Floats:
    """One pass over the window in batches: a scale and a shift of every hidden unit, a step down the loss for each."""
    model, hidden = trial.model, _hidden(trial.model, trial.window)
    scale, shift = torch.ones(hidden.shape[1]), torch.zeros(hidden.shape[1])
    parameters = [scale.requires_grad_(), shift.requires_grad_()]
    optimiser = torch.optim.SGD(parameters, lr=rate, momentum=0.9)
    for batch in torch.split(hidden, BATCH):
        downhill(optimiser, parameters, loss(model.head_logits(batch * scale + shift)))
    with torch.inference_mode():
        return _softmax(model.head_logits(_hidden(model, trial.unseen) * scale + shift))


def _centroid_labels(features: torch.Tensor, proba: torch.Tensor) -> torch.Tensor:
    """The class whose centroid is nearest by cosine, twice: of the soft answers first, then of these labels."""
    soft = proba
    for _ in range(2):
        centroids = (soft.T @ features) / (soft.sum(dim=0)[:, None] + 1e-8)
        near = nn.functional.normalize(features, dim=1) @ nn.functional.normalize(centroids, dim=1).T
        soft = nn.functional.one_hot(near.argmax(dim=1), proba.shape[1]).float()
    return soft.argmax(dim=1)


def _hidden(model: MonitoredModel, frame: pd.DataFrame) -> torch.Tensor:
    return model.hidden_of_units(model.model_units(frame))


def _entropies(logits: torch.Tensor) -> torch.Tensor:
    log_p = nn.functional.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def _margins(logs: Floats) -> Floats:
    top = np.sort(logs, axis=1)
    return np.asarray(top[:, -1] - top[:, -2])


def _softmax(logits: torch.Tensor) -> Floats:
    values: Floats = logits.detach().double().numpy()
    return softmax(values)
