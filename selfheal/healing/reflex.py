"""Teaching the ReflexiveLayer: a few hundred full-batch steps on a frozen network's hidden states."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from selfheal.adapter import ReflexiveLayer
from selfheal.drift.stats import Floats
from selfheal.model import MonitoredModel

LEARNING_RATE = 3e-3
STEPS = 200
"""AdamW with a cosine schedule, full batch (HEALING: enough at 1,000 rows, under a second on one core)."""


def teach(
    base: MonitoredModel,
    hidden: torch.Tensor,
    targets: Floats,
    weights: Floats,
    seed: int = 0,
    steps: int = STEPS,
) -> ReflexiveLayer:
    """A ReflexiveLayer that makes the frozen head give ``targets``; it starts as the identity.

    Parameters
    ----------
    base
        The frozen model.
    hidden : float32 [n, d], the backbone's output for the rows to learn from.
    targets : float [n, k], the class probabilities wanted there.
    weights : float [n], how much each row counts.

    Returns
    -------
    ReflexiveLayer
        In eval mode, without gradients. Backbone and head are left as they were.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layer = ReflexiveLayer(hidden.shape[1], scale=1.0)
    wanted = torch.from_numpy(np.asarray(targets, dtype=np.float32))
    mass = torch.from_numpy(np.asarray(weights / weights.sum(), dtype=np.float32))
    optimiser = torch.optim.AdamW(layer.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    inputs = hidden.clone().detach()
    for _ in range(steps):
        optimiser.zero_grad()
        log_p = nn.functional.log_softmax(base.head_logits(layer(inputs)), dim=1)
        loss = -(mass[:, None] * wanted * log_p).sum()
        # Only the layer's gradients are taken: nothing is accumulated on the frozen parameters.
        gradients = torch.autograd.grad(loss, list(layer.parameters()))
        for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        schedule.step()
    return layer.eval().requires_grad_(False)
