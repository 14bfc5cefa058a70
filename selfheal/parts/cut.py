"""One module cut in two where its head begins, and the proof that the two parts are the module.

The backbone is the module itself with the head left out; it shares every parameter. That is right where the head is the
last thing that forward() computes, which is not believed but tried on reference rows.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from selfheal.errors import InputError, nearest
from selfheal.parts.network import (
    check_hidden,
    check_narrowed,
    evaluating,
    near,
    prepared,
    refuse_chance,
    refuse_squeezed,
    shape_of,
)
from selfheal.parts.program import AGREEMENT
from selfheal.parts.several import Several

_PROBABILITIES = (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)
_PASSES = (nn.Identity, nn.Dropout, nn.Flatten)
_YOURSELF = "or cut it yourself and pass backbone= and head="


@dataclass(frozen=True)
class Cut:
    """Where a network was cut.

    Attributes
    ----------
    backbone, head
        float32 [n, d_in] → [n, d], and [n, d] → logits.
    name
        The submodule that is the head; empty where two modules were given.
    dropped
        The last layer's name where it made probabilities (``"Softmax"``); empty where it did not.
    """

    backbone: nn.Module
    head: nn.Module
    name: str = ""
    dropped: str = ""

    def __str__(self) -> str:
        inputs = f"inputs {', '.join(map(str, self.backbone.forms))}" if isinstance(self.backbone, Several) else ""
        where = f"cut before {self.name!r}" if self.name else ""
        return ", ".join(part for part in (inputs, where, f"{self.dropped} left out" if self.dropped else "") if part)


def take(module: object, backbone: object, head: object, rows: Tensor, *, as_stored: bool = False) -> Cut:
    """The two parts of a network, however it was given.

    Parameters
    ----------
    module, backbone, head
        Either a module and the name of a part, or two modules.
    rows
        What preprocessing makes of reference rows, float32 [n, d_in].
    as_stored
        Take two parts unchanged: their adoption asked what is asked here.

    Raises
    ------
    InputError
    """
    if isinstance(module, nn.Module) and backbone is None and isinstance(head, str | int):
        return cut(module, head, rows)
    if module is not None or not isinstance(backbone, nn.Module) or not isinstance(head, nn.Module):
        raise InputError(
            "the network is given as backbone= and head=, two modules, or as module= with head= the name of one of its "
            f"parts or -1 for its last layer; here module is {type(module).__name__}, backbone "
            f"{type(backbone).__name__}, head {type(head).__name__}"
        )
    return Cut(evaluating(backbone), evaluating(head)) if as_stored else given(backbone, head, rows)


def given(backbone: nn.Module, head: nn.Module, rows: Tensor) -> Cut:
    """Two parts as they were given, without a last layer that makes probabilities."""
    parts = prepared(backbone, "backbone"), prepared(head, "head")
    with torch.no_grad():
        check_hidden(parts[0](rows))
    check_narrowed((backbone, head), parts, rows)
    logits, dropped = without_probabilities(parts[1])
    return Cut(parts[0], logits, dropped=dropped)


def cut(module: nn.Module, head: object, rows: Tensor) -> Cut:
    """Cut a module where its head begins.

    Parameters
    ----------
    head
        The dotted name of a submodule, or -1 for the last layer that computes.
    rows
        What preprocessing makes of reference rows, float32 [n, d_in].

    Raises
    ------
    InputError
        There is no such part, it is not the last, or the parts do not answer as the module does; with the remedy.
    """
    whole = prepared(module, "module")
    if whole is not module:
        check_narrowed([module], [whole], rows)
    inner = whole.network if isinstance(whole, Several) else whole  # whose parts have the names that people know
    seen = _seen(whole, inner, rows)
    refuse_chance(whole, seen.output, rows)
    refuse_squeezed(whole, rows)
    name = _last(inner, seen) if head == -1 and not isinstance(head, bool) else _named(inner, head)
    hidden = seen.hidden(name)
    after = seen.after(name)
    for follower in after:
        if not _is_last(part := inner.get_submodule(follower)) and not isinstance(part, _PASSES):
            raise InputError(f"head={head!r}: {follower!r} is computed after it; name the last part, {_YOURSELF}")
    logits, dropped = without_probabilities(inner.get_submodule(name))
    endings = [type(inner.get_submodule(a)).__name__ for a in after if _is_last(inner.get_submodule(a))]
    backbone = _replaced(inner, dict.fromkeys([name, *after], nn.Identity()))
    backbone = backbone if inner is whole else _replaced(whole, {"network": backbone})
    made = Cut(backbone, logits, name, dropped or next(iter(endings), ""))
    _prove(made, seen.output, rows, hidden)
    return made


def without_probabilities(head: nn.Module) -> tuple[nn.Module, str]:
    """A head without the Softmax, LogSoftmax or Sigmoid at its end, and that layer's name."""
    if _is_last(head):
        return nn.Identity(), type(head).__name__
    if type(head) is nn.Sequential and len(head):
        inner, dropped = without_probabilities(head[-1])
        if dropped:
            rest = list(head)[:-1]
            return nn.Sequential(*rest, *([] if isinstance(inner, nn.Identity) else [inner])).eval(), dropped
    return head, ""


