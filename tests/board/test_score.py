"""The score catches what is wrong: canned answers, a healer that harms, one that raises; and it credits a cure."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfheal import Adapter, Outcome
from selfheal.board import rivals, score, synthetic
from selfheal.board.score import gap, harmful, metrics, run
from selfheal.board.trial import Scenario, Trial

#: What a healer is scored by; the rivals are asked in a test of their own.
pytestmark = pytest.mark.usefixtures("alone")
SEED = 7
CLEAN = Scenario("clean", "synthetic", "", synthetic.clean)
OFFSET = Scenario("offset", "synthetic", "", synthetic.offset)
PRIOR = Scenario("prior up", "synthetic", "", partial(synthetic.prior, share=0.4))


def says(decision: Any, diagnosis: Any = "unknown", adapter: Adapter | None = None) -> score.Healer:
    def healer(model: Any, window: pd.DataFrame, **_: Any) -> Outcome:
        return Outcome(decision, diagnosis, ["canned"], pd.DataFrame(), adapter)

    return healer


CONSTANT = says("promote", "prior", Adapter(logit_offset=np.array([50.0, -50.0])))


@pytest.mark.parametrize("scenario", [CLEAN, PRIOR])
def test_a_healer_that_always_promotes_the_constant_is_harmful(scenario: Scenario) -> None:
    row = run(scenario, SEED, CONSTANT)
    assert row["harmful"]
    assert row["acted"]
    assert row["after"]["balanced_accuracy"] == 0.5
    assert row["after"]["f1"] == 0.0


def test_a_healer_that_never_acts_does_no_harm_and_earns_nothing() -> None:
    row = run(OFFSET, SEED, says("keep", "stable"))
    assert (row["harmful"], row["right"], row["gap"]) == (False, False, 0.0)
    assert row["after"] == row["before"]
    assert row["oracle"]["accuracy"] > row["before"]["accuracy"] + 0.1


def test_the_exact_inverse_earns_the_whole_gap_and_is_named() -> None:
    trial = synthetic.offset(SEED)
    assert isinstance(trial.oracle, Adapter)
    row = run(OFFSET, SEED, says("promote", "sensor", trial.oracle))
    assert (row["harmful"], row["right"], row["gap"], row["named"]) == (False, True, 1.0, True)
    assert row["after"] == row["oracle"]


def test_a_nearly_exact_inverse_is_not_named() -> None:
    trial = synthetic.offset(SEED)
    assert isinstance(trial.oracle, Adapter)
    column, exact = next(iter(trial.oracle.input_map.columns.items()))
    near = Adapter(type(trial.oracle.input_map)({column: type(exact)(exact.scale, exact.offset * 1.01)}))
    assert run(OFFSET, SEED, says("promote", "sensor", near))["named"] is False


def test_what_waits_for_an_audit_changes_nothing_until_labels_speak() -> None:
    trial = synthetic.offset(SEED)
    assert isinstance(trial.oracle, Adapter)
    good = run(OFFSET, SEED, says("audit", "sensor", trial.oracle))
    assert good["after"] == good["before"]
    assert good["waiting"] == good["oracle"]
    assert (good["audit"]["passed"], good["audit"]["right"]) == (True, True)
    assert 4 <= good["audit"]["labels"] <= 20
    bad = run(CLEAN, SEED, says("audit", "sensor", Adapter(logit_offset=np.array([-50.0, 50.0]))))
    assert (bad["audit"]["passed"], bad["audit"]["right"], bad["audit"]["harmful"]) == (False, True, False)


def test_a_healer_that_raises_is_a_row_and_not_the_end() -> None:
    def broken(*_: Any, **__: Any) -> Outcome:
        raise ZeroDivisionError("by zero")

    row = run(CLEAN, SEED, broken)
    assert (row["decision"], row["right"], row["harmful"]) == ("error", False, False)
    assert row["reason"] == "ZeroDivisionError: by zero"


def test_a_recall_serves_the_version_that_was_named() -> None:
    def recalls(model: Any, window: pd.DataFrame, **_: Any) -> Outcome:
        return Outcome("recall", "sensor", [], pd.DataFrame(), recall=2)

    row = run(Scenario("recurring", "synthetic", "", synthetic.recurring), SEED, recalls)
    assert row["gap"] == 1.0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 5), st.floats(0, 5))
def test_harm_is_a_point_of_accuracy_or_two_hundredths_of_a_nat(a: float, b: float, c: float, d: float) -> None:
    row = {"acted": True, "before": {"accuracy": a, "log_loss": c}, "after": {"accuracy": b, "log_loss": d}}
    assert harmful(row) == (a - b > 0.01 + 1e-9 or d - c > 0.02 + 1e-9)
    assert not harmful(row | {"acted": False})
    oracle = {"accuracy": 1.0}
    share = gap(row | {"oracle": oracle})
    assert share is None if 1.0 - a < 0.01 else share == pytest.approx((b - a) / (1.0 - a))


def test_metrics_of_a_known_case() -> None:
    model = synthetic.linear(SEED).model
    truth = np.array([0, 0, 1, 1])
    found = metrics(model, truth, np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]]))
    assert found is not None
    assert (found["accuracy"], found["balanced_accuracy"], found["average_precision"]) == (0.75, 0.75, 1.0)
    assert found["f1"] == pytest.approx(0.8)
    assert found["log_loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.7]).mean())
    assert metrics(model, truth, np.full((4, 2), np.nan)) is None
    costly = synthetic.under_policy(model, cost={"false_positive": 1, "false_negative": 5})
    priced = metrics(costly, truth, np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.3, 0.7]]))
    assert priced is not None
    assert priced["cost"] == 5 / 4


def test_rivals_and_oracle_on_a_change_that_each_is_known_for() -> None:
    """Prior correction is right for a prior, CORAL gains on an offset, labels help; the exact inverse is the best."""
    shares, moved = PRIOR.build(SEED), OFFSET.build(SEED)

    def accuracy(trial: Trial, proba: Any) -> float:
        return float((proba.argmax(axis=1) == trial.unseen_truth).mean())

    frozen = accuracy(shares, rivals.served(shares.model, shares.unseen))
    assert accuracy(shares, rivals.prior_correction(shares)) > frozen
    assert accuracy(shares, rivals.oracle(shares)) > frozen
    frozen = accuracy(moved, rivals.served(moved.model, moved.unseen))
    best = accuracy(moved, rivals.oracle(moved))
    assert best > accuracy(moved, rivals.coral(moved)) > frozen
    assert best > accuracy(moved, rivals.article(moved)) > frozen
    trained = Trial(**{**vars(moved), "oracle": moved.unseen.assign(y=moved.unseen_truth)})
    assert accuracy(trained, rivals.oracle(trained)) > frozen
    for trial in (shares, moved):
        trial.model.check_unchanged()
