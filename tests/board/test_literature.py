"""Each rival and estimator of the literature on the case that it is known for, and on one where it is known to fail."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from selfheal.board import estimators, literature, score, synthetic
from selfheal.board.estimators import ESTIMATORS, REFERENCE, Asked, estimates
from selfheal.board.literature import LITERATURE
from selfheal.board.rivals import served
from selfheal.board.summary import summarise
from selfheal.board.trial import Trial

SEED = 600


@cache
def trial(name: str) -> Trial:
    return next(s for s in synthetic.SCENARIOS if s.name == name).build(SEED)


def accuracy(of: Trial, proba: np.ndarray) -> float:
    return float((of.model.classes_[of.model.decide(proba)] == of.unseen_truth).mean())


@pytest.mark.parametrize("name", LITERATURE)
def test_a_rival_answers_with_probabilities_the_same_ones_twice_and_leaves_the_model_alone(name: str) -> None:
    of = trial("prior up")
    found = LITERATURE[name](of)
    assert found.shape == (len(of.unseen), 2) and np.isfinite(found).all() and (found >= 0).all()
    assert found.sum(axis=1) == pytest.approx(np.ones(len(found)))
    torch.rand(3)
    assert np.array_equal(found, LITERATURE[name](of))
    of.model.check_unchanged()


def test_what_each_is_known_for() -> None:
    clean, up, offset = trial("clean"), trial("prior up"), trial("offset")
    before = {of.right.mechanism: accuracy(of, served(of.model, of.unseen)) for of in (clean, up, offset)}
    for name in ("LAME", "RDumb", "POEM", "AdapTable-like"):
        assert accuracy(clean, LITERATURE[name](clean)) == pytest.approx(before["none"], abs=0.005), (
            "careful on clean rows"
        )
    assert accuracy(up, literature.calibration(up)) >= before["prior"] + 0.02, "it estimates the class shares"
    assert accuracy(up, literature.t3a(up)) >= before["prior"] + 0.02
    down = trial("prior down")
    frozen = accuracy(down, served(down.model, down.unseen))
    assert accuracy(down, literature.shot(down)) <= frozen - 0.1, "diverse answers are wrong where one class is rare"
    assert max(accuracy(offset, rival(offset)) for rival in LITERATURE.values()) <= before["sensor"] + 0.02


def test_poem_bets_nothing_on_entropies_that_are_the_references() -> None:
    of = trial("clean")
    assert np.abs(literature.poem(of) - served(of.model, of.unseen)).mean() < 0.01
    moved = trial("prior up")
    still = np.abs(literature.poem(of) - served(of.model, of.unseen)).mean()
    assert np.abs(literature.poem(moved) - served(moved.model, moved.unseen)).mean() > still


def test_estimators_on_a_calibrated_window_and_on_a_sensor_that_moved() -> None:
    of = trial("clean")
    frozen, told = accuracy(of, served(of.model, of.unseen)), estimates(of)
    for name in ("CBPE", "ATC", "suitability filter", REFERENCE):
        assert told[name] == pytest.approx(frozen, abs=0.02), name
    assert told.keys() == {REFERENCE, *ESTIMATORS}
    moved = trial("offset")
    worse = accuracy(moved, served(moved.model, moved.unseen))
    assert estimates(moved)["CBPE"] > worse + 0.05, "sure and wrong: confidence can't see it"
    empty = Trial(**{**vars(of), "window": of.window.assign(**{of.window.columns[0]: np.nan})})
    assert set(estimates(empty).values()) == {None}


def test_aetta_counts_answers_that_dropout_changes() -> None:
    asked = Asked(trial("prior up"))
    assert estimators.aetta(asked, dropped=0.0) == 1.0
    assert 0 <= estimators.aetta(asked, dropped=0.8) < estimators.aetta(asked, dropped=0.2) < 1


def test_they_are_on_the_board_where_they_are_asked_for() -> None:
    scenario = next(s for s in synthetic.SCENARIOS if s.name == "prior up")
    row = score.run(scenario, SEED, lambda *_, **__: None, literature=True)
    assert LITERATURE.keys() <= row["rivals"].keys() and row["estimates"].keys() == {REFERENCE, *ESTIMATORS}
    summary = summarise([row])
    assert LITERATURE.keys() <= summary["rivals"].keys()
    told = summary["estimators"][REFERENCE]
    assert told["mean_error"] == pytest.approx(abs(row["estimates"][REFERENCE] - row["before"]["accuracy"]))
    assert told["seen"] == 0.0 and summarise([{**row, "estimates": {}}])["estimators"] == {}
