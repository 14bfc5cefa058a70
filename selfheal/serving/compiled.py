"""A model's scoring path in numpy and torch, without data frames: the same numbers, a twentieth of the time.

Preprocessing is translated block by block (:mod:`selfheal.parts.blocks`), and the path is used only after it has
agreed with the model's own ``predict_proba`` on reference rows. Everything else is scored through the model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selfheal.adapter import ColumnMap
from selfheal.model import MonitoredModel, softmax
from selfheal.parts.blocks import Block, Floats, Texts, blocks_of, kinds_of, words_of
from selfheal.serving.layers import chain

AGREEMENT = 1e-6
"""Largest difference of a probability: a few roundings of the network's 32-bit floats."""
SMALL_ROWS = 64
"""Up to so many rows numpy is the faster of the two; beyond, torch's kernels outweigh their overhead."""
_CHECK_ROWS = 256


@dataclass(frozen=True)
class CompiledPath:
    """Numeric columns float64 [n, d] and text columns → probabilities float64 [n, k].

    Attributes
    ----------
    maps
        The input map: (numeric column, map).
    blocks
        What makes the network's input, side by side.
    network
        float32 [n, d_in] → logits float64 [n, k], without the offset.
    offset
        Logit offset [k] or None.
    """

    maps: tuple[tuple[int, ColumnMap], ...]
    blocks: tuple[Block, ...]
    network: Callable[[NDArray[np.float32]], Floats]
    offset: Floats | None

    def proba(self, numbers: Floats, texts: Texts) -> Floats:
        """Probabilities float64 [n, k]; ``numbers`` is not changed."""
        if self.maps:
            numbers = numbers.copy()
            for column, mapped in self.maps:
                numbers[:, column] = mapped.apply(numbers[:, column])
        parts = [block(numbers, texts) for block in self.blocks]
        made = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        logits = self.network(np.ascontiguousarray(made, dtype=np.float32))
        return softmax(logits if self.offset is None else logits + self.offset)


def compile_path(model: MonitoredModel) -> CompiledPath | None:
    """The fast path of a model with its adapter; None where it has none, or where it does not agree with the model."""
    numeric, texts = kinds_of(model)
    blocks = blocks_of(model)
    if blocks is None:
        return None
    maps = tuple((numeric.index(name), column) for name, column in model.adapter.input_map.columns.items())
    path = CompiledPath(maps, blocks, _network(model), model.adapter.logit_offset)
    return path if _agrees(path, model, numeric, texts) else None


def _agrees(path: CompiledPath, model: MonitoredModel, numeric: list[str], texts: list[str]) -> bool:
    rows = model.check_rows(model.reference.iloc[:: max(1, len(model.reference) // _CHECK_ROWS)])
    for part in (rows, rows.iloc[:SMALL_ROWS], rows.iloc[:1]):
        numbers = part[numeric].to_numpy(dtype=np.float64)
        words = [words_of(part[name]) for name in texts]
        expected = model.predict_proba(part)
        try:
            found = path.proba(numbers, words)
        except Exception:  # whatever a transformer of one's own raises on an array that has no names
            return False
        if not np.allclose(found, expected, rtol=0, atol=AGREEMENT, equal_nan=True):
            return False
    return True


def _network(model: MonitoredModel) -> Callable[[NDArray[np.float32]], Floats]:
    reflexive = model.adapter.reflexive
    backbone, head = _entry(model.backbone), _entry(model.head)
    adapt = None if reflexive is None else _entry(reflexive)
    small = chain(model.backbone, reflexive, model.head)

    def by_torch(made: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            hidden = backbone(torch.from_numpy(made))
            raw: NDArray[np.float32] = head(hidden if adapt is None else adapt(hidden)).numpy()
        return raw

    def logits(made: NDArray[np.float32]) -> Floats:
        raw = by_torch(made) if small is None or len(made) > SMALL_ROWS else small(made)
        raw = raw.reshape(len(made), -1)
        if raw.shape[1] > 1:
            return raw.astype(np.float64)
        out = np.zeros((len(made), 2))  # one output column z means the logits [0, z]
        out[:, 1] = raw[:, 0]
        return out

    return logits


def _entry(module: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The module as a function; a loaded program's ``forward`` skips hooks that cost as much as a small network."""
    entry: Callable[[torch.Tensor], torch.Tensor] = (
        module.forward if isinstance(module, torch.fx.GraphModule) else module
    )
    return entry
