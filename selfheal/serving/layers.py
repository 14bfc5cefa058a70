"""Small networks as numpy functions: a one-row pass through a perceptron costs 8 µs here, 36 µs through torch.

Only chains of linear layers and plain activations are translated; anything else stays with torch. What is translated
is used only after it has agreed with the model (:mod:`selfheal.serving.compiled`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from selfheal.adapter import ReflexiveLayer

Array = NDArray[np.float32]
Layer = Callable[[Array], Array]

_ZERO = np.float32(0)


def _relu(h: Array) -> Array:
    return np.maximum(h, _ZERO, out=h)


def _tanh(h: Array) -> Array:
    return np.tanh(h, out=h)


_ACTIVATIONS: dict[Any, Layer] = {
    nn.ReLU: _relu,
    nn.Tanh: _tanh,
    torch.ops.aten.relu.default: _relu,
    torch.ops.aten.tanh.default: _tanh,
}


def chain(*modules: nn.Module | None) -> Layer | None:
    """The modules one after the other as a function of float32 [n, d], or None if one cannot be translated.

    The input is left unchanged; a None among the modules is skipped.
    """
    layers: list[Layer] = []
    for module in modules:
        if module is None:
            continue
        part = _layers(module)
        if part is None:
            return None
        layers += part
    # Activations work in place, on what the linear layer before them made and nobody else holds.
    if not layers or layers[0] in _ACTIVATIONS.values():
        return None
    steps = tuple(layers)

    def run(h: Array) -> Array:
        for step in steps:
            h = step(h)
        return h

    return run


def _layers(module: nn.Module) -> list[Layer] | None:
    if isinstance(module, torch.fx.GraphModule):
        return _of_graph(module)
    if isinstance(module, ReflexiveLayer):
        return [_residual(module)]
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


def _linear(weight: torch.Tensor | None, bias: torch.Tensor | None = None) -> Layer:
    assert weight is not None  # noqa: S101 - checked by both callers
    matrix = np.ascontiguousarray(weight.detach().numpy().T, dtype=np.float32)
    if bias is None:
        return lambda h: np.asarray(h.dot(matrix))
    shift = bias.detach().numpy().astype(np.float32)

    def apply(h: Array) -> Array:
        out: Array = h.dot(matrix)  # as `@`, with half of its overhead for one row
        out += shift
        return out

    return apply


def _residual(layer: ReflexiveLayer) -> Layer:
    expand = _linear(layer.expand.weight, layer.expand.bias)
    project = _linear(layer.project.weight, layer.project.bias)
    scale = np.float32(layer.scale)
    return lambda h: h + scale * project(_relu(expand(h)))
