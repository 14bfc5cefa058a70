"""Networks that MLflow has: a program is cut and adopted, what could run code only by somebody's trust."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn

import selfheal
from selfheal import Settings
from selfheal.cli import main
from selfheal.errors import ArtifactError, InputError, RefusedError
from selfheal.parts.graph import cut_program
from selfheal.parts.program import export_program, open_program, without_samples
from selfheal.registry import Registry, trusted
from selfheal.registry.imported import imported

pytestmark = pytest.mark.xdist_group("models")  # torch.export is imported once


class Net(nn.Module):
    """As people write one: dropout, a batch norm, probabilities at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 8), nn.ReLU())
        self.norm = nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.out(self.norm(self.body(x))), dim=1)


def rows(n: int = 200) -> pd.DataFrame:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(n, 3)), columns=["a", "b", "c"])
    return frame.assign(y=(frame.a > 0).astype(int))


@pytest.fixture(scope="module")
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net().eval()


@pytest.fixture(scope="module")
def saved(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``net`` as MLflow writes it: a program, a pickle and TorchScript."""
    import mlflow.pytorch

    folder = tmp_path_factory.mktemp("nets")
    example = rows(5)[["a", "b", "c"]].to_numpy(np.float32)
    kinds = {
        "pt2": (net, {"input_example": example, "serialization_format": "pt2"}),
        "pickle": (net, {"serialization_format": "pickle"}),
        "script": (_scripted(net), {"serialization_format": "pickle"}),
    }
    for kind, (module, more) in kinds.items():
        mlflow.pytorch.save_model(module, folder / kind, pip_requirements=["torch"], **more)
    return folder


@pytest.fixture
def store(database: Settings, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Versions 1 to 3 of ``net``: the program, the pickle and TorchScript."""
    import mlflow

    for name, value in database.environ().items():
        if not name.startswith("PREFECT"):
            monkeypatch.setenv(name, value)
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    client = mlflow.MlflowClient(database.tracking_uri, database.tracking_uri)
    client.create_registered_model("net")
    for kind in ("pt2", "pickle", "script"):
        client.create_model_version("net", str(tmp_path / kind))
    client.set_registered_model_alias("net", "best", "1")
    rows().to_parquet(tmp_path / "rows.parquet")
    return database


def _scripted(net: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(net)


def adopt(folder: Path, *arguments: str) -> Result:
    given = ["--reference", str(folder / "rows.parquet"), "--target", "y", *arguments]
    return CliRunner().invoke(main, ["adopt", "mine", *given])


def test_a_program_is_adopted_and_what_could_run_code_is_refused(store: Settings, net, tmp_path: Path) -> None:
    done = adopt(tmp_path, "--from", "models:/net/1", "--json", str(tmp_path / "done.json"))
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "done.json").read_text())["stage"] == "Production"
    model, frame = selfheal.load("mine"), rows()
    with torch.no_grad():
        wanted = net(torch.tensor(frame[["a", "b", "c"]].to_numpy(np.float32))).numpy()
    np.testing.assert_allclose(model.predict_proba(frame), wanted, atol=1e-6)
    hidden = model.hidden_of_units(frame.iloc[:4]).requires_grad_()
    model.head_logits(hidden).sum().backward()
    assert hidden.shape == (4, 8) and hidden.grad.abs().sum() > 0
    tags = Registry(store).version("mine-base", 1).tags
    assert tags["source"] == "models:/net/1" and len(tags["source_digest"]) == 64 and "trusted_by" not in tags
    assert "nothing new" in adopt(tmp_path, "--from", "models:/net@best").output
    as_lists = pd.DataFrame({"x": list(frame[["a", "b", "c"]].to_numpy(np.float32)), "y": frame.y})
    listed = imported("models:/net/1", as_lists, "y", store)[0]
    assert listed.features == ("x_0", "x_1", "x_2")
    np.testing.assert_allclose(listed.predict_proba(as_lists), wanted, atol=1e-6)

    for version, what in (("2", "a pickle"), ("3", "TorchScript")):
        done = adopt(tmp_path, "--from", f"models:/net/{version}")
        assert done.exit_code == 1 and what in done.output and "--trust" in done.output, done.output
    for arguments, words in [
        (("--from", "models:/net/9"), "Model Version (name=net, version=9) not found"),
        (("--from", "models:/net"), "names no version; write models:/NAME/7"),
        (("my.py:net", "--from", "models:/net/1"), "or --from, --reference and --target together"),
        (("--from", "models:/net/1", "--target", "z"), "no column 'z'"),
        (
            (
                "--from",
                "models:/mine/1",
            ),
            "is no PyTorch network (flavors: python_function)",
        ),
    ]:
        done = adopt(tmp_path, *arguments)
        assert done.exit_code == 2 and words in done.output, done.output


