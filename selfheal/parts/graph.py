"""An exported program cut before its last linear layer: a graph of operators has no parts to name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from selfheal.errors import InputError
from selfheal.parts.cut import Cut, ended
from selfheal.parts.network import near
from selfheal.parts.program import AGREEMENT

_aten = torch.ops.aten
_LINEAR: dict[Any, int] = {_aten.linear.default: 0, _aten.addmm.default: 1, _aten.mm.default: 0}
"""Operators of a linear layer, and which argument is what it is given."""
_ENDINGS: dict[Any, str] = {
    _aten.softmax.int: "Softmax",
    _aten._softmax.default: "Softmax",
    _aten.log_softmax.int: "LogSoftmax",
    _aten._log_softmax.default: "LogSoftmax",
    _aten.sigmoid.default: "Sigmoid",
}
_YOURSELF = "adopt it by a factory that gives backbone= and head="


def cut_program(program: nn.Module, rows: Tensor) -> Cut:
    """Backbone and head of an exported program, from :func:`~selfheal.parts.program.open_program`.

    Parameters
    ----------
    rows
        What preprocessing makes of reference rows, float32 [n, d_in].

    Raises
    ------
    InputError
        It takes other rows, has no linear layer, or more than that layer makes the answer of what goes into it.
    """
    if not isinstance(program, fx.GraphModule):
        raise InputError(f"{type(program).__name__} is no exported program; {_YOURSELF}")
    given, result = _ends(program.graph)
    end, dropped = _without_probabilities(result)
    last = next((n for n in _before(end, None) if n.target in _LINEAR), None)
    if last is None:
        raise InputError(f"the program has no linear layer at its end, before which it could be cut; {_YOURSELF}")
    hidden = last.args[_LINEAR[last.target]]
    if not isinstance(hidden, fx.Node):
        raise InputError(f"the last linear layer is given no tensor; {_YOURSELF}")
    if given in _before(end, hidden) and given is not hidden:
        raise InputError(f"the inputs reach the answer around the last linear layer (a residual?); {_YOURSELF}")
    made = Cut(_part(program, given, hidden), _part(program, hidden, end), str(last), dropped)
    _prove(program, made, rows)
    return made


def _ends(graph: fx.Graph) -> tuple[fx.Node, fx.Node]:
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    results = [n for output in graph.nodes if output.op == "output" for n in output.all_input_nodes]
    if len(inputs) != 1 or len(results) != 1:
        raise InputError(
            f"the program takes {len(inputs)} tensors and gives {len(results)}, where one [n, d] and one of logits are "
            f"wanted; {_YOURSELF}, and inputs= where it takes several"
        )
    return inputs[0], results[0]


def _without_probabilities(result: fx.Node) -> tuple[fx.Node, str]:
    ending = _ENDINGS.get(result.target, "") if result.op == "call_function" else ""
    if not ending or (ending != "Sigmoid" and result.args[1] not in (1, -1)):
        return result, ""
    return result.all_input_nodes[0], ending


def _before(end: fx.Node, until: fx.Node | None) -> Iterator[fx.Node]:
    """The nodes that ``end`` is made of, itself included, the last first; not beyond ``until``."""
    needed = {end}
    for node in reversed(list(end.graph.nodes)):
        if node in needed:
            yield node
            if node is not until:
                needed.update(node.all_input_nodes)


def _part(program: fx.GraphModule, start: fx.Node, end: fx.Node) -> nn.Module:
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {start: graph.placeholder("x")}
    for node in reversed(list(_before(end, start))):
        if node not in copied:
            copied[node] = graph.node_copy(node, copied.__getitem__)
    graph.output(copied[end])
    return fx.GraphModule(program, graph).eval()


def _prove(program: nn.Module, made: Cut, rows: Tensor) -> None:
    for size in (1, len(rows)):
        batch = rows[:size]
        try:
            with torch.no_grad():
                wanted: Any = program(batch)
                answer = ended(made.head(made.backbone(batch)).reshape(size, -1), made.dropped)
        except Exception as error:  # whatever its operators raise
            words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise InputError(
                f"the program fails on {list(batch.shape)}: {words}. Does it take the reference's feature columns, in "
                "their order, and any number of rows? Export it with a batch that may vary (MLflow does, with an "
                "input_example of several rows)"
            ) from error
        if not near(answer, wanted.reshape(size, -1), AGREEMENT):
            raise InputError(f"the program is not its two parts, one after the other; {_YOURSELF}")
