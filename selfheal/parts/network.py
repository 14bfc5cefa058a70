"""What a network must be to be adopted, asked on reference rows before anything is stored.

Asking costs a few forward passes. A network of torch's own layers is stored by construction; any other is exported, for
nothing less says whether it can be: a tenth of a second for a small one, and some four of CPU once a process.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor, nn

from selfheal.errors import InputError
from selfheal.parts import IN_MEMORY, weights
from selfheal.parts.program import AGREEMENT, export_program

ROWS = 512
"""Reference rows that are asked: enough to meet every branch of a small network, cheap for a large one."""
ALONE = 1e-4
"""By how much a row's output may depend on the rows beside it, absolute or relative: kernels of other sizes round
otherwise, a statistic of the batch moves it by more."""
NARROWED = 1e-3
"""Largest difference of an output in 32-bit floats from one in 64, absolute or relative: below what turns answers."""
PREPROCESS = (
    "It must be fitted, on a DataFrame of the reference's feature columns, and give numbers; bring each kind of column "
    "into it as the reference has it"
)
"""What a transformer must be."""
NETWORK = (
    "backbone takes float32 [n, d_in] (what preprocess makes of the feature columns), head takes the backbone's "
    "output; a network of several inputs is given inputs= in place of preprocess="
)
"""What a network must be."""

PLAIN = frozenset(
    {
        nn.Sequential, nn.Linear, nn.Identity, nn.Flatten, nn.Dropout, nn.AlphaDropout,
        nn.BatchNorm1d, nn.LayerNorm, nn.PReLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU,
        nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Softsign, nn.Hardtanh, nn.Hardswish,
    }
)  # fmt: skip
"""Layers of which a network can be stored whatever they are set to; a test exports each."""

# What only changes the shape of what it is given, by the name of its gradient.
_SHAPES = ("View", "UnsafeView", "Reshape", "Squeeze", "Unsqueeze", "Clone", "Alias", "Expand", "ToCopy", "T")


@contextmanager
def said(
    what: str = "backbone and head cannot score the reference's first rows", more: str = NETWORK
) -> Iterator[None]:
    """Errors of a network or a transformer in words that say whose they are."""
    try:
        yield
    except InputError:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        words = " ".join(str(error).split())
        raise InputError(f"{what}: {words}. {more}") from error


def prepared(module: nn.Module, what: str) -> nn.Module:
    """The module in evaluation mode, unwrapped, in 32-bit floats on the CPU; a copy where it was not.

    Raises
    ------
    InputError
        It is no module.
    """
    module = evaluating(unwrapped(module, what))
    tensors = [*module.parameters(), *module.buffers()]
    if all(t.device.type == "cpu" and (not t.is_floating_point() or t.dtype == torch.float32) for t in tensors):
        return module
    return copy.deepcopy(module).to("cpu").float()


def unwrapped(module: nn.Module, what: str) -> nn.Module:
    """The module inside of what compiles or spreads it, if it is of a kind that can be taken.

    Raises
    ------
    InputError
        It is no module, TorchScript or quantised.
    """
    if not isinstance(module, nn.Module):
        raise InputError(f"{what} is {type(module).__name__}, not a torch.nn.Module")
    for wrapper in ("_orig_mod", "module"):  # torch.compile, DataParallel
        if type(module).__name__ in ("OptimizedModule", "DataParallel", "DistributedDataParallel"):
            module = getattr(module, wrapper, module)
    _refuse_kinds(module, what)
    return module


def _refuse_kinds(module: nn.Module, what: str) -> None:
    """Refuse what cannot be taken apart, or has no gradient, whatever its layers are."""
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(
            f"{what} is TorchScript, a program in a language of its own, which cannot be taken apart here: give the "
            "module that it was made of, or log it in MLflow and take it from there: selfheal adopt NAME --from "
            "models:/… --trust"
        )
    quantised = [type(one) for one in module.modules() if "quantized" in type(one).__module__]
    if quantised:
        raise InputError(
            f"{what} holds a quantised layer ({quantised[0].__name__}), which has no gradient, and a heal needs one: "
            "give the network as it was before it was quantised"
        )


def refuse_chance(module: Callable[[Tensor], object], output: object, rows: Tensor) -> None:
    """Refuse a network that answers the same rows otherwise when asked again."""
    with torch.no_grad():
        again = module(rows)
    if isinstance(output, Tensor) and isinstance(again, Tensor) and not near(again, output, AGREEMENT):
        raise InputError(
            "the network answers the same rows differently when asked twice: it draws at random in evaluation mode; "
            "draw only where self.training"
        )


def refuse_squeezed(module: Callable[[Tensor], object], rows: Tensor) -> None:
    """Refuse a network that gives one row's answer without the dimension of rows."""
    shapes = []
    with torch.no_grad(), suppress(RuntimeError, ValueError, IndexError):  # some layers refuse a single row
        shapes = [out.shape for out in map(module, (rows[:2], rows[:1])) if isinstance(out, Tensor)]
    if len(shapes) == 2 and len(shapes[1]) < len(shapes[0]):
        raise InputError(
            f"the network gives {list(shapes[1])} for one row and {list(shapes[0])} for two: squeeze() drops the "
            "dimension of rows where there is only one; write squeeze(1), or leave it out"
        )


