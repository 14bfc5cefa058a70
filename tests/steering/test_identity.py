"""A base is all that was adopted under a name: whoever opens one gets that one, or is refused."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest
import torch
import yaml
from torch import nn

import selfheal
from selfheal.errors import ArtifactError
from selfheal.loop import status
from selfheal.loop.child import HealTask
from selfheal.loop.child import _heal as heal_of
from selfheal.model import MonitoredModel
from selfheal.registry.adoption import adopt_model
from selfheal.serving.config import ServingConfig
from selfheal.serving.source import Source
from selfheal.steering import promote, reconcile, rollback
from selfheal.steering.models import load_version, serving_model
from selfheal.steering.policies import policy_of_record
from selfheal.steering.workspace import Workspace
from tests.steering.given import HEALS, NAME, POLICY, rows, toy


def like_toy(**changes) -> MonitoredModel:
    model = toy()
    parts = {
        "backbone": model.backbone,
        "head": model.head,
        "reference": model.reference.assign(y=model.reference_labels),
        "policy": model.policy,
        "name": NAME,
    }
    return MonitoredModel(**parts | {"target": "y"} | changes)


def other_weights() -> MonitoredModel:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return like_toy(backbone=nn.Sequential(nn.Linear(3, 2), nn.ReLU()))


def source(ws: Workspace, name: str) -> Source:
    return Source(ServingConfig(name, ws.settings.database_url, ws.settings.cache), ws.table)


def delete(ws: Workspace, *names: str) -> None:
    with ws.registry._door.asked("delete") as client:
        for name in names:
            client.delete_registered_model(name)


def test_the_same_network_under_a_second_name_has_its_own_columns_and_classes(ws):
    columns = ["wind", "temperature", "dew", "y"]
    worded = rows(300, 3)[columns].assign(y=lambda f: f["y"].map({0: "dry", 1: "wet"}))
    second = like_toy(reference=worded, policy=None, name="second")
    assert second.digest == toy().digest
    adopt_model("second", second, ws.registry, ws.table)
    frame = rows(20, 4)
    expected = second.predict_proba(frame)
    for found in (serving_model(ws, "second")[0], source(ws, "second").scorer.model, load_version(ws, "second", 1)):
        assert (found.features, found.classes_.tolist()) == (second.features, ["dry", "wet"])
        assert found.predict_proba(frame) == pytest.approx(expected, abs=1e-6)
    assert serving_model(ws, NAME)[0].features == toy().features


@pytest.mark.parametrize(
    "changes",
    [
        lambda: {"reference": rows(2400, 7)},
        lambda: {"backbone": nn.Sequential(toy().backbone[0], nn.Hardtanh(0.0, 1e30))},
    ],
    ids=["reference", "program"],
)
def test_what_differs_in_any_part_is_another_base(ws, changes: Callable[[], dict]):
    other = like_toy(**changes())
    assert other.digest == toy().digest
    done = adopt_model(NAME, other, ws.registry, ws.table)
    assert (done.new, done.base_version, done.stage) == (True, 2, "Staging")
    assert not adopt_model(NAME, other, ws.registry, ws.table).new
    assert adopt_model(NAME, toy(), ws.registry, ws.table).base_version == 1
    assert load_version(ws, NAME, done.version).reference.equals(other.reference)
    assert load_version(ws, NAME, 1).reference.equals(toy().reference)
    # a heal of base 1 stays with base 1, though base 2 is newer and has the same weights
    healed = toy().with_adapter(HEALS[0]).adapter
    version = ws.registry.register(NAME, healed.belonging_to(healed.base_digest, 1), tags={})
    assert ws.registry.version(NAME, version).base_version == 1
    promote(ws, NAME, done.version, "person")
    assert serving_model(ws, NAME)[0].reference.equals(other.reference)


def test_another_model_under_the_name_of_a_deleted_one_serves(ws):
    promote(ws, NAME, 2, "person")
    rollback(ws, NAME, "person")
    assert status(ws, NAME)["quarantine"] == [2]
    follower = source(ws, NAME)
    delete(ws, NAME, f"{NAME}-base")
    model = other_weights()
    done = adopt_model(NAME, model, ws.registry, ws.table)
    assert (done.version, done.stage) == (1, "Production")
    follower.look()
    assert follower.error == "" and follower.scorer.model.digest == model.digest
    assert reconcile(ws, NAME).version == 1
    assert serving_model(ws, NAME)[0].digest == load_version(ws, NAME, 1).digest == model.digest
    now = status(ws, NAME)
    assert now["healthy"] and now["production"]["base_digest"] == model.digest
    # what was seen of the deleted versions bars none of the new ones
    assert now["quarantine"] == []
    ws.registry.register(NAME, model.with_adapter(HEALS[0]).adapter, tags={})
    assert promote(ws, NAME, 2, "flow").settled == 2


def test_a_pointer_to_what_mlflow_no_longer_means_is_settled_anew(ws):
    reconcile(ws, NAME)
    right = ws.table.pointer(NAME)
    adapter = toy().with_adapter(HEALS[0]).adapter
    ws.table.set_pointer(NAME, replace(right, adapter=adapter.to_bytes(), adapter_digest=adapter.digest))
    reconcile(ws, NAME)
    assert ws.table.pointer(NAME).adapter == right.adapter


def test_versions_of_a_base_that_was_registered_anew_are_refused(ws):
    delete(ws, f"{NAME}-base")
    adopt_model(NAME, like_toy(reference=rows(2400, 7)), ws.registry, ws.table)
    with pytest.raises(ArtifactError, match="deleted and registered anew"):
        load_version(ws, NAME, 1)


def test_the_policy_of_another_adoption_of_the_same_base_is_kept(ws):
    for policy in (yaml.safe_load(POLICY) | {"cost": {"false_positive": 1, "false_negative": 5}}, toy().policy):
        again = like_toy(policy=policy)
        done = adopt_model(NAME, again, ws.registry, ws.table)
        assert not done.new and str(done).endswith("its policy was renewed")
        assert policy_of_record(ws, NAME, serving_model(ws, NAME)[0]).policy.digest == again.policy.digest
        assert selfheal.load(NAME, ws.settings).policy.digest == again.policy.digest
    assert str(adopt_model(NAME, toy(), ws.registry, ws.table)).endswith("nothing new")
    assert len(ws.registry.versions(f"{NAME}-base")) == 1


def test_a_cached_base_that_agrees_with_itself_but_was_not_registered_is_opened_by_nobody(ws):
    """Its weights are the right ones; its reference is not."""
    reconcile(ws, NAME)
    model, _ = serving_model(ws, NAME)
    place = next(path.parent for path in ws.settings.cache.glob("*/base.json"))
    swapped = io.BytesIO()
    rows(2400, 8).to_parquet(swapped, index=False)
    (place / "reference.parquet").write_bytes(swapped.getvalue())
    manifest = json.loads((place / "base.json").read_bytes())
    manifest["files"]["reference.parquet"] = hashlib.sha256(swapped.getvalue()).hexdigest()
    (place / "base.json").write_text(json.dumps(manifest, indent=1))
    ws.models.clear()
    task = HealTask(
        base=place, base_digest=model.digest, base_manifest=model.manifest, adapter=model.adapter.to_bytes(),
        policy=model.policy.to_yaml(), window=pd.DataFrame(), recent=(), labels=None, memory=(), seed=0,
    )  # fmt: skip
    for open_it in (
        lambda: serving_model(ws, NAME),
        lambda: source(ws, NAME),
        lambda: load_version(ws, NAME, 2),
        lambda: heal_of(task),
    ):
        with pytest.raises(selfheal.SelfhealError, match="is not what was registered"):
            open_it()
