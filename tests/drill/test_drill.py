"""The fire drill: a model's own rows, broken as its stream might be; the model stays as it was."""

from __future__ import annotations

import pytest

import selfheal
from selfheal import InputError
from selfheal.board import worlds
from selfheal.board.course import Options
from selfheal.drill import own
from selfheal.drill.course import fire_drill

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