def check_narrowed(given: Sequence[nn.Module], made: Sequence[nn.Module], rows: Tensor) -> None:
    """Refuse a network of 64-bit floats that answers otherwise in the 32-bit floats that are served.

    Parameters
    ----------
    given, made
        The modules, one after the other, as they were given and as they are served.
    rows
        float32 [n, d_in].
    """
    kinds = {t.dtype for one in given for t in one.parameters()}
    if torch.float64 not in kinds or any(t.device.type != "cpu" for one in given for t in one.parameters()):
        return
    wide, narrow = rows.double(), rows
    with torch.no_grad():
        for one, other in zip(given, made, strict=True):
            wide, narrow = one(wide), other(narrow)
    if isinstance(wide, Tensor) and not near(narrow.double(), wide, NARROWED):
        raise InputError(
            f"the network is made of 64-bit floats, and answers the reference by up to "
            f"{float((narrow.double() - wide).abs().max()):.2g} otherwise in the 32-bit floats that are served (limit "
            f"{NARROWED:g}): scale its inputs, or train it in 32-bit floats"
        )


def evaluating(module: nn.Module) -> nn.Module:
    """The module itself, put to evaluation mode."""
    with suppress(NotImplementedError):  # an exported program has no train/eval switch: it was exported in eval
        module.eval()
    return module


def check_rows_alone(entered: Tensor, alone: Tensor) -> None:
    """Refuse preprocessing that makes something else of the first row when it comes alone.

    Parameters
    ----------
    entered, alone
        What it made of many rows, float32 [n, d_in], and of the first of them, [1, d_in].
    """
    if alone.shape[1:] != entered.shape[1:] or not torch.allclose(
        alone, entered[:1], rtol=ALONE, atol=ALONE, equal_nan=True
    ):
        raise InputError(
            "what preprocess makes of a row depends on the rows beside it, or on chance: an imputer that samples, a "
            "function over the whole batch (axis=None)? A row must have one answer: give it axis=1, or no sampling"
        )


def check_hidden(hidden: object) -> None:
    """Refuse a backbone's output that is no float32 [n, d]."""
    if not isinstance(hidden, Tensor) or hidden.ndim != 2 or hidden.dtype != torch.float32:
        raise InputError(
            f"backbone gives {shape_of(hidden)}; it takes float32 [n, d_in] and must give float32 [n, d]: flatten or "
            "pool what it gives, and return one tensor"
        )


def check_network(backbone: nn.Module, head: nn.Module, rows: Tensor) -> None:
    """Refuse what cannot be healed or served as it is.

    Parameters
    ----------
    rows
        What preprocessing makes of reference rows, float32 [n, d_in], n ≥ 1.

    Raises
    ------
    InputError
        An output is not finite, drawn at random or dependent on the rows beside it, or the head ends in probabilities.
    """
    with torch.no_grad():
        hidden = backbone(rows)
        logits = _logits(head, hidden)
        _check_finite(rows, logits)
        refuse_chance(lambda rows: _logits(head, backbone(rows)), logits, rows)
        refuse_squeezed(lambda rows: head(backbone(rows)), rows)
        if not all(_alone(backbone, head, rows[:size], logits[:size]) for size in (1, 2)):
            raise InputError(
                "the network's answer to a row depends on the rows beside it: a BatchNorm without running statistics, "
                "or a mean or attention over the batch? A row must have one answer; let it keep running statistics, "
                "or take the mean over something else"
            )
    refuse_probabilities(head, hidden)


