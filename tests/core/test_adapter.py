"""Adapters: identity at birth, exact round trips, and nothing in a file is executed."""

from __future__ import annotations

import json
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from selfheal.adapter import Adapter, ColumnMap, InputMap, ReflexiveLayer
from selfheal.errors import ArtifactError, FormatError


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
    [pickle.dumps(_Boom()), full().to_bytes()[:-3], b"\xff" * 8 + b"{}"],
    ids=["pickle", "cut short", "header beyond the end"],
)
def test_a_bad_file_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError):
        Adapter.from_bytes(data)


def rewritten(adapter: Adapter, **changes: Any) -> bytes:
    """An adapter's file with other words in its header; those that become None are left out."""
    data = adapter.to_bytes()
    length = int.from_bytes(data[:8], "little")
    held = json.loads(data[8 : 8 + length])
    words = json.loads(held["__metadata__"]["selfheal"]) | changes
    words = {key: value for key, value in words.items() if value is not None or key not in changes}
    held["__metadata__"]["selfheal"] = json.dumps(words)
    text = json.dumps(held).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_another_version_of_the_format_is_refused_and_said() -> None:
    with pytest.raises(FormatError, match=r"version 2 of its format.* reads 1; nothing of it was applied.*upgrade"):
        Adapter.from_bytes(rewritten(full(), format="selfheal-adapter/2", scale=None))


@pytest.mark.parametrize(
    "changes",
    [{"format": "adapter/1"}, {"format": "selfheal-adapter/one"}, {"format": 1}, {"gate": [0.5, 1.0]}],
    ids=["somebody else's", "no number", "a number alone", "a part that version 1 does not have"],
)
def test_a_file_that_says_what_no_version_says_is_no_adapter(changes: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="not an adapter file") as caught:
        Adapter.from_bytes(rewritten(full(), **changes))
    assert not isinstance(caught.value, FormatError)


def test_a_file_without_a_version_is_of_the_first() -> None:
    assert Adapter.from_bytes(rewritten(full(), format=None)).digest == full().digest


def test_the_digest_of_what_was_stored_before_stays() -> None:
    """Made by the release before: a pointer, a tag and a journal entry name it by this digest."""
    before = Adapter(InputMap({"t": ColumnMap(1.8, 32.0, "°C → °F")}), None, np.array([0.25, -0.25]), "abc", 3)
    assert before.digest == "1c8002cbdcc9eddcc8039d0ec34f7eabe399880b7ad3fb807db8977f3a3f70c9"
