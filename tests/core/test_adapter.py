"""Adapters: identity at birth, exact round trips, and nothing in a file is executed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfheal.adapter import Adapter, ColumnMap, InputMap, ReflexiveLayer
from selfheal.errors import ArtifactError


def full() -> Adapter:
    torch.manual_seed(0)
    layer = ReflexiveLayer(4, 6, scale=0.5)
    torch.nn.init.normal_(layer.project.weight)
    maps = InputMap({"t": ColumnMap(1.8, 32.0, "°C → °F"), "h": ColumnMap(offset=3.0, modulo=24.0)})
    return Adapter(maps, layer, np.array([0.1, -0.1]), "abc", 3)


def test_the_layer_is_the_identity_at_birth() -> None:
    h = torch.randn(50, 8)
    assert torch.equal(ReflexiveLayer(8)(h), h)


def test_any_affine_map_of_a_relu_state_is_within_reach() -> None:
    """W1 = I, W2 = (A - I)/s, b2 = c/s."""
    torch.manual_seed(1)
    layer, a, c, h = ReflexiveLayer(5, scale=0.1), torch.randn(5, 5), torch.randn(5), torch.rand(20, 5)
    with torch.no_grad():
        layer.expand.weight.copy_(torch.eye(5))
        layer.expand.bias.zero_()
        layer.project.weight.copy_((a - torch.eye(5)) / layer.scale)
        layer.project.bias.copy_(c / layer.scale)
    assert torch.allclose(layer(h), h @ a.T + c, atol=1e-4)


def test_a_round_trip_keeps_every_bit() -> None:
    adapter = full()
    again = Adapter.from_bytes(adapter.to_bytes())
    h = torch.randn(7, 4)
    assert adapter.reflexive is not None
    assert again.reflexive is not None
    assert torch.equal(adapter.reflexive(h), again.reflexive(h))
    assert again.input_map == adapter.input_map
    assert (again.base_digest, again.base_version) == ("abc", 3)
    assert again.digest == adapter.digest
    assert again.changed_part == "input map + ReflexiveLayer + logit offset"


@given(st.floats(-1e3, 1e3), st.floats(-1e6, 1e6), st.text(max_size=20), st.text(max_size=20))
def test_maps_survive_storage_exactly(scale: float, offset: float, column: str, words: str) -> None:
    adapter = Adapter(InputMap({column: ColumnMap(scale, offset, words)}))
    assert Adapter.from_bytes(adapter.to_bytes()).input_map == adapter.input_map


def test_the_identity_changes_nothing() -> None:
    frame = pd.DataFrame({"t": [1.0, np.nan]})
    assert Adapter().is_identity
    assert Adapter().changed_part == "none"
    assert Adapter().input_map.apply(frame) is frame


def test_a_known_conversion_brings_ties_back() -> None:
    fahrenheit = np.array([32.0, 50.3, -11.7, 92.5])
    celsius = (fahrenheit - 32) / 1.8
    assert ColumnMap(1.8, 32.0).apply(celsius).tolist() == fahrenheit.tolist()


class _Boom:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("a pickled adapter ran its code",))


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="it was not opened"):
        Adapter.from_bytes(data)


@pytest.mark.parametrize(
    "data",
    [pickle.dumps(_Boom()), full().to_bytes()[:-3], b"\xff" * 8 + b"{}", Adapter().to_bytes().replace(b"/1", b"/9")],
    ids=["pickle", "cut short", "header beyond the end", "another format"],
)
def test_a_bad_file_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        Adapter.from_bytes(data)
