"""The fire drill: a model's own rows, broken as its stream might be; the model stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import selfheal
from selfheal import InputError, MonitoredModel
from selfheal.board import worlds
from selfheal.board.course import Options
from selfheal.drill import check, own
from selfheal.drill.check import Check, Fate, claims, lines
from selfheal.drill.course import fire_drill
from tests.steering.given import rows, toy

SEED = 7


def test_a_fire_drill_breaks_the_models_own_rows() -> None:
    model = worlds.linear(SEED).model
    before = model.digest
    done = fire_drill(model, Options(seeds=(1,), words=("clean", "unit: ", "stuck", "swapped")))
    decided = {r["scenario"]: r["decision"] for r in done.rows}
    assert decided["clean"] == "keep"
    assert decided["stuck sensor"] == "refuse"
    assert {d for s, d in decided.items() if s.startswith("unit: ")} <= {"promote", "audit"}
    assert done.summary["harmful"] == 0
    assert model.digest == before


def test_a_fire_drill_covers_what_the_model_leans_on() -> None:
    world = worlds.linear(SEED)
    found = own.scenarios(world.model)
    assert found[1].name.startswith(f"unit: {world.telling[0]}")
    for scenario in found:
        trial = scenario.build(3)
        assert len(trial.window) == len(trial.truth)
        assert not set(trial.model.reference.iloc[:, 0]) & set(trial.unseen.iloc[:, 0])


def test_a_short_reference_is_refused() -> None:
    model = worlds.linear(SEED).model
    rows = model.reference.assign(y=model.reference_labels).iloc[:200]
    small = selfheal.MonitoredModel(model.backbone, model.head, rows, target="y", preprocess=model.preprocess)
    with pytest.raises(InputError, match="200 rows; a drill needs 600"):
        own.scenarios(small)


def test_what_is_claimed_of_rows_that_nothing_was_done_to_is_false_and_no_fit() -> None:
    model = toy()
    sound = rows(700, 0)
    spoilt = sound.assign(wind=sound["wind"].where(sound.index < 460, 7.0))  # what is taken as healthy is not
    assert not list(claims(MonitoredModel(model.backbone, model.head, sound, target="y")))
    found = tuple(claims(MonitoredModel(model.backbone, model.head, spoilt, target="y")))
    assert found
    assert {f.kind for f in found} == {"false"}
    assert "named as a fault of the data; " in found[0].words and "wind" in found[0].words
    told = Check(700, 3, 2, 116, 0.9, 0.5, 0, 0, (), found, 0, ())
    assert not told.fit
    assert replace(told, fates=()).fit
    assert "  false     said of rows to which nothing had happened:" in list(lines("mine", told))


def test_class_shares_that_move_in_the_reference_are_no_false_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its labels; of rows whose labels say otherwise it is one."""
    world, onset = worlds.linear(SEED), 5675  # where seed 2 looks
    rows = pd.concat([world.draw(onset, 1), world.draw(8000 - onset, 2, prior=0.45)], ignore_index=True)

    def first(rows: pd.DataFrame) -> Fate:
        made = MonitoredModel(
            world.model.backbone, world.model.head, rows, target="y", preprocess=world.model.preprocess
        )
        return next(claims(made, 2))

    found = first(rows)
    assert found.kind == "moves"
    assert found.words.startswith("healed; by its labels class 1 is ")
    told = Check(8000, 3, 2, 1000, 0.9, 0.5, 0, 0, (), (found,), 0, ())
    assert told.fit
    assert (
        "  moves     what your reference does by itself: the shares of its classes move, and a heal follows them:"
        in list(lines("mine", told))
    )
    shuffled = rows["y"].where(rows.index < onset, world.draw(8000, 3)["y"])
    assert first(rows.assign(y=shuffled)).kind == "false"
    monkeypatch.setattr(check, "MOVED", 1e3)
    assert first(rows).kind == "false", "a gain without a move is chance"


def test_units_are_tried_on_what_may_have_one() -> None:
    """Degrees on temperatures, where a name says so; no unit on a code, a few whole numbers or an hour."""
    rng = np.random.default_rng(0)
    n = 700
    columns = {
        "kind_code": rng.integers(0, 90, n), "hour": rng.integers(0, 24, n), "children": rng.integers(0, 5, n),
        "age": rng.integers(18, 90, n), "dew": rng.normal(50, 9, n), "wait_min": rng.integers(1, 600, n),
    }  # fmt: skip
    body = torch.nn.Linear(6, 6)
    with torch.no_grad():
        body.weight.copy_(torch.diag(torch.tensor([1 / 30, 1 / 8, 1.0, 1 / 20, 1 / 9, 1 / 100])))
    rows = pd.DataFrame(columns).assign(y=lambda f: (f["age"] + f["dew"] > 105).astype(int))
    model = MonitoredModel(body, torch.nn.Linear(6, 2), rows, target="y")
    tried = {s.name.removeprefix("unit: ") for s in own.scenarios(model) if s.name.startswith("unit: ")}
    assert {name.partition(" ")[0] for name in tried} == {"age", "dew", "wait_min"}
    assert {name for name in tried if "°F" in name} == {"dew °F → °C"}
