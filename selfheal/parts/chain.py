"""A stored chain of linear layers and plain activations, read without torch's own reader of programs.

That reader brings sympy, a compiler and 2,000 modules more into the process: 100 MB, and most of the time that a
scoring service takes to start. A chain needs none of it: its operators are named here, its weights are raw bytes.
"""

from __future__ import annotations

import json
import keyword
import math
import re
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx, nn

_aten = torch.ops.aten
_OPERATORS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "torch.ops.aten.linear.default": (_aten.linear.default, ("input", "weight", "bias")),
    "torch.ops.aten.relu.default": (_aten.relu.default, ("self",)),
    "torch.ops.aten.tanh.default": (_aten.tanh.default, ("self",)),
}
"""Operators by the name in a stored program, and the tensors that each is given; a linear layer's bias may lack."""
_LEAF: dict[str, Any] = {"type": None, "context": None, "children_spec": []}
_TENSOR_IN = [
    {"type": "builtins.tuple", "context": "null", "children_spec": [_LEAF]},
    {"type": "builtins.dict", "context": "[]", "children_spec": []},
]
"""What such a program takes and gives: a tensor, by its place."""
_FLOAT32, _STRIDED = 7, 7
"""As the format writes them."""
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def read_chain(
    program: Mapping[str, Any], weights: Mapping[str, Any], entries: Mapping[str, bytes]
) -> nn.Module | None:
    """The module of a program that was checked; None, and no verdict, where it is anything but such a chain.

    Parameters
    ----------
    program, weights
        ``models/model.json``, and the table of the weights by the parameter's name.
    entries
        The archive's entries by path; the weights' are raw bytes.
    """
    if sys.byteorder != "little":
        return None
    try:
        return _chain(program["graph_module"], weights, entries)
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError):
        return None


def _chain(
    program: Mapping[str, Any], weights: Mapping[str, Any], entries: Mapping[str, bytes]
) -> fx.GraphModule | None:
    *specs, rows = program["signature"]["input_specs"]
    (gives,) = program["signature"]["output_specs"]
    name = rows["user_input"]["arg"]["as_tensor"]["name"]
    if not _takes_and_gives_a_tensor(program) or "user_output" not in gives or len(weights) != len(specs):
        return None
    if not name.isidentifier() or keyword.iskeyword(name):
        return None
    graph, root = fx.Graph(), nn.Module()
    nodes: dict[str, fx.Node] = {name: graph.placeholder(name)}
    last = nodes[name]
    for spec in specs:
        name = spec["parameter"]["parameter_name"]
        _put(root, name, _parameter(weights[name], entries))
        nodes[spec["parameter"]["arg"]["name"]] = graph.get_attr(name)
    for node in program["graph"]["nodes"]:
        operator, names = _OPERATORS[node["target"]]
        given = tuple(each["name"] for each in node["inputs"])
        arguments = [nodes[each["arg"]["as_tensor"]["name"]] for each in node["inputs"]]
        if given not in (names, names[:2]) or arguments[0] is not last:
            return None
        (made,) = node["outputs"]
        nodes[made["as_tensor"]["name"]] = last = graph.call_function(operator, tuple(arguments))
    (result,) = program["graph"]["outputs"]
    if nodes[result["as_tensor"]["name"]] is not last or last.op != "call_function":
        return None
    graph.output(last)
    return fx.GraphModule(root, graph)


def _takes_and_gives_a_tensor(program: Mapping[str, Any]) -> bool:
    whole = program["module_call_graph"][0]["signature"]
    takes, gives = (json.loads(whole[spec])[1] for spec in ("in_spec", "out_spec"))
    return bool(takes["children_spec"] == _TENSOR_IN and gives == _LEAF)


def _parameter(stored: Mapping[str, Any], entries: Mapping[str, bytes]) -> nn.Parameter:
    meta = stored["tensor_meta"]
    shape = [size["as_int"] for size in meta["sizes"]]
    dense = [math.prod(shape[place + 1 :]) for place in range(len(shape))]
    plain = (meta["dtype"], meta["layout"], meta["device"]["type"], meta["storage_offset"]["as_int"])
    if plain != (_FLOAT32, _STRIDED, "cpu", 0) or [stride["as_int"] for stride in meta["strides"]] != dense:
        raise ValueError("no plain tensor")
    data = bytearray(entries[f"data/weights/{stored['path_name']}"])
    values = torch.frombuffer(data, dtype=torch.float32).reshape(shape)
    return nn.Parameter(values, requires_grad=bool(meta["requires_grad"]))


def _put(root: nn.Module, name: str, value: nn.Parameter) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError("no name of a parameter")
    *path, own = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.register_parameter(own, value)
