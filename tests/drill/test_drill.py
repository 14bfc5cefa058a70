"""The fire drill: a model's own rows, broken as its stream might be; the model stays as it was."""

from __future__ import annotations

from dataclasses import replace

import pytest

import selfheal
from selfheal import InputError, MonitoredModel
from selfheal.board import worlds
from selfheal.board.course import Options
from selfheal.drill import own
from selfheal.drill.check import Check, claims, lines
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
