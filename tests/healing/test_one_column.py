"""A rating that rose, or rows that are drawn by it, are no other class shares, though the score moves as if."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal import MonitoredModel
from tests.healing.worlds import trained

N = 1000


def orders(n: int, seed: int, liked: float = 0.0, others: float = 0.3) -> pd.DataFrame:
    """Orders by their rating; ``liked`` more of it a row. ``others`` is what the price tells of a return, beside it."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    rating = np.clip(np.round(6 + 1.12 * (quality + rng.normal(size=n)) + liked), 1, 10).astype(int)
    price, age = np.exp(3 + 0.5 * rng.normal(size=n) + 0.2 * quality).round(2), rng.gamma(4, 10, n).round(1)
    returned = 1.4 * (rating - 6) - others * 8 * (np.log(price) - 3)
    y = (rng.random(n) < 1 / (1 + np.exp(-returned))).astype(int)
    return pd.DataFrame({"rating": rating, "price": price, "age": age, "y": y})


def drawn(n: int, seed: int, by: str, others: float = 0.3, factor: float = 2.0) -> pd.DataFrame:
    """Rows of which some come ``factor`` times as often: returned ones, or ever more the higher a column is."""
    rows = orders(8 * n, seed, others=others)
    z = (rows[by] - rows[by].mean()) / rows[by].std()
    weights = factor ** (rows["y"] if by == "y" else z.clip(-2.5, 2.5))
    return rows.sample(n, weights=weights, random_state=seed).reset_index(drop=True)


@cache
def model(others: float = 0.3) -> MonitoredModel:
    return trained(orders(4000, 1, others=others), orders(3000, 2, others=others), "y", 0, epochs=12, width=16)


def healed(window: pd.DataFrame, seed: int, others: float = 0.3) -> selfheal.HealOutcome:
    recent = [orders(N, 100 * seed + k, others=others).drop(columns="y") for k in range(1, 7)]
    return selfheal.heal(model(others), window.drop(columns="y"), recent=recent)


@pytest.mark.parametrize(
    ("seed", "liked", "factor"), [(30, 0.5, 1.0), (35, -0.5, 1.0), (40, 0.0, 1.35), (32, 0.0, 1 / 1.4)]
)
def test_what_happened_to_one_column_is_no_shift_of_shares(seed: int, liked: float, factor: float) -> None:
    """The rating rose or fell, or rows are drawn by it: of twelve seeds 15 of 48 such went out as one."""
    outcome = healed(orders(N, seed, liked) if liked else drawn(N, seed, "rating", factor=factor), seed)
    assert outcome.decision == "audit" and "did rating alone change?" in outcome.reasons[0], outcome.reasons


@pytest.mark.parametrize("seed", [30, 31])
def test_shares_that_other_columns_tell_too_go_out(seed: int) -> None:
    outcome = healed(drawn(N, seed, "y", others=0.5, factor=3.0), seed, others=0.5)
    assert (outcome.decision, outcome.diagnosis) == ("promote", "prior"), outcome.reasons
