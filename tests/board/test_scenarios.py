"""Scenarios: named once, the same for the same seed, and the truth stays with the score. A seeded sample is healed."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from selfheal.board import attacks, ledger, mixed, random_drifts, score, small_sets, synthetic, twins, worlds
from selfheal.board.trial import Scenario, Trial

SEED = 7
GROUPS = ("synthetic", "random", "mixed", "field", "attacks", "twins", "digits", "breast cancer")


def test_every_name_is_there_once() -> None:
    names = Counter(s.name for s in ledger.built_in())
    assert [n for n, count in names.items() if count > 1] == []
    assert {s.group for s in ledger.built_in()} == set(GROUPS)


def sound(trial: Trial) -> None:
    """What holds for every trial."""
    features = list(trial.model.features)
    assert trial.window.columns.tolist() == features
    assert trial.unseen.columns.tolist() == features
    assert len(trial.window) == len(trial.truth)
    assert len(trial.unseen) == len(trial.unseen_truth) >= 100
    assert trial.model.adapter.is_identity or trial.memory
    seen = pd.util.hash_pandas_object(trial.window, index=False)
    assert not set(seen) & set(pd.util.hash_pandas_object(trial.unseen, index=False)), "the healer saw what is scored"


@pytest.mark.parametrize("scenario", [*synthetic.SCENARIOS, *twins.SCENARIOS], ids=lambda s: s.name)
def test_trials_are_sound(scenario: Scenario) -> None:
    sound(scenario.build(SEED))


@pytest.mark.parametrize("scenario", mixed.SCENARIOS, ids=lambda s: s.name)
def test_trials_of_mixed_worlds_are_sound(scenario: Scenario) -> None:
    sound(scenario.build(SEED))


@pytest.mark.parametrize("scenario", attacks.SCENARIOS, ids=lambda s: s.name)
def test_trials_of_attacks_are_sound_and_most_rows_are_honest(scenario: Scenario) -> None:
    trial = scenario.build(SEED)
    sound(trial)
    honest = set(pd.util.hash_pandas_object(mixed.mixed(SEED).rows[trial.window.columns], index=False))
    assert sum(h in honest for h in pd.util.hash_pandas_object(trial.window, index=False)) >= 0.8 * len(trial.window)


@pytest.mark.parametrize("scenario", small_sets.SCENARIOS, ids=lambda s: s.name)
def test_trials_of_small_sets_are_sound(scenario: Scenario) -> None:
    sound(scenario.build(SEED))


def test_random_drifts_are_of_every_kind_and_mostly_identifiable() -> None:
    drawn = [random_drifts.drift(SEED, i) for i in range(random_drifts.EACH)]
    for trial in drawn:
        sound(trial)
    assert {t.right.mechanism for t in drawn} >= {"sensor", "prior", "concept"}
    assert sum(t.right.identifiable for t in drawn) > len(drawn) / 2


@pytest.mark.parametrize("name", ["population", "poison", "new pattern, rule", "article, declared"])
def test_the_same_seed_gives_the_same_trial(name: str) -> None:
    scenario = next(s for s in synthetic.SCENARIOS if s.name == name)
    one, two, other = scenario.build(SEED), scenario.build(SEED), scenario.build(SEED + 1)
    pd.testing.assert_frame_equal(one.window, two.window)
    np.testing.assert_array_equal(one.unseen_truth, two.unseen_truth)
    assert not one.window.equals(other.window)


def test_the_closed_form_is_the_best_classifier() -> None:
    """Its log-loss on fresh rows is below the network's, by little: the world is what it says it is."""
    world = worlds.linear(SEED)
    rows = world.draw(5000, 99)
    exact = world.posterior(rows)
    y = rows["y"].to_numpy()
    best = -np.log(np.where(y == 1, exact, 1 - exact)).mean()
    model = score.metrics(world.model, y, world.model.predict_proba(rows))
    assert model is not None
    assert best <= model["log_loss"] <= best + 0.05


SAMPLE = ("offset", "conversion ×1000", "prior up", "label flip")
"""What is healed, and what is not: how the others are answered is recorded (tests/sample)."""


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_the_board(name: str) -> None:
    row = score.run(next(s for s in synthetic.SCENARIOS if s.name == name), SEED)
    assert row["right"], row["reason"]
    assert not row["harmful"]
    assert row["gap"] is None or not row["acted"] or row["gap"] > 0.7


def test_twins_have_the_same_inputs_and_other_labels() -> None:
    sensor, population = (twins.twin(SEED, sensor=s) for s in (True, False))
    pd.testing.assert_frame_equal(sensor.window, population.window)
    assert (sensor.truth != population.truth).mean() > 0.05
