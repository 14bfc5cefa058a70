"""Exported programs: what is stored agrees, and no stored file runs code."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from selfheal.errors import ArtifactError, InputError
from selfheal.parts import program
from selfheal.parts.program import AGREEMENT, export_program, open_program
from tests.registry.given import EVIL, Branching, Noisy, entries, packed


class Residual(nn.Module):
    """Everything that a tabular network tends to hold, a non-persistent buffer included."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 8)
        self.drop, self.norm, self.batch = nn.Dropout(0.3), nn.LayerNorm(8), nn.BatchNorm1d(8)
        self.register_buffer("gain", torch.full((8,), 0.5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        out: Tensor = self.batch(self.norm(h + self.gain * self.drop(self.b(h))))
        return out


class Reshaping(nn.Module):
    """Sizes computed from the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv1d(1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.filter(x[:, None, :]).reshape(x.shape[0], 6)
        return out


class Flat(nn.Module):
    """A head with one value a row."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.linear(x).squeeze(-1)
        return out


@pytest.fixture(scope="module")
def archive() -> bytes:
    return export_program(nn.Sequential(nn.Linear(5, 3), nn.ReLU()).eval(), torch.randn(40, 5))


@pytest.mark.parametrize("kind", [Residual, Reshaping, Flat])
def test_a_stored_module_agrees_for_any_batch_size(kind: type[nn.Module]) -> None:
    module = kind().eval()
    stored = open_program(export_program(module, torch.randn(64, 5)))
    for n in (0, 1, 2, 3, 1000):
        batch = torch.randn(n, 5)
        expected, found = module(batch), stored(batch)
        assert expected.shape == found.shape
        assert torch.allclose(expected, found, atol=AGREEMENT)
    assert dict(stored.named_parameters()).keys() == dict(module.named_parameters()).keys()
    assert stored.state_dict().keys() == module.state_dict().keys()


def test_gradients_reach_the_input_of_a_stored_module(archive: bytes) -> None:
    x = torch.randn(64, 5, requires_grad=True)
    open_program(archive)(x).sum().backward()
    assert x.grad is not None and bool((x.grad != 0).any())


def test_a_stored_module_can_be_stored_again(archive: bytes) -> None:
    stored = open_program(archive)
    again = open_program(export_program(stored, torch.randn(40, 5)))
    assert torch.equal(again(torch.ones(2, 5)), stored(torch.ones(2, 5)))


class Nested(nn.Module):
    """A chain whose parameters lie in parts of parts."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 8, bias=False), nn.Tanh(), nn.Sequential(nn.Linear(8, 4), nn.ReLU()))
        self.top = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.top(self.body(x))
        return out


def test_a_chain_is_read_as_torch_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (Nested().eval(), nn.Linear(5, 1).eval()):
        data = export_program(module, torch.randn(40, 5))
        with monkeypatch.context() as patch:
            patch.setattr(torch.export, "load", None)  # which would bring its compiler along
            ours = open_program(data)
        with monkeypatch.context() as patch:
            patch.setattr(program, "read_chain", lambda *given: None)
            theirs = open_program(data)
        x = torch.randn(17, 5)
        assert torch.equal(ours(x), theirs(x)) and torch.equal(ours(x), module(x))
        assert list(ours.state_dict()) == list(theirs.state_dict()) == list(module.state_dict())
        assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in theirs.parameters()]
        assert export_program(ours, x) == export_program(theirs, x)


def test_an_archive_holds_no_sample_inputs_and_no_path_of_the_machine(archive: bytes) -> None:
    content = entries(archive)
    assert content["data/sample_inputs/model.pt"] == b""
    assert str(Path(torch.__file__).parent).encode() not in archive
    assert b"test_program" not in archive


@pytest.mark.parametrize("kind", sorted(EVIL))
def test_a_malicious_archive_runs_in_torch_and_not_here(kind: str, archive: bytes, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    data = EVIL[kind](archive, proof)
    with pytest.raises(ArtifactError, match="program"):
        open_program(data)
    assert not proof.exists()
    # The same bytes in torch's own loader: the danger is real, and a torch that closed the hole would show here.
    logging.disable(logging.CRITICAL)
    try:
        with suppress(Exception):
            torch.export.load(io.BytesIO(data))
    finally:
        logging.disable(logging.NOTSET)
    assert proof.exists()


def _program(archive: bytes, change: object) -> bytes:
    program = json.loads(entries(archive)["models/model.json"])
    change(program)  # type: ignore[operator]
    return packed(entries(archive) | {"models/model.json": json.dumps(program).encode()})


def _node(program: dict) -> dict:  # type: ignore[type-arg]
    return program["graph_module"]["graph"]["nodes"][0]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "change",
    [
        lambda p: _node(p).update(target="torch.hub.os.system"),
        lambda p: _node(p).update(target="torch.ops.aten.from_file.default"),
        lambda p: _node(p).update(target="#ext:evil"),
        lambda p: _node(p)["inputs"].append({"name": "x", "arg": {"as_operator": "torch.hub.os.system"}, "kind": 1}),
        lambda p: _node(p).update(metadata={"torch_fn": "torch.hub.os.system"}),
        lambda p: p.update(guards_code=["__import__('os')"]),
        lambda p: p["graph_module"]["module_call_graph"][0]["signature"].update(
            in_spec='[1, {"type": "collections.namedtuple", "context": "null", "children_spec": []}]'
        ),
        lambda p: p["graph_module"].update(treespec_namedtuple_fields={"os.system": {"field_names": []}}),
    ],
)
def test_a_program_that_names_code_is_refused(change: object, archive: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"only tensor operators"):
        open_program(_program(archive, change))


def test_an_unknown_a_doubled_a_missing_and_a_compressed_entry_are_refused(archive: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"unexpected entry 'data/aotinductor/model/x\.so'"):
        open_program(packed(entries(archive) | {"data/aotinductor/model/x.so": b"\x7fELF"}))
    with pytest.raises(ArtifactError, match=r"models/model\.json is missing"):
        open_program(packed({k: v for k, v in entries(archive).items() if k != "models/model.json"}))
    squeezed = io.BytesIO()
    with zipfile.ZipFile(squeezed, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in entries(archive).items():
            target.writestr(f"archive/{name}", data)
    with pytest.raises(ArtifactError, match="compressed"):
        open_program(squeezed.getvalue())
    doubled = io.BytesIO(archive)
    with zipfile.ZipFile(doubled, "a") as target, pytest.warns(UserWarning, match="Duplicate name"):
        target.writestr("archive/models/model.json", b"{}")
    with pytest.raises(ArtifactError, match="twice"):
        open_program(doubled.getvalue())


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_damaged_archive_is_refused_or_harmless(archive: bytes, data: st.DataObject) -> None:
    """Any byte of the file may be anything: the only error is ours."""
    at = data.draw(st.integers(0, len(archive) - 1))
    cut = data.draw(st.one_of(st.just(len(archive)), st.integers(0, len(archive))))
    broken = bytearray(archive)
    broken[at] = data.draw(st.integers(0, 255))
    with suppress(ArtifactError):
        open_program(bytes(broken[:cut]))


def test_what_export_cannot_store_or_changes_is_said() -> None:
    logging.disable(logging.CRITICAL)  # torch prints its graphs
    try:
        with pytest.raises(InputError, match=r"torch\.export cannot store Branching"):
            export_program(Branching().eval(), torch.randn(8, 5))
    finally:
        logging.disable(logging.NOTSET)
    with pytest.raises(InputError, match=r"differs by .* random draw"):
        export_program(Noisy().eval(), torch.randn(8, 5))
