"""A model's scoring path without data frames: the same numbers, a twentieth of the time.

Preprocessing is translated block by block (:mod:`selfheal.parts.blocks`), the network layer by layer
(:mod:`selfheal.parts.layers`), and the path is used, or stored, only after it has agreed with the model's own
``predict_proba`` on reference rows. Everything else is scored through the model itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import pandas as pd
import torch
from torch import nn

from selfheal.adapter import Adapter
from selfheal.parts import layers
from selfheal.parts.blocks import Fitted, blocks_of, kinds_of, words_of
from selfheal.parts.neural import Array
from selfheal.parts.path import CompiledPath, Network, to_bytes
from selfheal.parts.steps import Floats

AGREEMENT = 1e-6
"""Largest difference of a probability: a few roundings of the network's 32-bit floats."""
SMALL_ROWS = 64
"""Up to so many rows numpy is the faster of the two; beyond, torch's kernels outweigh their overhead."""
_CHECK_ROWS = 256


class Served(Fitted, Protocol):
    """What is asked of a model."""

    backbone: nn.Module
    head: nn.Module
    adapter: Adapter

    def check_rows(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows in the model's order."""

    def predict_proba(self, frame: pd.DataFrame) -> Floats:
        """Probabilities [n, k]."""


def compile_path(model: Served) -> CompiledPath | None:
    """The fast path of a model with its adapter; None where it has none, or where it does not agree with the model."""
    return _agreeing(model, _network(model))


def stored_path(model: Served, backbone: nn.Module | None = None, head: nn.Module | None = None) -> bytes | None:
    """A base's own path, as it is stored; None where it has none that numpy alone can run.

    Parameters
    ----------
    backbone, head
        Its modules in another form, to be translated in their place.
    """
    network = layers.network(backbone or model.backbone, None, head or model.head)
    path = None if network is None else _agreeing(model, network)
    return None if path is None else to_bytes(path)


def _agreeing(model: Served, network: Callable[[Array], Array]) -> CompiledPath | None:
    numeric, texts = kinds_of(model)
    blocks = blocks_of(model)
    if blocks is None:
        return None
    maps = tuple((numeric.index(name), column) for name, column in model.adapter.input_map.columns.items())
    path = CompiledPath(maps, blocks, network, model.adapter.logit_offset)
    return path if _agrees(path, model, numeric, texts) else None


def _agrees(path: CompiledPath, model: Served, numeric: list[str], texts: list[str]) -> bool:
    rows = model.check_rows(model.reference.iloc[:: max(1, len(model.reference) // _CHECK_ROWS)])
    for part in (rows, rows.iloc[:SMALL_ROWS], rows.iloc[:1]):
        numbers = part[numeric].to_numpy(dtype=np.float64)
        words = [words_of(part[name]) for name in texts]
        expected = model.predict_proba(part)
        try:
            answers = path.proba(numbers, words)
        except Exception:  # whatever a transformer of one's own raises on an array that has no names
            return False
        if not np.allclose(answers, expected, rtol=0, atol=AGREEMENT, equal_nan=True):
            return False
    return True


def _network(model: Served) -> Callable[[Array], Array]:
    reflexive = model.adapter.reflexive
    backbone, head = _entry(model.backbone), _entry(model.head)
    adapt = None if reflexive is None else _entry(reflexive)
    small: Network | None = layers.network(model.backbone, reflexive, model.head)

    def run(made: Array) -> Array:
        if small is not None and len(made) <= SMALL_ROWS:
            return small(made)
        with torch.inference_mode():
            hidden = backbone(torch.from_numpy(made))
            raw: Array = head(hidden if adapt is None else adapt(hidden)).numpy()
        return raw

    return run


def _entry(module: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """The module as a function; a loaded program's ``forward`` skips hooks that cost as much as a small network."""
    entry: Callable[[torch.Tensor], torch.Tensor] = (
        module.forward if isinstance(module, torch.fx.GraphModule) else module
    )
    return entry
