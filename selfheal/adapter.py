"""The adapter: the three parts of a served model that may change, each the exact identity at birth.

``raw columns → input map → preprocess → backbone → ReflexiveLayer (residual) → head → logit offset``

An adapter is stored as safetensors: kilobytes, no code, naming the base model that it belongs to.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.special  # noqa: F401  before torch, see selfheal.parts.preprocessing
import torch
from safetensors.numpy import save as save_tensors
from torch import nn

from selfheal.adapter_file import FORMAT, VERSION, AdapterParts, read_adapter
from selfheal.input_map import ColumnMap, InputMap, changed, column_map, in_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["VERSION", "Adapter", "ColumnMap", "InputMap", "ReflexiveLayer", "column_map"]


class ReflexiveLayer(nn.Module):
    """A residual layer between a frozen backbone and a frozen head: ``h + scale · (W2 relu(W1 h + b1) + b2)``.

    ``W2`` and ``b2`` start at zero, so that the layer is the exact identity at birth. With ``h ≥ 0`` (a ReLU
    backbone) and ``width ≥ dim`` every affine map of ``h`` is within its reach.

    Parameters
    ----------
    dim
        Width of the backbone's output, d.
    width
        Hidden units; by default ``dim``.
    scale
        Factor of the residual. 0.1 damps the first optimiser steps; the reach is the same for any scale.

    Examples
    --------
    >>> layer = ReflexiveLayer(4)
    >>> h = torch.rand(3, 4)
    >>> bool((layer(h) == h).all())
    True
    """

    def __init__(self, dim: int, width: int | None = None, scale: float = 0.1) -> None:
        super().__init__()
        self.scale = float(scale)
        self.expand = nn.Linear(dim, dim if width is None else width)
        self.project = nn.Linear(self.expand.out_features, dim)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    @property
    def dim(self) -> int:
        """Width of the hidden state that it adapts."""
        return self.expand.in_features

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Adapt a hidden state float [n, d] → [n, d]."""
        residual: torch.Tensor = self.project(torch.relu(self.expand(h)))
        return h + self.scale * residual


@dataclass(frozen=True, eq=False)
class Adapter:
    """What a heal may change. Immutable; ``Adapter()`` is the identity.

    Attributes
    ----------
    input_map
        Interpretable per-column maps, raw → model units.
    reflexive
        A :class:`ReflexiveLayer`, or None for the identity.
    logit_offset
        float [k] added to the logits (a prior shift), or None.
    base_digest, base_version
        The base model that it belongs to; empty until it is attached or registered.
    """

    input_map: InputMap = field(default_factory=InputMap)
    reflexive: ReflexiveLayer | None = None
    logit_offset: NDArray[np.float64] | None = None
    base_digest: str = ""
    base_version: int | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that differ from the identity, in the order in which a row meets them."""
        return changed(self.input_map, self.reflexive is not None, self.logit_offset)

    @property
    def width(self) -> int | None:
        """Of the hidden state that it adapts; None for one that adapts none."""
        return None if self.reflexive is None else self.reflexive.dim

    @property
    def is_identity(self) -> bool:
        """Whether it leaves the base model exactly as it was adopted."""
        return not self.parts

    @property
    def changed_part(self) -> str:
        """``"none"``, ``"input map"``, ``"ReflexiveLayer"``, ``"logit offset"``, or several joined by `` + ``."""
        return " + ".join(self.parts) or "none"

    def describe(self) -> list[str]:
        """What it does, one line a part or column."""
        return in_words(self.input_map, self.width, self.logit_offset)

    def belonging_to(self, base_digest: str, base_version: int | None = None) -> Adapter:
        """The same adapter, naming its base."""
        return replace(self, base_digest=base_digest, base_version=base_version)

    def to_bytes(self) -> bytes:
        """As a safetensors file; equal adapters give equal bytes."""
        header: dict[str, Any] = {
            "format": f"{FORMAT}{VERSION}",
            "base_digest": self.base_digest,
            "base_version": self.base_version,
            "input_map": {name: asdict(m) for name, m in self.input_map.columns.items()},
        }
        tensors: dict[str, NDArray[Any]] = {}
        if self.reflexive is not None:
            header["scale"] = self.reflexive.scale
            tensors = {f"reflexive.{k}": v.detach().cpu().numpy() for k, v in self.reflexive.state_dict().items()}
        if self.logit_offset is not None:
            tensors["logit_offset"] = np.asarray(self.logit_offset, dtype=np.float64)
        # One metadata entry only: safetensors writes several in no fixed order, and the digest must be stable.
        return bytes(save_tensors(tensors, metadata={"selfheal": json.dumps(header, sort_keys=True)}))

    @classmethod
    def from_bytes(cls, data: bytes) -> Adapter:
        """Read :meth:`to_bytes`: as, and raising what, :func:`selfheal.adapter_file.read_adapter` does."""
        parts = read_adapter(data)
        return cls(parts.input_map, _layer(parts), parts.logit_offset, parts.base_digest, parts.base_version)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of :meth:`to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()


def _layer(parts: AdapterParts) -> ReflexiveLayer | None:
    if not parts.layer:
        return None
    width, dim = parts.layer["expand.weight"].shape
    layer = ReflexiveLayer(dim, width, parts.scale)
    layer.load_state_dict({name: torch.from_numpy(values) for name, values in parts.layer.items()})
    return layer.eval().requires_grad_(False)
