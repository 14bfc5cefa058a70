"""Modules that ``torch.export`` cannot store: weights as safetensors beside the import path of their builder."""

from __future__ import annotations

import importlib
import sys
import warnings

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import nn

from selfheal.errors import ArtifactError, InputError
from selfheal.parts.several import Several

BUILDER = "selfheal_builder"
"""Attribute of a module that names its builder, ``"package.module:function"``, which takes no argument."""
_TENSORS = "Remedy: write forward() with tensor operators only"


def builder_path(module: nn.Module) -> str:
    """The import path that builds a fresh module of this architecture.

    Returns
    -------
    str
        The module's ``selfheal_builder`` attribute, or the path of its class.

    >>> builder_path(nn.Flatten())
    'torch.nn.modules.flatten:Flatten'
    """
    kind = type(module)
    return str(getattr(module, BUILDER, None) or f"{kind.__module__}:{kind.__qualname__}")


def save_weights(module: nn.Module) -> bytes:
    """Parameters and buffers as safetensors; tied ones are written once each."""
    return bytes(save_tensors({k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()}))


def build(path: str, weights: bytes, *, what: str) -> nn.Module:
    """A module from its builder and its weights, in evaluation mode.

    This imports and calls what `path` names, so `path` must come from a file whose digest was checked. Names of
    the standard library are refused: no builder of a network lives there.

    Raises
    ------
    ArtifactError
        Not importable, not a module, or the weights do not fit.
    """
    name, _, attribute = path.partition(":")
    if not attribute or (name.partition(".")[0] in sys.stdlib_module_names and name != "__main__"):
        raise ArtifactError(f"{what}: {path!r} is no builder of a module (expected 'package.module:function')")
    try:
        made: object = importlib.import_module(name)
        for part in attribute.split("."):
            made = getattr(made, part)
        module = made() if callable(made) else made
        if not isinstance(module, nn.Module):
            raise TypeError(f"it gives {type(module).__name__}, not a torch module")
        module.load_state_dict(load_tensors(weights), strict=True)
    except (ImportError, AttributeError, TypeError, RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"{what}: the builder {path!r} does not give this module ({type(error).__name__}: {error}); it must be "
            "importable here, take no argument, and build the architecture that was adopted"
        ) from error
    return module.eval()


def store(module: nn.Module, rows: torch.Tensor, *, what: str, because: InputError) -> tuple[str, bytes]:
    """Builder path and weights of a module that export refused, tried out before anything is registered.

    Raises
    ------
    InputError
        The module cannot be rebuilt either: says both reasons and the remedy.
    """
    # Imported here: program.py is the larger part and needs nothing of this one.
    from selfheal.parts.program import check_agreement

    if isinstance(module, Several):
        raise InputError(f"{what}: a network of several inputs is stored as a program only, and {because}. {_TENSORS}")
    path, weights = builder_path(module), save_weights(module)
    try:
        stored = build(path, weights, what=what)
        check_agreement(module, stored, rows, what=what)
    except (ArtifactError, InputError) as error:
        raise InputError(
            f"{what} cannot be stored. {because} And {error}. {_TENSORS}, "
            f"or set {BUILDER} = 'package.module:function' on it, an importable function without arguments"
        ) from error
    warnings.warn(
        f"{what}: stored as weights and the builder {path!r}, because {because}. Every process that loads this model "
        "must be able to import the builder",
        UserWarning,
        stacklevel=2,
    )
    return path, weights