def check_dropped(dropped: str, outputs: int) -> None:
    """Refuse to leave out a layer that is no softmax over the classes.

    Raises
    ------
    InputError
    """
    if dropped == "Sigmoid" and outputs > 1:
        raise InputError(
            f"the network ends in a Sigmoid over {outputs} outputs: {outputs} answers of yes or no, not one of "
            f"{outputs} classes. Train it with cross-entropy, or give it one output for two classes"
        )
    if dropped.endswith("Softmax") and outputs == 1:
        raise InputError(
            f"the network ends in a {dropped} over one output, which is the same whatever goes in; give it an output a "
            "class, or one output and a Sigmoid"
        )


@dataclass
class _Seen:
    """What one pass over the rows showed: leaf modules as they ended, how many by the end of each part, its inputs."""

    order: list[str] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    output: Any = None

    def hidden(self, name: str) -> Tensor:
        """The one input [n, d] of a part."""
        calls = self.inputs.get(name, [])
        if len(calls) != 1:
            often = "never called" if not calls else f"called {len(calls)} times"
            raise InputError(f"head {name!r} is {often} in forward(), where it must be called once, last; {_YOURSELF}")
        taken = calls[0]
        if len(taken) != 1 or not isinstance(taken[0], Tensor) or taken[0].ndim != 2:
            words = ", ".join(map(shape_of, taken)) or "named arguments"
            raise InputError(
                f"head {name!r} is given {words}, where one tensor [n, d] is wanted; name a later part, {_YOURSELF}"
            )
        return taken[0]

    def after(self, name: str) -> list[str]:
        """The leaves that ended after a part."""
        return self.order[self.ended[name] :]


def _seen(module: nn.Module, inner: nn.Module, rows: Tensor) -> _Seen:
    seen = _Seen()
    handles = []
    for name, part in inner.named_modules():
        if name:
            handles.append(part.register_forward_hook(_noting(seen, name, leaf=not list(part.children()))))
    try:
        with torch.no_grad():
            seen.output = module(rows)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _noting(seen: _Seen, name: str, *, leaf: bool) -> Any:
    def note(_: nn.Module, inputs: tuple[Any, ...], __: object) -> None:
        seen.inputs.setdefault(name, []).append(inputs)
        if leaf:
            seen.order.append(name)
        seen.ended[name] = len(seen.order)  # its leaves may go by the names of other parts that share them

    return note


def _last(module: nn.Module, seen: _Seen) -> str:
    """The last leaf with parameters; what follows it may only make probabilities, or nothing."""
    for name in reversed(seen.order):
        part = module.get_submodule(name)
        if list(part.parameters()):
            return name
        if not _is_last(part) and not isinstance(part, _PASSES):
            raise InputError(
                f"head=-1: the last layer that computes is {name!r}, a {type(part).__name__}, which has no weights; "
                f"name the head instead (parts: {', '.join(dict(module.named_children()))})"
            )
    raise InputError(f"head=-1: {type(module).__name__} calls no layer with weights; {_YOURSELF}")