@pytest.mark.parametrize("kind", ["pickle", "script"])
def test_what_is_trusted_is_exported_anew(kind: str, store: Settings, net, tmp_path: Path) -> None:
    place = tmp_path / "child"
    place.mkdir()
    shutil.copyfile(tmp_path / kind / "data" / "model.pth", place / "model")
    frame = rows()[["a", "b", "c"]].to_numpy(np.float32)
    np.save(place / "rows.npy", frame)
    assert trusted.main(kind, str(place)) == 0
    program = open_program((place / "program.pt2").read_bytes())
    made = cut_program(program, torch.from_numpy(frame))
    assert made.dropped == "Softmax"
    torch.testing.assert_close(program(torch.from_numpy(frame)), net(torch.from_numpy(frame)))
    selfheal.MonitoredModel(made.backbone, made.head, rows(), target="y")  # it can be stored, too


@pytest.mark.prove
@pytest.mark.parametrize("version", ["2", "3"])
def test_trust_opens_it_in_a_child_without_credentials(version: str, store, net, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    done = adopt(tmp_path, "--from", f"models:/net/{version}", "--trust", "--as", "ada")
    assert done.exit_code == 0, done.output
    assert Registry(store).version("mine-base", 1).tags["trusted_by"] == "ada"
    np.testing.assert_allclose(
        selfheal.load("mine").predict_proba(rows()),
        net(torch.tensor(rows()[["a", "b", "c"]].to_numpy(np.float32))).detach().numpy(),
        atol=1e-6,
    )


class Spy:
    """What a stranger's pickle would do: tell what it sees."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, ("open('seen', 'w').write(repr(sorted(__import__('os').environ)))",)


@pytest.mark.prove
def test_the_child_is_told_of_no_credential(store: Settings, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    torch.save(Spy(), tmp_path / "pickle" / "data" / "model.pth")
    with pytest.raises(InputError, match=r"holds a int, no torch.nn.Module"):
        imported("models:/net/2", rows(), "y", store, trusted_by="ada")
    seen = (tmp_path / "seen").read_text()
    assert "PATH" in seen and not any(word in seen for word in ("MLFLOW", "SELFHEAL", "SECRET", "PASSWORD"))


def test_example_inputs_and_notes_are_dropped_unread(net: nn.Module, tmp_path: Path) -> None:
    data = _with_samples(export_program(net, torch.randn(8, 3)), pickle.dumps(Spy()), note="x")
    with pytest.raises(ArtifactError, match="would unpickle"):
        open_program(data)
    torch.testing.assert_close(open_program(without_samples(data))(torch.ones(2, 3)), net(torch.ones(2, 3)))
    assert not Path("seen").exists()
    with pytest.raises(ArtifactError, match="unexpected entry"):
        without_samples(_with_samples(export_program(net, torch.randn(8, 3)), b"", extra="evil.py"))


def _with_samples(data: bytes, samples: bytes, note: str = "", extra: str = "") -> bytes:
    """The archive with something else for its example inputs."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            content = samples if info.filename.endswith("sample_inputs/model.pt") else old.read(info)
            if note and info.filename.endswith("models/model.json"):
                content = content.replace(b'"metadata": {}', b'"metadata": {"stack_trace": "%s"}' % note.encode())
            new.writestr(info.filename, content)
        if extra:
            new.writestr(f"archive/{extra}", b"")
    return made.getvalue()


class Around(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.out = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(torch.relu(self.body(x))) + x


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Around(), "around the last linear layer"),
        (nn.Sequential(nn.ReLU()), "no linear layer at its end"),
        (nn.Sequential(nn.Linear(4, 2)), "the program fails on .* feature columns, in their order"),
    ],
    ids=["residual", "no layer", "other columns"],
)
def test_a_program_that_cannot_be_cut_is_refused(module: nn.Module, words: str) -> None:
    width = module[0].in_features if isinstance(module, nn.Sequential) and hasattr(module[0], "in_features") else 3
    program = open_program(export_program(module.eval(), torch.randn(8, width)))
    with pytest.raises(InputError, match=words):
        cut_program(program, torch.randn(8, 3))


def test_a_reference_with_text_needs_a_factory(store: Settings) -> None:
    with pytest.raises(InputError, match=r"'c' of the reference holds no numbers.*preprocess="):
        imported("models:/net/1", rows().assign(c="word"), "y", store)
    with pytest.raises(RefusedError, match="serialization_format='pt2'"):
        imported("models:/net/2", rows(), "y", store)
