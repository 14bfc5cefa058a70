"""An adapter as it is stored, read without torch: kilobytes of safetensors, no code, naming the base it belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from selfheal.errors import ArtifactError, FormatError
from selfheal.input_map import InputMap, changed, column_map, in_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1
"""Of the format in which adapters are stored: grows when a reader of the one before would misread a file."""

FORMAT = "selfheal-adapter/"
_READ = (VERSION,)
_KEY = "selfheal"
NO_FILE = (SafetensorError, ValueError, LookupError, TypeError, AttributeError)
"""What reading raises where a file is none of ours."""
_HEADER = {"format", "base_digest", "base_version", "input_map", "scale"}
_LAYER = ("expand.weight", "expand.bias", "project.weight", "project.bias")
_PREFIX = "reflexive."


@dataclass(frozen=True, eq=False)
class AdapterParts:
    """What an adapter's file says.

    Attributes
    ----------
    input_map
        Per-column maps, raw → model units.
    layer
        The ReflexiveLayer's weights by name, float32; empty for the identity.
    scale
        Factor of its residual.
    logit_offset
        float [k], or None.
    base_digest, base_version
        The base that it belongs to.
    """

    input_map: InputMap
    layer: Mapping[str, NDArray[np.float32]]
    scale: float
    logit_offset: NDArray[np.float64] | None
    base_digest: str
    base_version: int | None

    @property
    def changed_part(self) -> str:
        """As :attr:`selfheal.adapter.Adapter.changed_part`."""
        return " + ".join(changed(self.input_map, bool(self.layer), self.logit_offset)) or "none"

    @property
    def width(self) -> int | None:
        """Of the hidden state that it adapts; None for one that adapts none."""
        return self.layer["expand.weight"].shape[1] if self.layer else None


class Fitting(Protocol):
    """What is asked of an adapter, read or made, before it serves with a base."""

    @property
    def base_digest(self) -> str:
        """The base that it belongs to; empty for any."""

    @property
    def input_map(self) -> InputMap:
        """Per-column maps."""

    @property
    def width(self) -> int | None:
        """Of the hidden state that it adapts."""

    @property
    def logit_offset(self) -> NDArray[np.float64] | None:
        """Float [k]."""


def check_fits(
    adapter: Fitting, digest: str, dtypes: Mapping[str, str], hidden: Callable[[], int], classes: int
) -> None:
    """Hold an adapter against a base: its digest, its columns' kinds, the width of its hidden state, its classes.

    Raises
    ------
    ArtifactError
        It belongs to another base, or does not fit this one.
    """
    if adapter.base_digest not in ("", digest):
        raise ArtifactError(
            f"the adapter belongs to base {adapter.base_digest[:12]}, this model is base {digest[:12]}; "
            "an adapter only fits the base that it was made for"
        )
    unknown = [c for c in adapter.input_map.columns if dtypes.get(c, "str") == "str"]
    if unknown:
        raise ArtifactError(f"the adapter maps column {unknown[0]!r}, which is no numeric column of this model")
    if adapter.width is not None and adapter.width != hidden():
        raise ArtifactError(f"the ReflexiveLayer is {adapter.width} wide, the backbone's output {hidden()}")
    if adapter.logit_offset is not None and np.shape(adapter.logit_offset) != (classes,):
        raise ArtifactError(f"the logit offset has shape {np.shape(adapter.logit_offset)}, the model {classes} classes")


def tensors_and_header(data: bytes, key: str) -> tuple[dict[str, NDArray[Any]], Any]:
    """A safetensors file's tensors, and the JSON that its metadata hold under a key; nothing in it is executed.

    Raises
    ------
    SafetensorError, ValueError, LookupError, TypeError
        It is none, or holds no such JSON: :data:`NO_FILE`.
    """
    tensors = load_tensors(data)  # checks the header's bounds before anything is read by them
    length = int.from_bytes(data[:8], "little")
    return tensors, json.loads(json.loads(data[8 : 8 + length])["__metadata__"][key])


def glimpse(data: bytes) -> tuple[str, list[str]]:
    """The changed part and the words of an adapter's file, whose digest was checked; nothing of it is applied.

    Raises
    ------
    ArtifactError
        It is no such file.
    """
    try:
        tensors, header = tensors_and_header(data, _KEY)
        maps = InputMap({name: column_map(entry) for name, entry in header["input_map"].items()})
        weight, offset = tensors.get("reflexive.expand.weight"), tensors.get("logit_offset")
        width = None if weight is None else int(weight.shape[1])
        parts = changed(maps, width is not None, offset)
        return " + ".join(parts) or "none", in_words(maps, width, offset)
    except NO_FILE as error:
        raise ArtifactError(f"not an adapter file ({type(error).__name__}: {error})") from error


def read_adapter(data: bytes) -> AdapterParts:
    """Read an adapter's file. Nothing in it is ever executed, and all of it is taken or nothing.

    Raises
    ------
    FormatError
        A release that writes another version of the format made it.
    ArtifactError
        If it is not such a file, or its parts do not fit together.
    """
    try:
        tensors, header = tensors_and_header(data, _KEY)
        _check_version(header)
        maps = {name: column_map(entry) for name, entry in header["input_map"].items()}
        layer = _layer(tensors)
        return AdapterParts(
            InputMap(maps), layer, float(header["scale"]) if layer else 0.0, tensors.get("logit_offset"),
            header["base_digest"], header["base_version"],
        )  # fmt: skip
    except NO_FILE as error:
        raise ArtifactError(
            f"not an adapter file ({type(error).__name__}: {error}); it was not opened. Adapters are safetensors "
            "files that selfheal wrote; restore this one from the registry or promote another version"
        ) from error


def _check_version(header: dict[str, Any]) -> None:
    """Refuse what this release does not know: of an adapter that says more, a part would be left out in silence."""
    name, _, number = str(header.get("format", f"{FORMAT}1")).rpartition("/")  # a file without one is of the first
    if f"{name}/" != FORMAT or not number.isdecimal():
        raise ValueError(f"format {header['format']!r}")
    if int(number) not in _READ:
        raise FormatError(
            f"the adapter is stored in version {int(number)} of its format, and this release of selfheal reads "
            f"{', '.join(map(str, _READ))}; nothing of it was applied. Another release wrote it: upgrade this process "
            "(a service, a loop, or what loads the model from MLflow), or promote a version that it reads"
        )
    if unknown := header.keys() - _HEADER:
        raise ValueError(f"version {int(number)} of the format has no {sorted(unknown)[0]!r}")


def _layer(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
    parts = {name.removeprefix(_PREFIX): v for name, v in tensors.items() if name != "logit_offset"}
    if not parts:
        return {}
    width, dim = parts["expand.weight"].shape
    shapes = dict(zip(_LAYER, ((width, dim), (width,), (dim, width), (dim,)), strict=True))
    if {name: v.shape for name, v in parts.items()} != shapes or any(v.dtype != np.float32 for v in parts.values()):
        raise ValueError(f"the layer's parts {sorted(parts)} do not fit together")
    return parts
