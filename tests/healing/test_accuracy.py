"""An accuracy by few labels: unbiased however the rows are drawn, and honest however often one looks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfheal.healing.labels.accuracy import EVEN, accuracy, chances, draw, weighed, weights_of
from selfheal.healing.sequential import STAKES


def world(seed: int, off: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities [4000, 2] of a model that is sure of most rows, and where it errs; ``off``: more often."""
    rng = np.random.default_rng(seed)
    p = 1 / (1 + np.exp(-rng.normal(3.5, 2.0, 4000)))
    sure = np.maximum(p, 1 - p)
    return np.column_stack([p, 1 - p]), rng.random(4000) < np.minimum(1 - sure + off, 1.0)


def test_every_row_has_a_chance_and_no_error_weighs_much() -> None:
    proba, _ = world(0)
    q = chances(proba)
    assert q.sum() == pytest.approx(1) and q.min() >= EVEN / len(q)
    assert np.corrcoef(q, proba.min(axis=1))[0, 1] > 0.9


@pytest.mark.parametrize("off", [0.0, 0.15])
def test_it_is_right_on_average(off: float) -> None:
    """25 audits of 120 labels."""
    told = []
    for seed in range(25):
        proba, wrong = world(seed, off)
        rows = draw(proba, 120, seed)
        told.append(accuracy(proba, rows, wrong[rows]).value - (1 - wrong.mean()))
    assert abs(np.mean(told)) <= 3 * np.std(told) / np.sqrt(25)


def missed(audits: int, labels: int, off: float, first: int = 0) -> float:
    """Share of audits whose interval leaves the truth out at any of their labels: where bets against it win 20."""
    lost = 0
    for seed in range(first, first + audits):
        proba, wrong = world(seed, off)
        weights, rows = weights_of(proba), draw(proba, labels, seed)
        loss, mean = (wrong * weights)[rows] / weights.max(), wrong.mean() / weights.max()
        more, less = (
            np.exp(np.log1p(np.multiply.outer(STAKES, bet)).cumsum(axis=1)).mean(axis=0)
            for bet in ((loss - mean) / mean, -(loss - mean) / (1 - mean))
        )
        lost += bool(((more + less) / 2 >= 20).any())
        if seed == first:  # as the function has it
            at = accuracy(proba, rows, wrong[rows])
            assert (at.low - 1e-3 <= 1 - wrong.mean() <= at.high + 1e-3) == ((more + less)[-1] / 2 < 20)
    return lost / audits


@pytest.mark.parametrize("off", [0.0, 0.15])
def test_the_truth_is_inside_after_every_label(off: float) -> None:
    """300 audits, looked at after each of 200 labels, of a model that knows how often it errs, and of one too sure."""
    assert missed(300, 200, off) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)


@pytest.mark.prove
@pytest.mark.parametrize("off", [0.0, 0.15])
def test_the_truth_is_inside_in_two_thousand_audits(off: float, capsys: pytest.CaptureFixture[str]) -> None:
    found = missed(2000, 1000, off, 10_000)
    with capsys.disabled():
        print(f"\n{off:.0%} more errors than the model knows of: the truth left in {found:.2%} of 2,000 audits")
    assert found <= 0.05


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.floats(0.2, 1.25)), min_size=1, max_size=30), st.randoms())
def test_whatever_the_open_answers_are_the_interval_holds_them(draws, random) -> None:
    wrong, unknown, weights = (np.array(each) for each in zip(*draws, strict=True))
    told = weighed(weights, 1.25, wrong, unknown)
    filled = np.where(unknown, [random.random() < 0.5 for _ in draws], wrong)
    whole = weighed(weights, 1.25, filled)
    assert told.low <= whole.low and whole.high <= told.high and told.labels == (~unknown).sum()


def test_its_interval_is_narrower_than_that_of_an_even_draw() -> None:
    """At 100 labels, on worlds that nothing was tuned on, by a tenth on average."""
    widths: dict[str, list[float]] = {"doubt": [], "even": []}
    for seed in range(100, 112):
        proba, wrong = world(seed)
        for name, drawn_by in (("doubt", proba), ("even", np.full_like(proba, 0.5))):
            rows = draw(drawn_by, 100, seed)
            found = accuracy(drawn_by, rows, wrong[rows])
            widths[name].append(found.high - found.low)
    assert np.mean(widths["doubt"]) <= 0.93 * np.mean(widths["even"])


def test_without_labels_everything_is_possible() -> None:
    told = accuracy(world(0)[0], np.array([], dtype=np.int64), np.array([], dtype=bool))
    assert (told.low, told.high, told.labels) == (0.0, 1.0, 0)
