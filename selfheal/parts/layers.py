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
        elif node.op == "call_function":
            if not node.args or node.args[0] is not last:
                return None
            layer = _call(module, node)
            if layer is None:
                return None
            layers.append(layer)
            last = node
        elif node.op != "get_attr":
            return None
    return None


def _call(module: torch.fx.GraphModule, node: Any) -> Layer | None:
    if node.kwargs:
        return None
    if node.target is torch.ops.aten.linear.default:
        tensors = [_attribute(module, argument) for argument in node.args[1:]]
        if any(tensor is None for tensor in tensors):
            return None
        return _linear(*tensors)
    return _ACTIVATIONS.get(node.target) if len(node.args) == 1 else None


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
    scale = torch.rsqrt(layer.running_var + layer.eps) * (1.0 if layer.weight is None else layer.weight)
    shift = (0.0 if layer.bias is None else layer.bias) - layer.running_mean * scale
    return Affine(_array(scale), _array(shift))


def _layer_norm(layer: nn.LayerNorm) -> Layer | None:
    if len(layer.normalized_shape) != 1:
        return None
    return Normed(layer.eps, *(None if part is None else _array(part) for part in (layer.weight, layer.bias)))


def _residual(layer: ReflexiveLayer) -> Residual:
    expand, project = (_linear(part.weight, part.bias) for part in (layer.expand, layer.project))
    return Residual(expand, project, layer.scale)
