"""Heals over many seeds: a unit change is cured and named, ordinary windows are left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import selfheal
from tests.prove.ledger import Ledger
from tests.prove.rooms import COLUMNS, ROWS, Rooms, celsius

SEEDS = 40


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
