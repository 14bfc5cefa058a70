"""A model's scoring path in numpy alone: compiled once, stored as arrays, opened without torch, pandas or scikit-learn.

:mod:`selfheal.parts.compiled` makes it of a model and holds it against it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from safetensors.numpy import save as save_tensors

from selfheal.adapter_file import NO_FILE, AdapterParts, tensors_and_header
from selfheal.errors import ArtifactError
from selfheal.input_map import ColumnMap
from selfheal.parts.neural import LAYERS, Array, Layer, Linear, Relu, Residual, Tanh
from selfheal.parts.steps import STEPS, Block, Floats, Texts

KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (*STEPS, *LAYERS)}
"""What a path is made of, by the names under which it is stored."""
VERSION = 1
"""Of the stored form: another is not read, and its model is scored through torch."""


@dataclass(frozen=True, eq=False)
class Network:
    """Layers of a backbone and a head, and the adapter's between them if there is one."""

    backbone: tuple[Layer, ...]
    head: tuple[Layer, ...]
    between: Residual | None = None

    def __post_init__(self) -> None:
        between = () if self.between is None else (self.between,)
        object.__setattr__(self, "_layers", (*self.backbone, *between, *self.head))

    def __call__(self, h: Array) -> Array:
        """The head's output float32 [n, outputs] of the network's input [n, d_in], which is left unchanged."""
        for layer in self._layers:  # type: ignore[attr-defined]
            h = layer(h)
        return h

    @property
    def hidden(self) -> int:
        """Width of what the backbone gives: by its last linear layer, or else by the head's first."""
        given = [layer.matrix.shape[1] for layer in self.backbone if isinstance(layer, Linear)]
        taken = [layer.matrix.shape[0] for layer in self.head if isinstance(layer, Linear)]
        return int(given[-1] if given else taken[0])

    @property
    def begins_in_place(self) -> bool:
        """Whether the first layer would write into its caller's input, or there is none."""
        layers: tuple[Layer, ...] = self._layers  # type: ignore[attr-defined]
        return not layers or isinstance(layers[0], Relu | Tanh)


@dataclass(frozen=True, eq=False)
class CompiledPath:
    """Numeric columns float64 [n, d] and text columns → probabilities float64 [n, k].

    Attributes
    ----------
    maps
        The input map: (numeric column, map).
    blocks
        What makes the network's input, side by side.
    network
        float32 [n, d_in] → float32 [n, k], without the offset, or [n, 1] for two classes.
    offset
        Logit offset [k] or None.
    """

    maps: tuple[tuple[int, ColumnMap], ...]
    blocks: tuple[Block, ...]
    network: Callable[[Array], Array]
    offset: Floats | None = None

    def proba(self, numbers: Floats, texts: Texts) -> Floats:
        """Probabilities float64 [n, k]; ``numbers`` is not changed.

        Raises
        ------
        UnseenError
            A stored path does not know what becomes of a value.
        """
        if self.maps:
            numbers = numbers.copy()
            for column, mapped in self.maps:
                numbers[:, column] = mapped.apply(numbers[:, column])
        parts = [block(numbers, texts) for block in self.blocks]
        made = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        logits = _two(self.network(np.ascontiguousarray(made, dtype=np.float32)))
        return softmax(logits if self.offset is None else logits + self.offset)

    def hidden(self) -> int:
        """Width of the hidden state, where an adapter's layer is put."""
        assert isinstance(self.network, Network)  # noqa: S101 - it was stored
        return self.network.hidden

    def with_adapter(self, adapter: AdapterParts, numeric: Sequence[str]) -> CompiledPath:
        """The path of the same base with an adapter that fits it; ``numeric`` are the names of its numeric columns."""
        assert isinstance(self.network, Network)  # noqa: S101 - it was stored
        maps = tuple((numeric.index(name), mapped) for name, mapped in adapter.input_map.columns.items())
        network = replace(self.network, between=_residual(adapter))
        return replace(self, maps=maps, network=network, offset=adapter.logit_offset)


def _residual(adapter: AdapterParts) -> Residual | None:
    if not adapter.layer:
        return None
    expand, project = (
        Linear(np.ascontiguousarray(adapter.layer[f"{part}.weight"].T), adapter.layer[f"{part}.bias"])
        for part in ("expand", "project")
    )
    return Residual(expand, project, adapter.scale)


def _two(raw: Array) -> Floats:
    """Logits float64 [n, k]; one output z means [0, z]."""
    raw = raw.reshape(len(raw), -1)
    if raw.shape[1] > 1:
        return raw.astype(np.float64)
    out = np.zeros((len(raw), 2))
    out[:, 1] = raw[:, 0]
    return out


def softmax(logits: Floats) -> Floats:
    """Row-wise softmax of float [n, k]."""
    if not len(logits):
        return np.asarray(logits)
    # The methods max and sum are these, and half a microsecond of Python before each.
    shifted = np.exp(logits - np.maximum.reduce(logits, axis=1, keepdims=True))
    return np.asarray(shifted / np.add.reduce(shifted, axis=1, keepdims=True))


# ---------------------------------------------------------------------- stored


def to_bytes(path: CompiledPath) -> bytes | None:
    """A base's own path as a safetensors file; None where a part of it is no plain step."""
    if path.maps or path.offset is not None or not isinstance(path.network, Network):
        return None
    tensors: dict[str, np.ndarray[Any, Any]] = {}
    try:
        tree = {"blocks": [_said(block, tensors) for block in path.blocks]} | {
            part: [_said(layer, tensors) for layer in getattr(path.network, part)] for part in ("backbone", "head")
        }
    except TypeError:
        return None
    header = json.dumps({"version": VERSION} | tree)
    return bytes(save_tensors(tensors, metadata={"path": header}))


def from_bytes(data: bytes) -> CompiledPath | None:
    """Read :func:`to_bytes`; nothing in it is executed. None for a version that this release does not read.

    Raises
    ------
    ArtifactError
        It is no such file.
    """
    try:
        tensors, tree = tensors_and_header(data, "path")
        if tree["version"] != VERSION:
            return None
        blocks, backbone, head = (
            tuple(_made(each, tensors) for each in tree[part]) for part in ("blocks", "backbone", "head")
        )
        return CompiledPath((), blocks, Network(backbone, head))
    except NO_FILE as error:
        what = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"not a stored scoring path ({what}); it was not opened") from error


def _said(value: Any, tensors: dict[str, np.ndarray[Any, Any]]) -> Any:
    """A step's part as JSON, its arrays put among the tensors."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray):
        name = str(len(tensors))
        tensors[name] = np.ascontiguousarray(value)
        return {"tensor": name}
    if isinstance(value, tuple):
        return [_said(each, tensors) for each in value]
    if type(value).__name__ in KINDS:
        parts = {f.name: _said(getattr(value, f.name), tensors) for f in fields(value) if f.name != "asked"}
        return {"kind": type(value).__name__, **parts}
    raise TypeError(type(value).__name__)


def _made(said: Any, tensors: Mapping[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(said, list):
        return tuple(_made(each, tensors) for each in said)
    if not isinstance(said, dict):
        return said
    if "tensor" in said:
        return tensors[said["tensor"]]
    return KINDS[said["kind"]](**{name: _made(each, tensors) for name, each in said.items() if name != "kind"})
