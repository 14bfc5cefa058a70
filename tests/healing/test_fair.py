"""Who decided which rows are seen? A cut at the decision, a retry, labels that come sooner for one class."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from selfheal.healing.evidence import Evidence
from selfheal.healing.fits.fair import cut_at_decision
from selfheal.healing.hygiene import clean
from selfheal.healing.labels.fair import compared, selected
from selfheal.healing.labels.shares import ALONE, MORE, beyond_shares, lopsided, no_more
from tests.healing.worlds import linear


def scores(n: int, seed: int, prior: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors [n, 2] under a prior of .2 of rows whose classes come in the share ``prior``; and the classes."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < prior
    p = 1 / (1 + np.exp(-(2 * rng.normal(2 * y - 1.0, 1.0) + np.log(0.25))))
    return np.column_stack([1 - p, p]), y


@pytest.mark.parametrize("seed", range(3))
def test_a_cut_at_the_decision_is_told_from_other_shares(seed: int) -> None:
    pool, _ = scores(12_000, 99)
    usual = pool.argmax(axis=1)
    shifted, _ = scores(2000, seed, prior=0.4)
    assert cut_at_decision(shifted, pool, shifted.argmax(axis=1), usual) == ""
    whole, _ = scores(3000, seed)
    kept = whole[(whole.argmax(axis=1) == 0) | (np.random.default_rng(seed).random(3000) < 0.1)]
    assert "are all rows logged" in cut_at_decision(kept, pool, kept.argmax(axis=1), usual)


@pytest.mark.parametrize("times", [2, 5, 20])
def test_rows_that_are_sent_again_count_once(times: int) -> None:
    world = linear(0)
    rows = world.draw(1500, 5).drop(columns="y")
    again = pd.concat([rows, *[rows.head(60)] * times], ignore_index=True)
    kept = clean(world.model, again)
    assert len(kept.rows) == pytest.approx(1500, abs=15)
    assert kept.dropped == 0.0
    assert len(clean(world.model, rows).rows) == len(rows)


def test_near_copies_count_once_too() -> None:
    world = linear(0)
    rows = world.draw(1500, 5).drop(columns="y")
    noise = 1e-5 * rows.std().to_numpy() * np.random.default_rng(0).normal(size=(60, rows.shape[1]))
    again = pd.concat([rows, *[rows.head(60) + k * noise for k in range(1, 6)]], ignore_index=True)
    assert len(clean(world.model, again).rows) <= 1530


def test_labels_that_come_sooner_for_one_class_are_seen() -> None:
    world = linear(0)
    rows = world.draw(1500, 5)
    y, u = rows.pop("y").astype(float), np.random.default_rng(0).random(1500)
    fair, unfair = y.where(u < 0.3), y.where(u < np.where(y == 1, 0.05, 0.4))
    assert selected(world.model, [(rows, fair)]) == ""
    assert "no fair draw" in selected(world.model, [(rows, unfair)])
    assert selected(world.model, [(rows, y)]) == ""  # all of them are


def test_labels_that_hang_on_a_truth_that_the_score_knows_nothing_of_are_seen_by_the_columns() -> None:
    """The concept turned on one side of a column's middle; labels that come early are a fair draw of their time."""
    world = linear(0)
    rows = world.draw(1500, 5)
    y, u = rows.pop("y").astype(float), np.random.default_rng(0).random(1500)
    side = rows[world.model.features[0]]
    truth = y.where(side > side.median(), 1 - y)
    for fair in (u < 0.3, (np.arange(1500) < 700) & (u < 0.5)):
        assert selected(world.model, [(rows, truth.where(fair))]) == ""
    unfair = truth.where(u < np.where(truth == 1, 0.05, 0.4))
    assert "columns tell rows with a label" in selected(world.model, [(rows, unfair)])
    assert compared(world.model, [(rows, unfair)]) and not compared(world.model, [(rows, truth)])


def test_what_labels_teach_must_be_more_than_class_shares() -> None:
    """Less more is enough where rows without a label have spoken for them; labels of one class never are."""
    model, rng = linear(0).model, np.random.default_rng(0)
    truth = np.eye(2)[(rng.random(400) < 0.8).astype(int)]
    served = np.tile([0.6, 0.4], (400, 1))
    shares, knows = np.tile([0.2, 0.8], (400, 1)), 0.7 * truth + 0.3 * truth.mean(axis=0)

    def patch(known: float) -> Evidence:
        return Evidence(truth, served, (1 - known) * shares + known * knows)

    assert "other shares" in no_more(model, patch(0.0), True)
    assert no_more(model, patch(0.1), False) == ""
    little = next(k for k in np.linspace(0, 0.1, 101) if beyond_shares(model, patch(float(k)))[1] > (MORE + ALONE) / 2)
    assert no_more(model, patch(little), True) == "" != no_more(model, patch(little), False)
    lot = model.with_policy({"declare": {"labels_by_lot": True}})
    assert no_more(lot, patch(0.0), False) == "", "of rows that were drawn by lot other shares are the truth"
    ones = np.tile([0.0, 1.0], (400, 1))
    assert "all 400 labels are of class 1" in no_more(lot, Evidence(ones, served, ones), True)
    assert "all 400 labels are of class 1" in no_more(model, Evidence(ones, served, ones), True)


def test_labels_of_mostly_one_class_need_more_than_its_share() -> None:
    """Nine in ten are of one class: a candidate that calls nearly all rows so is right, and has proven nothing."""
    model, n = linear(0).model, 200
    truth = np.arange(n) % 10 == 0
    onehot = np.eye(2)[truth.astype(int)]
    served = np.full((n, 2), 0.5) + np.where(np.arange(n)[:, None] % 2, 0.1, -0.1) * [1, -1]
    little, more = (np.where((np.arange(n) < n * part)[:, None], 0.9 * onehot + 0.05, [0.9, 0.1]) for part in (0.2, 1))
    assert "of 200 labels are of class 0" in lopsided(model, Evidence(onehot, served, little))
    assert lopsided(model, Evidence(onehot, served, more)) == "", "twenty rows that shares alone got wrong"
    even = np.eye(2)[np.arange(n) % 2]
    assert lopsided(model, Evidence(even, served, even)) == ""
    lot = model.with_policy({"declare": {"labels_by_lot": True}})
    assert lopsided(lot, Evidence(onehot, served, little)) == "", "drawn by lot: such are the shares"
