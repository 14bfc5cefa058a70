"""A base as files: stored and opened alike, and every changed byte refused before it is used."""

from __future__ import annotations

import hashlib
import json
import logging
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.special
import torch
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

from selfheal import MonitoredModel
from selfheal.errors import ArtifactError, InputError, UnavailableError
from selfheal.parts.preprocessing import open_preprocessing, save_preprocessing
from selfheal.parts.program import export_program
from selfheal.registry.adapters import checked_adapter
from selfheal.registry.archive import identity, load_base, save_base
from selfheal.registry.folder import MANIFEST, manifest_digest
from tests.registry.given import FEATURES, NUMBERS, Branching, MakesFolder, evil_samples, healed, monitored, rows
from tests.registry.models import Halved


@pytest.fixture(scope="module")
def stored(model: MonitoredModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("base") / "base"
    assert save_base(model, place) == model.digest
    return place


@pytest.fixture
def base(stored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(stored, tmp_path / "base"))


def test_a_stored_base_is_the_same_model(model: MonitoredModel, base: Path, tmp_path: Path) -> None:
    loaded = load_base(base, expect_digest=model.digest, expect_manifest=manifest_digest(base))
    unseen = rows(500, seed=9)[FEATURES]
    assert np.allclose(loaded.predict_proba(unseen), model.predict_proba(unseen), atol=1e-6)
    assert loaded.digest == model.digest
    assert loaded.policy == model.policy
    assert loaded.dtypes == model.dtypes
    assert loaded.adapter.is_identity
    pd.testing.assert_frame_equal(loaded.reference, model.reference)
    assert list(loaded.reference_labels) == list(model.reference_labels)
    # and once more, from what was loaded
    assert save_base(loaded, tmp_path / "again") == model.digest


def test_an_adapter_fits_the_loaded_base(model: MonitoredModel, base: Path) -> None:
    adapter = healed(model)
    loaded = load_base(base).with_adapter(adapter)
    unseen = rows(50, seed=3)[FEATURES]
    assert np.allclose(loaded.predict_proba(unseen), model.with_adapter(adapter).predict_proba(unseen), atol=1e-6)


@pytest.mark.parametrize(
    "name", ["backbone.pt2", "head.pt2", "preprocess.skops", "reference.parquet", "policy.yaml", MANIFEST]
)
def test_a_changed_or_missing_file_is_refused_by_name(name: str, base: Path, model: MonitoredModel) -> None:
    registered = manifest_digest(base)
    data = bytearray((base / name).read_bytes())
    data[len(data) // 2] ^= 1
    (base / name).write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match=name):
        load_base(base, model.digest, registered)
    (base / name).unlink()
    with pytest.raises(UnavailableError, match=name):
        load_base(base, model.digest, registered)


def _swap(base: Path, name: str, data: bytes) -> None:
    """Change a file and its entry in the manifest, as somebody with the whole folder in hand would."""
    (base / name).write_bytes(data)
    manifest = json.loads((base / MANIFEST).read_bytes())
    manifest["files"][name] = hashlib.sha256(data).hexdigest()
    (base / MANIFEST).write_text(json.dumps(manifest))


def test_a_whole_forged_folder_is_refused_and_runs_nothing(base: Path, model: MonitoredModel, tmp_path: Path) -> None:
    registered, proof = manifest_digest(base), tmp_path / "ran"
    _swap(base, "backbone.pt2", evil_samples((base / "backbone.pt2").read_bytes(), proof))
    with pytest.raises(ArtifactError, match="not what was registered"):
        load_base(base, model.digest, registered)
    # Even where nobody remembers the manifest:
    with pytest.raises(ArtifactError, match="unpickle"):
        load_base(base)
    assert not proof.exists()


def test_other_weights_under_a_true_manifest_are_refused(base: Path, model: MonitoredModel) -> None:
    _swap(base, "head.pt2", export_program(nn.Linear(8, 1).eval(), torch.randn(10, 8)))
    with pytest.raises(ArtifactError, match="the loaded model has digest"):
        load_base(base, model.digest)


def test_another_base_than_the_adapter_names_is_refused(base: Path) -> None:
    with pytest.raises(ArtifactError, match="expected 000000000000"):
        load_base(base, expect_digest="0" * 64)


def test_a_manifest_that_lists_a_strange_file_is_refused(base: Path) -> None:
    _swap(base, "../evil.txt", b"x")
    with pytest.raises(ArtifactError, match="no part of a base"):
        load_base(base)


def test_a_folder_is_written_once_and_whole(model: MonitoredModel, base: Path) -> None:
    with pytest.raises(InputError, match="not empty"):
        save_base(model, base)
    assert not list(base.parent.glob(".base*"))


def test_a_module_that_export_refuses_is_stored_with_its_builder(tmp_path: Path) -> None:
    made = monitored()
    model = MonitoredModel(
        Branching(), made.head, rows(), target="rain", preprocess=made.preprocess, policy=made.policy
    )
    logging.disable(logging.CRITICAL)  # torch prints the graph that it gave up on
    try:
        with pytest.warns(UserWarning, match="must be able to import the builder"):
            save_base(model, tmp_path / "base")
    finally:
        logging.disable(logging.NOTSET)
    parts = json.loads((tmp_path / "base" / MANIFEST).read_bytes())["parts"]
    assert parts["backbone"]["builder"] == "tests.registry.given:Branching"
    assert parts["head"] == {"kind": "program"}
    unseen = rows(50, seed=3)[FEATURES]
    loaded = load_base(tmp_path / "base", model.digest)
    assert np.allclose(loaded.predict_proba(unseen), model.predict_proba(unseen), atol=1e-6)


def test_a_builder_in_the_standard_library_or_missing_is_refused(base: Path) -> None:
    for path, said in [("os:getcwd", "no builder"), ("no_such_package:Net", "does not give this module")]:
        manifest = json.loads((base / MANIFEST).read_bytes())
        manifest["parts"]["head"] = {"kind": "weights", "builder": path}
        manifest["files"]["head.safetensors"] = hashlib.sha256(b"").hexdigest()
        (base / "head.safetensors").write_bytes(b"")
        (base / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(ArtifactError, match=said):
            load_base(base)


def test_preprocessing_of_foreign_types_is_refused_at_adoption() -> None:
    with pytest.raises(InputError, match=r"preprocess .*scikit-learn"):
        save_preprocessing(FunctionTransformer(_double))


def test_a_transformer_of_ones_own_is_named_in_the_manifest(tmp_path: Path) -> None:
    frame = rows()[[*NUMBERS, "rain"]]
    made = make_pipeline(Halved(), StandardScaler()).fit(frame[NUMBERS])
    model = MonitoredModel(nn.Linear(3, 4), nn.Linear(4, 2), frame, target="rain", preprocess=made)
    with pytest.warns(UserWarning, match=r"tests\.registry\.models\.Halved.*must be able to import it"):
        save_base(model, tmp_path / "base")
    manifest = json.loads((tmp_path / "base" / MANIFEST).read_bytes())
    assert manifest["transformers"] == ["tests.registry.models.Halved"]
    assert np.array_equal(load_base(tmp_path / "base").predict_proba(frame), model.predict_proba(frame))
    for named, said in ((["gone.Halved"], "no transformer that can be imported here; install"), ([], "is not trusted")):
        (tmp_path / "base" / MANIFEST).write_text(json.dumps(manifest | {"transformers": named}))
        with pytest.raises(ArtifactError, match=said):
            load_base(tmp_path / "base")


def test_another_function_of_scipy_makes_another_base(tmp_path: Path) -> None:
    frame = rows()[[*NUMBERS, "rain"]]
    found = []
    for i, function in enumerate((scipy.special.expit, scipy.special.expit, scipy.special.exp2)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = nn.Linear(3, 4), nn.Linear(4, 2)
        made = FunctionTransformer(function).fit(frame[NUMBERS])
        save_base(MonitoredModel(*net, frame, target="rain", preprocess=made), tmp_path / str(i))
        found.append(identity(tmp_path / str(i)))
    assert found[0] == found[1] != found[2]


def _double(x: np.ndarray) -> np.ndarray:
    return x * 2


def test_a_tampered_skops_file_is_refused_and_runs_nothing(model: MonitoredModel, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    good = tmp_path / "good.skops"
    good.write_bytes(save_preprocessing(model.preprocess))
    with zipfile.ZipFile(good) as archive:
        schema = json.loads(archive.read("schema.json"))
        others = {n: archive.read(n) for n in archive.namelist() if n != "schema.json"}
    schema["__class__"], schema["__module__"], schema["__loader__"] = "mkdir", "os", "TypeNode"
    for content in (others, others | {"evil.pkl": pickle.dumps(MakesFolder(proof))}):
        bad = tmp_path / "bad.skops"
        with zipfile.ZipFile(bad, "w") as archive:
            for name, data in (content | {"schema.json": json.dumps(schema).encode()}).items():
                archive.writestr(name, data)
        with pytest.raises(ArtifactError, match=r"os\.mkdir|evil\.pkl"):
            open_preprocessing(bad.read_bytes())
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_preprocessing(pickle.dumps(MakesFolder(proof)))
    assert not proof.exists()


def test_a_pickled_adapter_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    data = pickle.dumps(MakesFolder(proof))
    with pytest.raises(ArtifactError, match="not an adapter file"):
        checked_adapter(data, hashlib.sha256(data).hexdigest(), "adapter")
    with pytest.raises(ArtifactError, match="was changed"):
        checked_adapter(data, "0" * 64, "adapter")
    assert not proof.exists()
    pickle.loads(data)
    assert proof.exists()


@pytest.mark.parametrize("null", [None, np.nan], ids=["None", "NaN"])
def test_a_missing_text_comes_back_as_the_kind_that_preprocessing_knows(null: object, tmp_path: Path) -> None:
    frame = rows()
    frame["kind"] = frame["kind"].astype(object).where(frame.index % 7 > 0, null)
    filled = make_pipeline(SimpleImputer(missing_values=null, strategy="constant", fill_value="?"), OneHotEncoder())
    columns = ColumnTransformer([("n", SimpleImputer(add_indicator=True), NUMBERS), ("c", filled, ["kind"])])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(6, 4), nn.Linear(4, 2)
    model = MonitoredModel(*net, frame, target="rain", preprocess=columns.fit(frame[FEATURES]))
    save_base(model, tmp_path / "base")
    loaded = load_base(tmp_path / "base", model.digest)
    asked = frame[FEATURES].assign(kind=[None if i % 2 else float("nan") for i in range(len(frame))])
    assert np.allclose(loaded.predict_proba(asked), model.predict_proba(asked), atol=1e-6)
    assert save_base(loaded, tmp_path / "again") == model.digest


def test_the_files_of_a_base_are_opened_without_mlflow() -> None:
    code = (
        "import sys, selfheal.registry.archive, selfheal.parts.preprocessing; "
        "loaded = {'mlflow', 'evidently', 'prefect'} & set(sys.modules); assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
