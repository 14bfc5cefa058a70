"""What labels decide, without a store: which rows are asked about, what answers rule, what goes out and comes back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from selfheal.healing.labels.asked import ROWS, Asked, telling
from selfheal.healing.labels.trials import LEAST, let_out, taken_back
from selfheal.healing.sequential import audit as wald
from selfheal.policy import Policy
from tests.steering.given import HEALS, in_celsius, rows, toy

COSTLY = Policy.load({"model": "toy", "target": "y", "cost": {"false_positive": 1, "false_negative": 5}})
BOUNDED = Policy.load({"model": "toy", "target": "y", "heal": {"max_changed": 0.05}})


def asked(*truth: int, of: int = 10) -> Asked:
    """Rows on which the candidate says 1 and what serves 0, the first of them answered."""
    return Asked((0, 1), pd.DataFrame({"x": range(of)}), ((1, 0),) * of, dict(enumerate(truth)))


@pytest.mark.parametrize(
    ("answers", "of", "ruling", "words"),
    [
        ((1, 1, 0), 10, "open", "7 rows are left"),
        ((1, 1, 0, 1, 1, 1), 10, "passed", "of 6 rows"),
        ((0, 0, 0, 0), 10, "refused", "what serves on 4"),
        ((1, 0, 1, 0, 1), 5, "refused", "not shown to be better with all 5 rows"),
    ],
)
def test_answers_rule_as_soon_as_they_decide(answers: tuple[int, ...], of: int, ruling: str, words: str) -> None:
    found = asked(*answers, of=of)
    assert len(found.open_rows) == of - len(answers)
    says, why = found.ruling()
    assert says == ruling
    assert words in why


def test_answers_count_in_the_order_of_the_rows_whoever_gave_them_first() -> None:
    found = asked(1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
    assert replace(found, answers=dict(reversed(list(found.answers.items())))).wald == found.wald
    assert found.wald.answered == 4


def test_who_is_right_more_often_must_also_cost_less_where_costs_are_declared() -> None:
    """The candidate spares five false alarms and misses one: right more often, and no cheaper at 1 : 5."""
    spared = Asked((0, 1), pd.DataFrame({"x": range(6)}), ((0, 1),) * 6, dict(enumerate((1, 0, 0, 0, 0, 0))))
    assert spared.ruling()[0] == "passed"
    says, why = spared.ruling(COSTLY)
    assert says == "refused"
    assert "expected cost" in why
    assert asked(1, 1, 1, 1).ruling(COSTLY)[0] == "passed"


def windows(seed: int, n: int, *, moved: bool) -> list[tuple[pd.DataFrame, pd.Series]]:
    frame = rows(n, seed)
    frame = in_celsius(frame, "temperature", "dew") if moved else frame
    return [(frame.drop(columns="y"), frame["y"])]


def test_what_waits_goes_out_and_what_serves_comes_back_by_labels() -> None:
    """In °C the map from °C is right, in °F it is wrong; few labels say nothing."""
    model = toy()
    mapped = model.with_adapter(HEALS[0])
    right, wrong = windows(3, 200, moved=True), windows(3, 200, moved=False)
    assert let_out(model, mapped, right, lambda: right[0][0])[0] == "better" == taken_back(model, mapped, right)[0]
    assert let_out(model, mapped, wrong, lambda: wrong[0][0])[0] == "worse" == taken_back(model, mapped, wrong)[0]
    few = windows(3, LEAST - 1, moved=False)
    assert taken_back(model, mapped, few) == ("undecided", "")


def test_what_changes_too_much_waits_although_its_probabilities_are_better() -> None:
    """Labels of rows that both decide alike prove no better decisions; half of the other rows would be decided anew."""
    model = toy().with_policy(BOUNDED)
    mapped = model.with_adapter(HEALS[0])
    [(frame, labels)] = windows(3, 4000, moved=True)
    before, after = model.predict_proba(frame), mapped.predict_proba(frame)
    gain = (after - before)[np.arange(len(labels)), labels]
    surer = (before.argmax(axis=1) == after.argmax(axis=1)) & (gain > -0.01)  # of both classes
    known = [(frame[surer], labels[surer])]
    assert let_out(model, mapped, known, lambda: frame[surer])[0] == "better"
    says, why = let_out(model, mapped, known, lambda: frame)
    assert says == "undecided"
    assert "max_changed 5%" in why


def test_the_sample_is_read_for_what_labels_find_better_alone() -> None:
    def unread() -> pd.DataFrame:
        raise AssertionError("read")

    model = toy()
    assert let_out(model, model.with_adapter(HEALS[0]), windows(3, 200, moved=False), unread)[0] == "worse"


# ------------------------------------------------------------------ which rows are asked about


def posterior(x: np.ndarray) -> np.ndarray:
    """Of class 1 at x, where class 1 lies at (2, 1), class 0 at (0, 0), both with unit spread, 30 % of class 1."""
    odds = x @ np.array([2.0, 1.0]) - 2.5 + np.log(0.3 / 0.7)
    p = 1 / (1 + np.exp(-odds))
    return np.column_stack([1 - p, p])


@pytest.mark.parametrize("twin", ["sensor", "population"])
def test_twins_are_told_apart_by_at_most_twenty_labels(twin: str) -> None:
    """The same p(x), 300 seeds: a sensor that moved by 1.5, or a population that did while the concept stayed."""
    right, asked = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        clean = rng.normal(size=(1000, 2)) + np.outer(rng.random(1000) < 0.3, [2.0, 1.0])
        seen = clean + np.array([1.5, 0.0])
        incumbent, candidate = posterior(seen), posterior(clean)  # the candidate undoes the shift
        truth = (rng.random(1000) < (candidate if twin == "sensor" else incumbent)[:, 1]).astype(int)
        decided = candidate.argmax(axis=1), incumbent.argmax(axis=1)
        chosen = telling(candidate, incumbent, decided[0] != decided[1], seed)
        found = wald([int(truth[i] == decided[0][i]) - int(truth[i] == decided[1][i]) for i in chosen])
        right.append(found.says == ("better" if twin == "sensor" else "worse"))
        asked.append(found.answered)
    assert np.mean(right) >= 0.95
    assert max(asked) <= 20 and np.mean(asked) <= 11


def test_rows_that_tell_most_come_first() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.column_stack([1 - p, p]) for p in (rng.random(500), rng.random(500)))
    differ = a.argmax(axis=1) != b.argmax(axis=1)
    chosen = telling(a, b, differ, seed=1)
    assert len(chosen) == ROWS and differ[chosen].all()
    apart = np.abs(a - b)[:, 1]
    assert apart[chosen].min() >= np.sort(apart[differ])[-ROWS] - 0.1
    assert chosen.tolist() != telling(a, b, differ, seed=2).tolist()
    assert len(telling(a, b, np.zeros(500, dtype=bool), seed=1)) == 0
