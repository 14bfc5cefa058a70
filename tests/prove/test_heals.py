"""Heals over many seeds: a unit change is cured and named, ordinary windows are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler

import selfheal
from tests.prove.ledger import Ledger

COLUMNS = ["temperature", "co2", "humidity", "noise"]
ROWS = 1000
SEEDS = 40


class Rooms:
    """A building's sensors, with the truth: is the room occupied? Everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.model = self._model(seed)
        self.recent = pd.concat([self.rows(ROWS) for _ in range(6)], ignore_index=True)[COLUMNS]

    def rows(self, n: int) -> pd.DataFrame:
        """Rows [n] of the four features and ``occupied``."""
        occupied = self.rng.random(n) < 0.4
        return pd.DataFrame(
            {
                "temperature": self.rng.normal(66 + 6 * occupied, 3),
                "co2": self.rng.normal(500 + 200 * occupied, 120),
                "humidity": self.rng.normal(40, 6, n),
                "noise": self.rng.gamma(2 + occupied, 6),
                "occupied": occupied.astype(int),
            }
        )

    def _model(self, seed: int) -> selfheal.MonitoredModel:
        train = self.rows(4000)
        scaler = StandardScaler().fit(train[COLUMNS])
        torch.manual_seed(seed)
        backbone = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU())
        head = torch.nn.Linear(32, 1)
        x = torch.tensor(scaler.transform(train[COLUMNS]), dtype=torch.float32)
        y = torch.tensor(train["occupied"].to_numpy(), dtype=torch.float32)
        optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=0.01)
        for _ in range(150):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(head(backbone(x))[:, 0], y).backward()
            optimizer.step()
        # A broken thermometer turns about as many answers as there are occupied rooms.
        policy = {"target": "occupied", "heal": {"max_changed": 0.6}}
        return selfheal.MonitoredModel(backbone, head, self.rows(4000), preprocess=scaler, policy=policy)


def celsius(frame: pd.DataFrame) -> pd.DataFrame:
    """The thermometer is replaced by one that reads °C."""
    return frame.assign(temperature=(frame["temperature"] - 32) / 1.8)


def accuracy(model: selfheal.MonitoredModel, rows: pd.DataFrame) -> float:
    return float((model.predict(rows[COLUMNS]) == rows["occupied"].to_numpy()).mean())


def unit_change(seed: int) -> dict[str, Any]:
    """Heal a window in °C and score the healed model on rows the healer never saw."""
    world = Rooms(seed)
    outcome = selfheal.heal(world.model, celsius(world.rows(ROWS))[COLUMNS], recent=world.recent, seed=seed)
    unseen = world.rows(5000)
    broken = celsius(unseen)
    healed = world.model if outcome.adapter is None else world.model.with_adapter(outcome.adapter)
    return {
        "decision": outcome.decision,
        "diagnosis": outcome.diagnosis,
        "named": [] if outcome.adapter is None else outcome.adapter.input_map.describe(),
        "clean": accuracy(world.model, unseen),
        "broken": accuracy(world.model, broken),
        "after": accuracy(healed, broken),
    }


def ordinary(seed: int) -> dict[str, Any]:
    """A window like those before it."""
    world = Rooms(seed)
    outcome = selfheal.heal(world.model, world.rows(ROWS)[COLUMNS], recent=world.recent, seed=seed)
    return {"decision": outcome.decision, "diagnosis": outcome.diagnosis}


def check_unit_changes(results: list[dict[str, Any]]) -> None:
    lost = sum(r["clean"] - r["broken"] for r in results)
    back = sum(r["after"] - r["broken"] for r in results)
    assert lost > 0.05 * len(results), "the change does no harm here; nothing is proved"
    assert back >= 0.95 * lost
    named = [r for r in results if any("temperature" in words for words in r["named"])]
    assert len(named) >= 0.9 * len(results)


def test_a_sample_of_both(tmp_path: Path) -> None:
    ledger = Ledger("sample", tmp_path)
    check_unit_changes([ledger.run("unit 0", lambda: unit_change(0))])
    assert ledger.run("ordinary 0", lambda: ordinary(0))["decision"] == "keep"


def test_a_ledger_resumes_and_forgets_results_of_other_source(tmp_path: Path) -> None:
    first = Ledger("case", tmp_path).run("a", lambda: {"value": 1})
    again = Ledger("case", tmp_path).run("a", lambda: {"value": 2})
    assert first == again == {"value": 1}
    held = json.loads((tmp_path / "case.json").read_text())
    (tmp_path / "case.json").write_text(json.dumps(held | {"source": "other"}))
    assert Ledger("case", tmp_path).run("a", lambda: {"value": 3}) == {"value": 3}


@pytest.mark.prove
def test_unit_changes_over_seeds() -> None:
    ledger = Ledger("unit_changes")
    check_unit_changes([ledger.run(str(s), lambda s=s: unit_change(s)) for s in range(SEEDS)])


@pytest.mark.prove
def test_ordinary_windows_over_seeds() -> None:
    ledger = Ledger("ordinary_windows")
    results = [ledger.run(str(s), lambda s=s: ordinary(s)) for s in range(SEEDS)]
    assert not [r for r in results if r["decision"] in ("promote", "recall")]
