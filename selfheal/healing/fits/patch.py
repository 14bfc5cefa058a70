"""A patch of logits, ``z' = a·z + b + W·h``: fitted on a few labels, and carried exactly by an adapter.

Where the head is linear, ``z = V h + c``, the patch is a linear change of the hidden state within the head's row
space, ``V·Δ(h) = (a - 1) V h + W h``, and an offset of the logits. A ReflexiveLayer of width 2k makes it exactly,
whatever the sign of h: ``relu(M h) - relu(-M h) = M h``. Where the head is not linear the layer is taught.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from selfheal.adapter import Adapter, ReflexiveLayer
from selfheal.drift.stats import Floats
from selfheal.healing.fits.reflex import teach
from selfheal.model import MonitoredModel, softmax

RIDGE = 4.0
"""Pseudo-rows that hold the patch to the identity (docs/notes.md); hidden states are scaled to a length of about 1."""

LINEAR = 1e-4
"""A head is linear when it is to this, of its largest logit, on hidden states of the reference."""


@dataclass(frozen=True)
class Patch:
    """``z' = scale·z + offset + weight·h`` for logits [n, k] and hidden states [n, d]."""

    scale: float
    offset: Floats
    weight: Floats

    def apply(self, logits: Floats, hidden: Floats) -> Floats:
        """Probabilities [n, k] of patched logits."""
        return softmax(self.scale * logits + self.offset + hidden @ self.weight.T)


@dataclass(frozen=True)
class Scaling:
    """Centre and spread [d] of hidden states, so that a ridge means the same for every model."""

    centre: Floats
    spread: Floats

    @classmethod
    def of(cls, hidden: Floats) -> Scaling:
        """From hidden states [m, d]: each column at one standard deviation, all together at length 1."""
        spread = hidden.std(axis=0)
        floor = max(0.1 * float(spread.mean()), 1e-6)
        return cls(hidden.mean(axis=0), np.maximum(spread, floor) * np.sqrt(hidden.shape[1]))


def fit(logits: Floats, hidden: Floats, truth: NDArray[np.int64], scaling: Scaling, ridge: float = RIDGE) -> Patch:
    """The patch [k] that fits labelled rows best, held to the identity by ``ridge`` pseudo-rows."""
    k, x = logits.shape[1], (hidden - scaling.centre) / scaling.spread
    onehot, d = np.eye(k)[truth], x.shape[1]

    def loss(theta: Floats) -> tuple[float, Floats]:
        scale, offset, weight = theta[0], theta[1 : 1 + k], theta[1 + k :].reshape(k, d)
        p = softmax(scale * logits + offset + x @ weight.T)
        gap = p - onehot
        # Offsets and weights count twice: with two classes each is half of the margin's.
        pull = 0.5 * ridge * ((scale - 1) ** 2 + 2 * (offset**2).sum() + 2 * (weight**2).sum())
        value = -np.log(np.maximum(p[np.arange(len(p)), truth], 1e-12)).sum() + pull
        slopes = ((gap * logits).sum() + ridge * (scale - 1), gap.sum(axis=0) + 2 * ridge * offset)
        return float(value), np.r_[slopes[0], slopes[1], (gap.T @ x + 2 * ridge * weight).ravel()]

    start = np.r_[1.0, np.zeros(k + k * d)]
    # Below zero where the concept turned: else hidden states alone must turn it, and two halves do so differently.
    bounds = [(-5.0, 5.0)] + [(None, None)] * (k + k * d)
    theta = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200}).x
    weight = theta[1 + k :].reshape(k, d) / scaling.spread
    return Patch(float(theta[0]), theta[1 : 1 + k] - weight @ scaling.centre, weight)


def fit_scale(logits: Floats, truth: NDArray[np.int64], hidden_dim: int, power: float, ridge: float = RIDGE) -> Patch:
    """The patch that makes the model less (or more) sure and changes none of its decisions.

    Parameters
    ----------
    power
        How far to go: the fitted scale to this power, 1 for all of it.
    """
    k = logits.shape[1]

    def loss(log_scale: Floats) -> float:
        scale = float(np.exp(log_scale[0]))
        p = softmax(scale * logits)
        return float(-np.log(np.maximum(p[np.arange(len(p)), truth], 1e-12)).sum() + 0.5 * ridge * (scale - 1) ** 2)

    optimum = minimize(loss, np.zeros(1), method="L-BFGS-B", bounds=[(np.log(0.05), np.log(5.0))]).x
    return Patch(float(np.exp(power * optimum[0])), np.zeros(k), np.zeros((k, hidden_dim)))


def linear_head(base: MonitoredModel) -> tuple[Floats, Floats] | None:
    """Weight [k, d] and bias [k] of the frozen head, or None where it is not linear."""
    d = base.hidden_dim
    with torch.inference_mode():
        units = torch.cat([torch.zeros(1, d), torch.eye(d)])
        probed = base.head_logits(units).double().numpy()
        weight, bias = (probed[1:] - probed[0]).T, probed[0]
        hidden = base.hidden_of_units(base.reference.iloc[:64])
        given = base.head_logits(hidden).double().numpy()
    made = hidden.double().numpy() @ weight.T + bias
    return (weight, bias) if np.abs(given - made).max() <= LINEAR * (1 + np.abs(given).max()) else None


def carried(model: MonitoredModel, start: Adapter, patch: Patch, units: torch.Tensor, seed: int = 0) -> Adapter:
    """``start`` with the patch on top, as an adapter.

    Parameters
    ----------
    start
        An adapter without a ReflexiveLayer.
    units : float32 [n, d]
        Hidden states to teach from, where the head is not linear.
    """
    base = model.with_adapter(Adapter())
    base_offset = np.zeros(len(model.classes_)) if start.logit_offset is None else start.logit_offset
    head = linear_head(base)
    if head is not None:
        layer = _exact(head[0], patch)
        if layer is not None:
            offset = (patch.scale - 1) * head[1] + patch.scale * base_offset + patch.offset
            return replace(start, reflexive=layer, logit_offset=offset - offset.mean())
    logits = base.logits_of_hidden(units) + base_offset
    wanted = patch.apply(logits, units.double().numpy())
    return replace(start, reflexive=teach(base, units, wanted, np.ones(len(wanted)), seed), logit_offset=None)


def _exact(head: Floats, patch: Patch) -> ReflexiveLayer | None:
    """The layer whose residual adds ``(a - 1) V h + W h`` to the logits, softmax-wise; None where it can't."""
    k, d = head.shape
    contrast = np.eye(k) - 1.0 / k  # softmax sees differences only
    wanted = contrast @ ((patch.scale - 1) * head + patch.weight)
    back = np.linalg.pinv(contrast @ head, rcond=1e-6)
    if np.abs(contrast @ head @ back @ wanted - wanted).max() > 1e-6 * (1 + np.abs(wanted).max()):
        return None
    layer = ReflexiveLayer(d, 2 * k, scale=1.0)
    with torch.no_grad():
        layer.expand.weight.copy_(torch.from_numpy(np.concatenate([wanted, -wanted])))
        layer.expand.bias.zero_()
        layer.project.weight.copy_(torch.from_numpy(np.concatenate([back, -back], axis=1)))
    return layer.eval().requires_grad_(False)
