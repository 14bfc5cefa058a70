"""An accuracy by few labels: unbiased however the rows are drawn, and honest however often one looks."""

from __future__ import annotations

import numpy as np
import pytest

from selfheal.healing.labels.accuracy import EVEN, accuracy, chances, draw


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
def test_it_is_honest_at_every_look_and_right_on_average(off: float) -> None:
    """25 audits of 120 labels, looked at six times: the truth is always inside in all but a few."""
    told, missed = [], 0
    for seed in range(25):
        proba, wrong = world(seed, off)
        rows = draw(proba, 120, seed)
        looks = [accuracy(proba, rows[:n], wrong[rows[:n]]) for n in (10, 20, 40, 60, 90, 120)]
        truth = 1 - wrong.mean()
        missed += not all(look.low <= truth <= look.high for look in looks)
        told.append(looks[-1].value - truth)
    assert missed <= 3, missed
    assert abs(np.mean(told)) <= 3 * np.std(told) / np.sqrt(25)


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
