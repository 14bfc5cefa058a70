"""Plain MLflow loads and serves what selfheal registered."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from selfheal import MonitoredModel, Settings
from selfheal.registry import Registry
from selfheal.registry.adoption import adopt_model
from selfheal.table import InferenceTable
from tests.registry.given import FEATURES, healed, rows

ROOT = Path(__file__).parents[2]


def test_a_process_that_imports_only_mlflow_loads_production(
    database: Settings, model: MonitoredModel, tmp_path: Path
) -> None:
    registry = Registry(database)
    adopt_model("rain", model, registry, InferenceTable(database.database_url))
    version = registry.register("rain", healed(model), tags={})
    registry.transition("rain", version, "Production", archive_others=True)
    unseen = rows(5, seed=4)[FEATURES]
    code = (
        "import json, sys, mlflow.pyfunc, pandas as pd; "
        "assert 'selfheal' not in sys.modules; "
        "model = mlflow.pyfunc.load_model('models:/rain/Production'); "
        "frame = pd.read_json(sys.argv[1]); "
        "print(json.dumps([model.predict(frame).to_dict('list'), model.metadata.signature.inputs.input_names()]))"
    )
    unseen.to_json(tmp_path / "rows.json")
    environ = os.environ | {"MLFLOW_TRACKING_URI": database.tracking_uri, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "rows.json")],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environ,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    predicted, columns = json.loads(done.stdout.splitlines()[-1])
    assert columns == FEATURES
    assert list(predicted) == ["no", "yes"]
    expected = model.with_adapter(healed(model)).predict_proba(unseen)
    assert np.allclose(np.column_stack([predicted["no"], predicted["yes"]]), expected)
    # it needs no home of its own and leaves none behind
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "rows.json"]


def test_versions_and_bases_load_by_pyfunc(
    registry: Registry, table: InferenceTable, model: MonitoredModel, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow.pyfunc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", registry.settings.tracking_uri)
    adopt_model(name, model, registry, table)
    unseen = rows(7, seed=4)[FEATURES]
    # a unit change turns whole numbers into fractions; both are taken
    for frame in (unseen, unseen.assign(count=unseen["count"] + 0.5)):
        for uri in (f"models:/{name}/1", f"models:/{name}@champion", f"models:/{name}-base/1"):
            found = mlflow.pyfunc.load_model(uri).predict(frame)
            assert list(found.columns) == ["no", "yes"]
            assert np.allclose(found.to_numpy(), model.predict_proba(frame))
