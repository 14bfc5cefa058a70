"""Versions, stages and runs, on a database and over HTTP."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow.artifacts import download_artifacts

from selfheal import MonitoredModel, Settings
from selfheal.adapter import Adapter
from selfheal.errors import ArtifactError, InputError, NotFoundError
from selfheal.registry import Registry
from selfheal.registry.adoption import adopt_model
from selfheal.registry.lineage import Lineage
from selfheal.registry.runs import Table
from selfheal.table import InferenceTable
from tests.registry.given import FEATURES, healed, rows

LINEAGE = {"parent": 1, "window": 12, "diagnosis": "sensor", "verdict": "promote", "changed_share": 0.25}


@pytest.fixture
def adopted(registry: Registry, table: InferenceTable, model: MonitoredModel, name: str) -> str:
    adopt_model(name, model, registry, table)
    return name


def test_a_heal_becomes_a_version_with_its_lineage(
    registry: Registry, adopted: str, model: MonitoredModel, tmp_path: Path
) -> None:
    run = registry.runs.start_heal_run(adopted, {"window": 12, "seed": 0})
    version = registry.register(
        adopted,
        healed(model),
        tags=LINEAGE,
        record={"report_run": run, "rows": 512},
        run_id=run,
        sample=rows(5000)[FEATURES],
        description="°C back to °F",
    )
    registry.runs.end_run(run, run_name="heal window 12: sensor → promote", note="because")
    info = registry.version(adopted, version)
    assert (info.version, info.stage, info.run_id, info.base_version) == (2, "Staging", run, 1)
    assert isinstance(info.version, int)
    assert registry._door.glance(adopted), "without MLflow's client"
    assert registry.glance(adopted) == registry.versions(adopted)
    assert info.description == "°C back to °F"
    assert info.tags["diagnosis"] == "sensor"
    assert info.tags["changed_part"] == "input map + ReflexiveLayer + logit offset"
    assert info.tags["base_digest"] == model.digest
    assert info.lineage == Lineage(parent=1, window=12, diagnosis="sensor", verdict="promote", base=1)
    with registry._door.asked("look at its tags") as client:
        told = client.get_model_version(adopted, str(version)).tags
    assert set(told) == {"diagnosis", "verdict", "window", "parent", "base"}
    assert registry.lineage(adopted, version).items() >= {**LINEAGE, "rows": 512, "base_version": 1}.items()
    assert registry.adapter(adopted, version).to_bytes() == healed(model).belonging_to(model.digest, 1).to_bytes()
    sample = registry.sample(adopted, version)
    assert sample is not None and list(sample) == FEATURES and 1000 < len(sample) <= 2000
    assert registry.sample(adopted, 1) is None
    unseen = rows(30, seed=8)[FEATURES]
    loaded = registry.load(adopted, version=version)
    assert np.allclose(loaded.predict_proba(unseen), model.with_adapter(healed(model)).predict_proba(unseen))
    # another installation has no cache and fetches everything anew
    fresh = Registry(dataclasses.replace(registry.settings, home=tmp_path / "elsewhere"))
    assert np.allclose(fresh.load(adopted, version=version).predict_proba(unseen), loaded.predict_proba(unseen))
    pd.testing.assert_frame_equal(fresh.sample(adopted, version), sample)
    with registry._door.asked("look at the run") as client:
        found = client.get_run(run)
    assert found.info.run_name == "heal window 12: sensor → promote"
    assert found.info.status == "FINISHED"
    page = registry.runs.page(run)
    assert page.endswith(f"/runs/{run}?workflowType=machine_learning") if registry._door.is_server else page == ""
    assert [m.model_id for m in found.outputs.model_outputs] == [info.model_id]


def test_stages_move_one_by_one(registry: Registry, adopted: str, model: MonitoredModel) -> None:
    version = registry.register(adopted, healed(model), tags=LINEAGE)
    assert registry.aliases(adopted) == {"champion": 1}
    registry.store.set_alias(adopted, "challenger", version)
    assert registry.aliases(adopted) == {"champion": 1, "challenger": version}
    registry.store.set_alias(adopted, "challenger", None)
    assert registry.aliases(adopted) == {"champion": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        registry.transition(adopted, version, "Production")
    # new in before old out: two for an instant, both reported
    assert registry.production(adopted) == [1, version]
    registry.transition(adopted, 1, "Archived")
    assert {i.version: i.stage for i in registry.versions(adopted)} == {1: "Archived", version: "Production"}
    registry.transition(adopted, 1, "Production", archive_others=True)
    assert registry.production(adopted) == [1]
    assert registry.load(adopted).adapter.is_identity
    with registry._door.asked("delete one") as client:
        client.delete_model_version(adopted, str(version))
    assert [i.version for i in registry.versions(adopted)] == [i.version for i in registry.glance(adopted)] == [1]


def test_what_is_unknown_is_refused_with_what_is_known(registry: Registry, adopted: str, model: MonitoredModel) -> None:
    with pytest.raises(NotFoundError, match=r"has no version 7 \(known: 1\)"):
        registry.load(adopted, version=7)
    with pytest.raises(NotFoundError, match=r"has no version 7 \(known: 1\)"):
        registry.transition(adopted, 7, "Production")
    with pytest.raises(NotFoundError, match=f"known: .*{adopted}"):
        registry.versions("nothing-of-that-name")
    with pytest.raises(NotFoundError, match="no version in Staging"):
        registry.load(adopted, stage="Staging")
    with pytest.raises(InputError, match="did you mean 'Production'"):
        registry.transition(adopted, 1, "production")
    with pytest.raises(NotFoundError, match="no version with digest 00000"):
        registry.register(adopted, Adapter(base_digest="0" * 64), tags={})
    with pytest.raises(InputError, match="names no base"):
        registry.register(adopted, Adapter(), tags={})
    with pytest.raises(NotFoundError):
        registry.set_tag(adopted, 7, "a", "b")


def test_tags_and_descriptions_are_written(registry: Registry, adopted: str) -> None:
    registry.set_tag(adopted, 1, "quarantine", "x" * 9000)
    registry.store.set_description(adopted, 1, "as adopted")
    info = registry.version(adopted, 1)
    assert info.tags["quarantine"].startswith("xxx")
    assert info.description == "as adopted"


def watched(registry: Registry, name: str, version: int) -> str:
    return registry.runs.watch_run(name, version, lambda: registry.version(name, version))


def test_one_watch_run_per_version_grows_a_step_per_window(
    registry: Registry, settings: Settings, adopted: str, model: MonitoredModel
) -> None:
    run = watched(registry, adopted, 1)
    at = dt.datetime(2001, 2, 3, tzinfo=dt.UTC)
    for step in range(3):
        registry.runs.log_metrics(run, {"signal/data": 0.5 + step, "empty": float("nan")}, step, at)
    assert watched(Registry(settings), adopted, 1) == run
    with registry._door.asked("look at the run") as client:
        history = client.get_metric_history(run, "signal/data")
        assert [(m.step, m.value) for m in history] == [(0, 0.5), (1, 1.5), (2, 2.5)]
        assert history[0].timestamp == int(at.timestamp() * 1000)
        assert client.get_run(run).info.run_name == "watch v1"
        assert "empty" not in client.get_run(run).data.metrics
    version = registry.register(adopted, healed(model), tags={})
    other = watched(registry, adopted, version)
    assert other != run
    with registry._door.asked("look at the runs") as client:
        assert client.get_run(run).info.status == "FINISHED"
    # a version that comes back goes on with its run
    assert watched(registry, adopted, 1) == run
    with registry._door.asked("look at the runs") as client:
        assert client.get_run(run).info.status == "RUNNING"


def test_artifacts_of_a_heal_run(registry: Registry, adopted: str, tmp_path: Path) -> None:
    asked = {"window": 3, "text": "x" * 9000}
    run = registry.runs.start_heal_run(
        adopted, asked, metrics={"gain": 0.5, "none": np.nan}, tables=["candidates.json"]
    )
    table = pd.DataFrame({"name": ["map", "prior"], "value": [0.5, np.nan], "reason": ["because " * 9, None]})
    made = tmp_path / "made"
    (made / "plots").mkdir(parents=True)
    Table(table, "Candidates").write(made / "candidates.json")
    (made / "reasons.md").write_text("# why")
    (made / "plots" / "temp.png").write_bytes(b"\x89PNG")
    registry.runs.log_files(run, made)
    (tmp_path / "drift.html").write_text("<html></html>")
    registry.runs.log_file(run, tmp_path / "drift.html", "reports")
    registry.runs.end_run(run, "FAILED", tags={"diagnosis": "sensor"})
    place = Path(download_artifacts(artifact_uri=f"runs:/{run}/", tracking_uri=registry.settings.tracking_uri))
    files = {p.relative_to(place).as_posix() for p in place.rglob("*") if p.is_file()}
    assert files >= {"candidates.json", "candidates.html", "reasons.md", "plots/temp.png", "reports/drift.html"}
    assert json.loads((place / "candidates.json").read_text())["data"][1][1:] == [None, None]
    with registry._door.asked("look at the run") as client:
        found = client.get_run(run)
    assert (found.info.status, found.data.tags["diagnosis"]) == ("FAILED", "sensor")
    assert found.data.metrics == {"gain": 0.5} and found.data.params["window"] == "3"
    with registry._door.asked("find tables") as client:  # as MLflow's load_table and its page of evaluations do
        listed = """tags.mlflow.loggedArtifacts LIKE '%"path"%:%"candidates.json",%"type"%:%"table"%'"""
        assert [r.info.run_id for r in client.search_runs([found.info.experiment_id], listed)] == [run]


def _file(registry: Registry, name: str, version: int, entry: str) -> Path:
    with registry._files.fetched(registry.version(name, version), name, entry) as path:
        return path


def test_a_tampered_adapter_is_refused(database: Settings, model: MonitoredModel) -> None:
    registry = Registry(database)
    adopt_model("rain", model, registry, InferenceTable(database.database_url))
    version = registry.register("rain", healed(model), tags={}, sample=rows(20)[FEATURES])
    sample = _file(registry, "rain", version, "sample.parquet")
    sample.write_bytes(rows(21)[FEATURES].to_parquet())
    with pytest.raises(ArtifactError, match="the sample of 'rain' version 2 was changed"):
        registry.sample("rain", version)
    path = _file(registry, "rain", version, "adapter.safetensors")
    true = path.read_bytes()
    story = _file(registry, "rain", version, "lineage.json")
    story.write_text(story.read_text().replace("rain-base", "other"))
    with pytest.raises(ArtifactError, match="the lineage of 'rain' version 2 was changed"):
        registry.lineage("rain", version)
    other = healed(model).belonging_to(model.digest, 1)
    path.write_bytes(Adapter(other.input_map, None, None, model.digest, 1).to_bytes())
    with pytest.raises(ArtifactError, match="was changed"):
        registry.load("rain", version=version)
    path.write_bytes(true)
    registry.load("rain", version=version)
    # a version whose tags somebody removed
    with registry._door.asked("remove a tag") as client:
        client.delete_model_version_tag("rain", str(version), "base")
    with pytest.raises(ArtifactError, match="somebody removed them"):
        registry.load("rain", version=version)


def test_a_tampered_base_is_refused_when_fetched_and_when_opened(
    database: Settings, model: MonitoredModel, tmp_path: Path
) -> None:
    registry = Registry(database)
    adopt_model("rain", model, registry, InferenceTable(database.database_url))
    manifest = registry.manifest("rain", 1)
    cached = database.cache / manifest / "backbone.pt2"
    cached.write_bytes(cached.read_bytes() + b"x")
    with pytest.raises(ArtifactError, match=r"backbone\.pt2 was changed.*cached copy"):
        registry.load("rain")
    stored = _file(registry, "rain-base", 1, "base") / "head.pt2"
    stored.write_bytes(stored.read_bytes() + b"x")
    elsewhere = Settings.from_env({"SELFHEAL_HOME": str(tmp_path / "b"), "MLFLOW_TRACKING_URI": database.tracking_uri})
    with pytest.raises(ArtifactError, match=r"head\.pt2 was changed"):
        Registry(elsewhere).load("rain")
    assert not (elsewhere.cache / manifest).exists()


def test_a_deleted_experiment_is_restored(database: Settings, model: MonitoredModel) -> None:
    registry = Registry(database)
    experiment = registry.runs.experiment("rain")
    with registry._door.asked("delete it") as client:
        client.delete_experiment(experiment)
    assert Registry(database).runs.experiment("rain") == experiment
    registry.runs.start_heal_run("rain", {"window": 1})


def test_an_embedded_store_keeps_its_artifacts_below_home_and_writes_ahead(database: Settings) -> None:
    import sqlite3

    registry = Registry(database)
    with registry._door.asked("look") as client:
        place = client.get_experiment(registry.runs.experiment("rain")).artifact_location
    assert place == (database.home / "mlartifacts" / "rain").as_uri()
    connection = sqlite3.connect(database.home / "mlflow.db")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
