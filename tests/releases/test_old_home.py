"""Nothing is condemned by an upgrade: what the release before versions left behind goes on under this one."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal.alerts.gathering import gather
from selfheal.loop import history, monitor, status
from selfheal.registry.adoption import adopt_model
from selfheal.serving.config import ServingConfig
from selfheal.serving.source import Source
from selfheal.steering import reconcile, rollback
from selfheal.steering.look import last_look
from selfheal.steering.models import load_version
from selfheal.table.chain import broken
from selfheal.table.upgrade import newest
from tests.releases.make_home import HEALTHY, N
from tests.steering.given import NAME, START, in_celsius, rows, send, toy

pytestmark = pytest.mark.xdist_group("loop")

FAR = START + timedelta(days=30)
WINDOWS = HEALTHY + 3


@pytest.fixture
def answers(old_home: Path) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows, and what the old release answered."""
    held = json.loads((old_home / "answers.json").read_text())
    return pd.DataFrame(held["rows"]), np.array(held["probabilities"])


def source(ws) -> Source:
    return Source(ServingConfig(NAME, ws.settings.database_url, ws.settings.cache), ws.table)


def test_it_serves_as_before_without_mlflow_and_after_the_first_look(ws, old_home, answers):
    frame, expected = answers
    (old_home / "mlflow.db").rename(old_home / "away.db")
    follower = source(ws)
    assert follower.scorer.version == 2
    assert follower.scorer.model.predict_proba(frame) == pytest.approx(expected, abs=1e-6)
    (old_home / "away.db").rename(old_home / "mlflow.db")
    assert (old_home / f"selfheal.db.before-{newest()}").exists()
    # the first look names the base by its manifest; nothing is fetched or opened anew for that
    assert reconcile(ws, NAME).version == 2
    base = follower.scorer.model.backbone
    follower.look()
    assert follower.error == "" and follower.scorer.pointer.base_manifest == load_version(ws, NAME, 2).manifest
    assert follower.scorer.model.backbone is base
    assert source(ws).scorer.model.predict_proba(frame) == pytest.approx(expected, abs=1e-6)


def test_its_versions_its_base_and_its_history_are_known(ws, old_home, answers, monkeypatch):
    import mlflow.pyfunc

    frame, expected = answers
    now = status(ws, NAME)
    assert now["healthy"] and now["production"]["version"] == 2
    assert [v["diagnosis"] for v in now["versions"]] == ["adoption", "sensor"]
    assert len(ws.table.cycles(NAME)) == WINDOWS and last_look(ws, NAME).lineage == (1,)
    told = history(ws, NAME, mlflow=True)
    assert told[-1].what == "first look" and ("promoted", 1, 2) in [(e.what, e.from_, e.to) for e in told]
    links = ws.table.chain.links(NAME)
    assert broken((each.link, each.digest, each.hash) for each in links) == "" and len(links) == len(told)
    assert gather(ws, NAME) == [], "what was there before the upgrade is told to nobody"
    again = adopt_model(NAME, toy(), ws.registry, ws.table)
    assert not again.new and again.base_digest == toy().digest == load_version(ws, NAME, 1).digest
    for name, value in ws.settings.environ().items():
        monkeypatch.setenv(name, value)
    assert selfheal.load(NAME).predict_proba(frame) == pytest.approx(expected, abs=1e-6)
    plain = mlflow.pyfunc.load_model(f"models:/{NAME}/1")  # by the code that was stored with it
    assert plain.predict(frame).to_numpy() == pytest.approx(toy().predict_proba(frame), abs=1e-6)
    # a file that a client kept
    adapter = selfheal.Adapter.from_bytes((old_home / "adapter.safetensors").read_bytes())
    assert toy().with_adapter(adapter).predict_proba(frame) == pytest.approx(expected, abs=1e-6)
    assert selfheal.Policy.load(old_home / "rules" / f"{NAME}.yaml").digest == toy().policy.digest


def test_its_loop_goes_on_heals_and_steps_back(ws):
    send(ws, in_celsius(rows(N, 300), "temperature", "dew"), WINDOWS * N)
    (cycle,) = monitor(ws, NAME, FAR)
    assert not cycle.decision.alarm and ws.table.cycles(NAME, last=1)[0]["index"] == WINDOWS
    # °F come again: what served before is recalled
    for k in (1, 2):
        send(ws, rows(N, 300 + k), (WINDOWS + k) * N)
        (cycle,) = monitor(ws, NAME, FAR)
    assert cycle.decision.kind == "heal" and cycle.heal.failure == ""
    assert cycle.heal.decision == "recall" and cycle.heal.promoted, cycle.heal
    assert ws.registry.production(NAME) == [1]
    assert rollback(ws, NAME, "ann").settled == 2
    assert source(ws).scorer.version == 2