def refuse_probabilities(head: nn.Module, hidden: Tensor) -> None:
    """Refuse a head that ends in a softmax or sigmoid: its output would be taken for logits."""
    ending = ends_in(head, hidden)
    with torch.no_grad():
        out = _logits(head, hidden)
    sums = out.shape[1] > 1 and bool((out >= 0).all()) and near(out.sum(dim=1), torch.ones(len(out)), AGREEMENT)
    if ending or (sums and len(out) > 1):
        raise InputError(
            f"the head ends in a {ending or 'softmax'}: it gives probabilities where logits [n, k] are wanted. Return "
            f"what goes into it: leave it out of forward() and of the head; the model applies a softmax by itself"
        )


def ends_in(head: nn.Module, hidden: Tensor) -> str:
    """``"softmax"``, ``"sigmoid"`` or nothing: the last thing that a head computes."""
    with torch.enable_grad():
        out = head(hidden.detach().clone().requires_grad_(True))
    step = out.grad_fn
    while step is not None and step.name().startswith(tuple(f"{name}Backward" for name in _SHAPES)):
        step = step.next_functions[0][0] if step.next_functions else None
    name = "" if step is None else step.name()
    return next((word for word in ("softmax", "sigmoid") if name.lower().startswith(word)), "")


def check_storable(backbone: nn.Module, head: nn.Module, rows: Tensor) -> None:
    """Refuse a network that adoption could not store.

    Raises
    ------
    InputError
        With both reasons (why it is not exported, why its builder does not do) and the remedy.
    """
    with torch.no_grad():
        hidden = backbone(rows)
    for part, module, batch in (("backbone", backbone, rows), ("head", head, hidden)):
        if is_plain(module):
            continue
        try:
            export_program(module, batch)
        except InputError as because:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that its builder is needed is said when it is adopted
                try:
                    weights.store(module, batch, what=part, because=because)
                except InputError as error:
                    raise InputError(f"{error}; {IN_MEMORY}") from error


def is_plain(module: nn.Module) -> bool:
    """Whether a module consists of torch's own layers, none of them changed by hooks."""
    return all(type(one) in PLAIN and not one._forward_hooks and not one._forward_pre_hooks for one in module.modules())


def near(one: Tensor, other: Tensor, limit: float) -> bool:
    """Whether two outputs agree within ``limit``, absolute or relative to the second."""
    if one.shape != other.shape:
        return False
    return bool(((one - other).abs() <= limit * other.abs().clamp(min=1.0)).all())


def shape_of(value: object) -> str:
    """A network's output in words."""
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    return f"a {type(value).__name__}"


def _logits(head: nn.Module, hidden: Tensor) -> Tensor:
    out = head(hidden)
    if not isinstance(out, Tensor) or len(out) != len(hidden):
        raise InputError(f"head gives {shape_of(out)} for {len(hidden)} rows; it must give one tensor [n, k] or [n]")
    return out.reshape(len(hidden), -1)


def _alone(backbone: nn.Module, head: nn.Module, rows: Tensor, wanted: Tensor) -> bool:
    """Whether fewer rows get the same answers."""
    try:
        return near(_logits(head, backbone(rows)), wanted, ALONE)
    except (RuntimeError, ValueError, IndexError):
        return False  # some layers refuse a single row


def _check_finite(rows: Tensor, logits: Tensor) -> None:
    bad = ~torch.isfinite(logits).all(dim=1)
    if bool(bad.any()):
        row = int(np.argmax(bad.numpy()))
        holes = int((~torch.isfinite(rows[row])).sum())
        why = (
            f"{holes} of its inputs are missing after preprocessing: fill them there, with SimpleImputer say"
            if holes
            else "its inputs are finite: do the weights hold NaN, or does forward() divide by zero?"
        )
        raise InputError(f"the network gives row {row} of the reference no finite logits; {why}")
