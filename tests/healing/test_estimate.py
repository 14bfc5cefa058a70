"""What is expected without labels lies near what is, where it is said at all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal import Adapter
from selfheal.adapter import ColumnMap, InputMap
from selfheal.drift.yardstick import Yardstick
from selfheal.healing.case import Case
from selfheal.healing.estimate import _KNOWN, errors, estimate, noted, of_window
from selfheal.healing.outcome import Outcome
from selfheal.loop.expected import Expected, as_entry, expected, metrics_of
from tests.healing.worlds import celsius, linear, weather

N = 800


def case_of(model: selfheal.MonitoredModel, rows: pd.DataFrame) -> Case:
    return Case(model, rows[list(model.features)], Yardstick(model, None, len(rows)))


def accuracy(model: selfheal.MonitoredModel, rows: pd.DataFrame, target: str = "y") -> float:
    return float((model.predict(rows) == rows[target]).mean())


@pytest.mark.parametrize("prior", [0.15, 0.4])
def test_the_interval_covers_and_names_what_it_assumes(prior: float) -> None:
    world, inside, said = linear(4), 0, 0
    for seed in range(12):
        rows = world.draw(N, 700 + seed, prior)
        found = estimate(case_of(world.model, rows))
        if found.accuracy is None:
            continue
        said += 1
        assert found.assumes == ("stable" if prior == 0.15 else "prior"), found.reason
        inside += found.accuracy[1] <= accuracy(world.model, rows) <= found.accuracy[2]
    assert said >= 8
    assert inside >= said - 1


def test_an_offset_and_a_map_that_serve_are_reckoned_with() -> None:
    world = linear(4)
    rows = world.draw(N, 31, 0.4).assign(x1=lambda f: f["x1"] * 2)
    maps = InputMap({"x1": ColumnMap(0.5)})
    served = world.model.with_adapter(Adapter(maps, logit_offset=np.array([-0.66, 0.66])))
    recent = [world.draw(N, seed, 0.4).drop(columns="y") for seed in range(4)]
    case = Case(served, rows.drop(columns="y"), Yardstick(served, recent, N))
    found = estimate(case)
    assert found.accuracy is not None and found.assumes == "stable", found.reason
    assert found.accuracy[1] <= accuracy(served, rows) <= found.accuracy[2]


def test_it_is_silent_where_nothing_explains_the_window_or_nothing_calibrates_the_model() -> None:
    world = linear(4)
    moved = world.draw(N, 5).assign(x1=lambda f: f["x1"] + 3 * f["x1"].std())
    found = estimate(case_of(world.model, moved))
    assert (found.assumes, found.accuracy, found.log_loss) == ("", None, None)
    assert "'x1'" in found.reason or "bound" in found.reason
    layer = selfheal.ReflexiveLayer(world.model.hidden_dim)
    taught = world.model.with_adapter(Adapter(reflexive=layer))
    assert "ReflexiveLayer" in estimate(case_of(taught, world.draw(N, 6))).reason
    few = of_window(world.model, world.draw(20, 7), Yardstick(world.model, None, 20), [])
    assert few.accuracy is None and "usable rows" in few.reason


def test_decades_away_it_says_nothing_and_near_by_it_is_right() -> None:
    model, days = weather()
    spoke = []
    for start in range(5000, 16000, 730):
        rows = days.iloc[start : start + 365]
        recent = [days.iloc[i : i + 365][list(model.features)] for i in range(start - 2190, start, 365)]
        found = of_window(model, rows, Yardstick(model, recent, 365), recent)
        if found.accuracy is not None:
            spoke.append(found.accuracy[1] <= accuracy(model, rows, "target") <= found.accuracy[2])
    assert len(spoke) >= 4 and np.mean(spoke) >= 0.8
    broken = of_window(model, celsius(days.iloc[6000:6365]), Yardstick(model, None, 365), [])
    assert broken.accuracy is None


def test_errors_on_reference_blocks_are_those_of_blocks_left_out() -> None:
    wrong, lost = errors(linear(4).model, 400)
    assert len(wrong) == len(lost) == 10
    assert np.abs(wrong).max() < 0.05 and np.abs(wrong.mean()) < 0.02


def test_how_wrong_it_may_be_goes_by_what_the_costs_let_it_decide() -> None:
    world = linear(4)
    rows = world.draw(300, 21)
    costly = world.model.with_policy({"cost": {"false_positive": 1, "false_negative": 50}})
    _KNOWN.clear()
    alone = estimate(case_of(costly, rows))
    _KNOWN.clear()
    estimate(case_of(world.model, rows))
    assert alone.accuracy is not None and estimate(case_of(costly, rows)) == alone


def test_the_same_network_with_another_reference_is_reckoned_by_its_own() -> None:
    world = linear(4)
    rows, other = world.draw(300, 21), world.draw(2000, 5, 0.45)
    twin = selfheal.MonitoredModel(world.model.backbone, world.model.head, other, "y", world.model.preprocess)
    assert twin.digest == world.model.digest
    _KNOWN.clear()
    alone = estimate(case_of(twin, rows))
    _KNOWN.clear()
    assert estimate(case_of(world.model, rows)) != alone
    assert estimate(case_of(twin, rows)) == alone


def test_a_heal_says_what_to_expect_of_it_and_chooses_nothing_by_it() -> None:
    world = linear(4)
    model = world.with_policy()
    rows = world.draw(1000, 800, 0.4)
    outcome = selfheal.heal(model, rows)
    assert outcome.decision == "promote" and outcome.adapter is not None, outcome.reasons
    said = outcome.numbers
    fresh = world.draw(4000, 801, 0.4)
    for name, served in (("served", model), ("healed", model.with_adapter(outcome.adapter))):
        assert said[f"expected_accuracy_{name}"] == pytest.approx(
            accuracy(served, fresh), abs=said["expected_accuracy_error"]
        )
    plain = Outcome("keep", "stable", [], pd.DataFrame())
    assert noted(case_of(model, rows), None, plain) is plain


def test_labels_that_refute_it_silence_the_next_until_they_bear_it_out() -> None:
    world = linear(4)
    rows = world.draw(N, 9)
    stick = Yardstick(world.model, None, N)
    first = expected(world.model, rows, stick, [], [])
    assert first.shown.accuracy is not None and metrics_of(first)["estimated accuracy"] == first.judged[0]
    entry = as_entry(first)
    refuted = {"index": 7, "estimate": {**entry, "held": False, "labels_say": 0.5, "labelled": 50}}
    muted = expected(world.model, rows, stick, [], [{"index": 6}, refuted, {"index": 8, "estimate": None}])
    assert "labels refuted the estimate of window 7: 0.500 on 50 labels" in muted.shown.reason
    assert (metrics_of(muted), muted.judged) == ({}, first.judged)
    borne_out = {"index": 8, "estimate": {**as_entry(muted), "held": True}}
    assert expected(world.model, rows, stick, [], [refuted, borne_out]).shown == first.shown
    assert as_entry(None) is None and metrics_of(None) == {}
    assert replace(first, judged=None) == Expected(first.shown, None)
