"""Small networks in numpy: a one-row pass through a perceptron costs 8 µs here, 36 µs through torch.

Only chains of linear layers and plain activations are translated; anything else stays with torch. What is translated
is used only after it has agreed with the model (:mod:`selfheal.parts.compiled`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from selfheal.adapter import ReflexiveLayer
from selfheal.parts.neural import (
    Affine,
    Array,
    Elu,
    Gelu,
    Layer,
    Leaky,
    Linear,
    Normed,
    Relu,
    Residual,
    Sigmoid,
    Silu,
    Tanh,
)
from selfheal.parts.path import Network

_ACTIVATIONS: dict[Any, Layer] = {
    torch.ops.aten.relu.default: Relu(),
    torch.ops.aten.tanh.default: Tanh(),
    torch.ops.aten.sigmoid.default: Sigmoid(),
    torch.ops.aten.silu.default: Silu(),
    torch.ops.aten.gelu.default: Gelu(),
}
"""Of a stored program, those that take nothing but what they are put upon."""
_LAYERS: dict[type[nn.Module], Callable[[Any], Layer | None]] = {
    nn.Linear: lambda layer: _linear(layer.weight, layer.bias),
    nn.ReLU: lambda layer: Relu(),
    nn.Tanh: lambda layer: Tanh(),
    nn.Sigmoid: lambda layer: Sigmoid(),
    nn.SiLU: lambda layer: Silu(),
    nn.GELU: lambda layer: Gelu() if layer.approximate == "none" else None,
    nn.LeakyReLU: lambda layer: Leaky(layer.negative_slope),
    nn.ELU: lambda layer: Elu(layer.alpha),
    nn.BatchNorm1d: lambda layer: _batch_norm(layer),
    nn.LayerNorm: lambda layer: _layer_norm(layer),
}
"""torch's own, as they are when a model is frozen."""


def network(backbone: nn.Module, reflexive: ReflexiveLayer | None, head: nn.Module) -> Network | None:
    """A model's modules in numpy, or None if one of them cannot be translated."""
    below, above = _layers(backbone), _layers(head)
    if below is None or above is None:
        return None
    made = Network(tuple(below), tuple(above), None if reflexive is None else _residual(reflexive))
    # Activations work in place, on what the linear layer before them made and nobody else holds.
    return None if made.begins_in_place else made


def _layers(module: nn.Module) -> list[Layer] | None:
    if isinstance(module, torch.fx.GraphModule):
        return _of_graph(module)
    if isinstance(module, nn.Sequential):
        parts = [_layers(one) for one in module]
        return None if any(part is None for part in parts) else [layer for part in parts for layer in part or ()]
    if type(module) in (nn.Identity, nn.Dropout):
        return []
    made = _LAYERS.get(type(module), lambda layer: None)(module)
    return None if made is None else [made]


def _of_graph(module: torch.fx.GraphModule) -> list[Layer] | None:
    """A loaded program whose nodes form one chain from its only input to its only output."""
    layers: list[Layer] = []
    last: Any = None
    for node in module.graph.nodes:
        if node.op == "placeholder":
            if last is not None:
                return None
            last = node
        elif node.op == "output":
            returned = node.args[0]
            return layers if returned is last or list(returned) == [last] else None
        elif node.op in ("call_function", "call_module"):
            if not node.args or node.args[0] is not last:
                return None
            made = _layers(module.get_submodule(node.target)) if node.op == "call_module" else _call(module, node)
            if made is None:
                return None
            layers += made
            last = node
        elif node.op != "get_attr":
            return None
    return None


def _call(module: torch.fx.GraphModule, node: Any) -> list[Layer] | None:
    """An operator of a stored program as layers; None where it is none that is translated."""
    if node.kwargs:
        return None
    if node.target is torch.ops.aten.dropout.default and not node.args[2]:
        return []
    given = [_attribute(module, one) if getattr(one, "op", "") == "get_attr" else one for one in node.args[1:]]
    operator = _OPERATORS.get(node.target)
    made = operator(*given) if given and operator is not None else None if given else _ACTIVATIONS.get(node.target)
    return None if made is None else [made]


def _attribute(module: torch.fx.GraphModule, argument: Any) -> torch.Tensor | None:
    if getattr(argument, "op", "") != "get_attr":
        return None
    value: Any = module
    for name in str(argument.target).split("."):
        value = getattr(value, name)
    return value if isinstance(value, torch.Tensor) else None


def _linear(weight: torch.Tensor | None, bias: torch.Tensor | None = None) -> Linear:
    assert weight is not None  # noqa: S101 - checked by both callers
    return Linear(_array(weight.T), None if bias is None else _array(bias))


def _array(tensor: torch.Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().numpy(), dtype=np.float32)


def _batch_norm(layer: nn.BatchNorm1d) -> Layer | None:
    if layer.running_mean is None or layer.running_var is None:
        return None  # it goes by the rows beside a row
    return _batch_normed(layer.weight, layer.bias, layer.running_mean, layer.running_var, layer.eps)


def _batch_normed(
    weight: torch.Tensor | None, bias: torch.Tensor | None, mean: torch.Tensor, var: torch.Tensor, eps: float
) -> Layer:
    scale = torch.rsqrt(var + eps) * (1.0 if weight is None else weight)
    return Affine(_array(scale), _array((0.0 if bias is None else bias) - mean * scale))


def _layer_norm(layer: nn.LayerNorm) -> Layer | None:
    return _layer_normed(layer.weight, layer.bias, layer.eps) if len(layer.normalized_shape) == 1 else None


def _layer_normed(weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float) -> Layer:
    return Normed(eps, *(None if part is None else _array(part) for part in (weight, bias)))


def _residual(layer: ReflexiveLayer) -> Residual:
    expand, project = (_linear(part.weight, part.bias) for part in (layer.expand, layer.project))
    return Residual(expand, project, layer.scale)


def _of_batch_norm(
    weight: Any, bias: Any, mean: Any, var: Any, training: bool, momentum: float, eps: float, *_: Any
) -> Layer | None:
    return None if training or mean is None or var is None else _batch_normed(weight, bias, mean, var, eps)


def _of_layer_norm(shape: list[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any) -> Layer | None:
    return _layer_normed(weight, bias, eps) if len(shape) == 1 else None


def _of_leaky_relu(slope: float = 0.01) -> Layer:
    return Leaky(slope)


def _of_elu(alpha: float = 1.0, *more: Any) -> Layer | None:
    return None if more else Elu(alpha)


_OPERATORS: dict[Any, Callable[..., Layer | None]] = {
    torch.ops.aten.linear.default: _linear,
    torch.ops.aten.batch_norm.default: _of_batch_norm,
    torch.ops.aten.layer_norm.default: _of_layer_norm,
    torch.ops.aten.leaky_relu.default: _of_leaky_relu,
    torch.ops.aten.elu.default: _of_elu,
}
"""Of a stored program, those that take more than what they are put upon: each by what follows that."""