def _named(module: nn.Module, head: object) -> str:
    names = [name for name, _ in module.named_modules() if name]
    if not isinstance(head, str) or head not in names:
        raise InputError(
            f"head={head!r} is no part of {type(module).__name__}{nearest(head, names)} (parts: "
            f"{', '.join(dict(module.named_children())) or 'none'}; -1 for the last layer)"
        )
    return head


def _is_last(part: nn.Module) -> bool:
    """Whether a layer makes probabilities of the classes' logits."""
    return isinstance(part, _PROBABILITIES) and getattr(part, "dim", 1) in (None, 1, -1)


def _replaced(module: nn.Module, parts: dict[str, nn.Module]) -> nn.Module:
    """The module with other parts under these dotted names; everything else is shared, and the module is untouched."""
    made = copy.copy(module)
    made._modules = dict(module._modules)
    inner: dict[str, dict[str, nn.Module]] = {}
    for name, part in parts.items():
        first, _, rest = name.partition(".")
        if rest:
            inner.setdefault(first, {})[rest] = part
        else:
            made._modules[first] = part
    for first, rest_parts in inner.items():
        if first not in parts:
            made._modules[first] = _replaced(module.get_submodule(first), rest_parts)
    return made


def _prove(made: Cut, output: Any, rows: Tensor, hidden: Tensor) -> None:
    """Compare the two parts, one after the other, with what the module answered."""
    if not isinstance(output, Tensor) or output.ndim == 0 or len(output) != len(rows):
        raise InputError(
            f"the module gives {shape_of(output)} for {len(rows)} rows, where one tensor of logits is wanted; "
            f"return that alone, {_YOURSELF}"
        )
    wanted = output.reshape(len(rows), -1)
    with torch.no_grad():
        logits = made.head(hidden).reshape(len(rows), -1)
        check_dropped(made.dropped, logits.shape[1])
        answer = ended(logits, made.dropped)
        if _reached(made.backbone, rows, hidden) and near(answer, wanted, AGREEMENT):
            return
        why = _why(logits, wanted)
    raise InputError(f"the module is not its backbone followed by {made.name!r}: {why}; {_YOURSELF}")


def _reached(backbone: nn.Module, rows: Tensor, hidden: Tensor) -> bool:
    """Whether the module without its head gives what the head was given."""
    with suppress(RuntimeError, ValueError, TypeError, IndexError, AttributeError):
        reached = backbone(rows)
        return isinstance(reached, Tensor) and near(reached.reshape(len(rows), -1), hidden, AGREEMENT)
    return False  # something after the head fails on what goes into it


def ended(logits: Tensor, ending: str) -> Tensor:
    """Logits [n, k] through the layer that was left out; as they are where none was."""
    if ending == "Sigmoid":
        return logits.sigmoid()
    return {"Softmax": logits.softmax(1), "LogSoftmax": logits.log_softmax(1)}.get(ending, logits)


def _why(logits: Tensor, wanted: Tensor) -> str:
    """The likely reason: the last step of forward() is told by what it makes of the logits."""
    if logits.shape != wanted.shape:
        return f"it gives {list(wanted.shape)} where the head gives {list(logits.shape)}"
    if near(logits, wanted, AGREEMENT):
        return "forward() indexes or reshapes what the head gives; return it as it is, [n, k] or [n, 1]"
    for ending in ("Softmax", "LogSoftmax", "Sigmoid"):
        if near(ended(logits, ending), wanted, AGREEMENT):
            return (
                f"forward() applies a {ending.lower()} to what the head gives, as a function; return the head's output "
                "from forward(), the model applies a softmax by itself"
            )
    return (
        "forward() does more with what the head gives or is given (a residual around it, a scale, an attribute used "
        "without calling the part). Make all of it one part and name that"
    )
