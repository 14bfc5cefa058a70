"""A small network's layers in numpy: what a row goes through between the network's input and the logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Layer = Callable[[Array], Array]
"""float32 [n, d] → [n, e]."""

_ZERO = np.float32(0)


@dataclass(frozen=True, eq=False)
class Linear:
    """``h · matrix + shift``."""

    matrix: Array
    shift: Array | None

    def __call__(self, h: Array) -> Array:
        """See the class."""
        out: Array = h.dot(self.matrix)  # as `@`, with half of its overhead for one row
        if self.shift is not None:
            out += self.shift
        return out


@dataclass(frozen=True, eq=False)
class Relu:
    """``max(h, 0)``, in place: on what a linear layer made and nobody else holds."""

    def __call__(self, h: Array) -> Array:
        """See the class."""
        return np.maximum(h, _ZERO, out=h)


@dataclass(frozen=True, eq=False)
class Tanh:
    """``tanh(h)``, in place as :class:`Relu`."""

    def __call__(self, h: Array) -> Array:
        """See the class."""
        return np.tanh(h, out=h)


@dataclass(frozen=True, eq=False)
class Affine:
    """``h · scale + shift``, column by column: batch normalisation by what was learnt."""

    scale: Array
    shift: Array

    def __call__(self, h: Array) -> Array:
        """See the class."""
        return h * self.scale + self.shift


@dataclass(frozen=True, eq=False)
class Normed:
    """Layer normalisation: each row less its mean, over its standard deviation; then ``· scale + shift``."""

    eps: float
    scale: Array | None
    shift: Array | None

    def __call__(self, h: Array) -> Array:
        """See the class."""
        centred = h - h.mean(axis=1, keepdims=True)
        variance = (centred * centred).mean(axis=1, keepdims=True)
        # What 32 bits do not hold is no answer, as torch says: divided by infinity it would look like one.
        variance = np.where(np.isfinite(variance), variance, np.float32(np.nan))
        out: Array = centred / np.sqrt(variance + np.float32(self.eps))
        out = out if self.scale is None else out * self.scale
        return np.asarray(out if self.shift is None else out + self.shift)


@dataclass(frozen=True, eq=False)
class Leaky:
    """``h``, below zero ``slope · h``."""

    slope: float

    def __call__(self, h: Array) -> Array:
        """See the class."""
        return np.where(h > 0, h, np.float32(self.slope) * h)


@dataclass(frozen=True, eq=False)
class Elu:
    """``h``, below zero ``alpha · (exp(h) - 1)``."""

    alpha: float

    def __call__(self, h: Array) -> Array:
        """See the class."""
        return np.where(h > 0, h, np.float32(self.alpha) * np.expm1(np.minimum(h, _ZERO)))


@dataclass(frozen=True, eq=False)
class Sigmoid:
    """``1 / (1 + exp(-h))``."""

    def __call__(self, h: Array) -> Array:
        """See the class."""
        return _sigmoid(h)


@dataclass(frozen=True, eq=False)
class Silu:
    """``h / (1 + exp(-h))``."""

    def __call__(self, h: Array) -> Array:
        """See the class."""
        return h * _sigmoid(h)


@dataclass(frozen=True, eq=False)
class Gelu:
    """``h · Φ(h)``, of the normal distribution."""

    def __call__(self, h: Array) -> Array:
        """See the class."""
        from scipy.special import ndtr  # 8 MB, for those alone who need it

        return h * np.asarray(ndtr(h), dtype=np.float32)


def _sigmoid(h: Array) -> Array:
    """By a tangent, which overflows nowhere."""
    half = np.float32(0.5)
    return np.asarray(half * (np.tanh(half * h) + np.float32(1)))


@dataclass(frozen=True, eq=False)
class Residual:
    """A :class:`~selfheal.adapter.ReflexiveLayer`: ``h + scale · project(relu(expand(h)))``."""

    expand: Linear
    project: Linear
    scale: float

    def __call__(self, h: Array) -> Array:
        """See the class."""
        wide = self.expand(h)
        return h + np.float32(self.scale) * self.project(np.maximum(wide, _ZERO, out=wide))


LAYERS = (Linear, Relu, Tanh, Affine, Normed, Leaky, Elu, Sigmoid, Silu, Gelu, Residual)
