"""Ratings from one to five: counted from another number they hold one that there was not, better liked they do not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal import MonitoredModel
from tests.healing.worlds import trained


def sold(n: int, seed: int, liked: float = 0.0) -> pd.DataFrame:
    """Goods; ``liked`` more stars a row, five at most."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=n)
    stars = np.clip(np.round(3 + 0.63 * (quality + rng.normal(size=n)) + liked), 1, 5).astype(int)
    price, age = np.exp(3 + 0.5 * rng.normal(size=n) + 0.2 * quality).round(2), rng.gamma(4, 10, n).round(1)
    returned = 1.5 * (stars - 3) / 0.9 - 0.8 * (np.log(price) - 3) - 0.5
    y = (rng.random(n) < 1 / (1 + np.exp(-1.5 * returned))).astype(int)
    return pd.DataFrame({"stars": stars, "price": price, "age": age, "y": y})


@cache
def model() -> MonitoredModel:
    return trained(sold(3000, 1), sold(2000, 2), "y", 0, epochs=12, width=16)


@pytest.mark.parametrize("seed", [20, 21])
def test_a_better_liked_range_is_asked_about_and_a_scale_from_another_number_healed(seed: int) -> None:
    """Both are one star more to the eye; undone, the first cost 22 to 25 points."""
    recent = [sold(1000, 100 + k).drop(columns="y") for k in range(6)]
    counted, liked = (sold(1000, seed, more).drop(columns="y") for more in (0.0, 1.0))
    counted["stars"] += 1
    outcome = selfheal.heal(model(), counted, recent=recent)
    assert (outcome.decision, outcome.reasons[0]) == ("promote", "measurement: stars: code -1"), outcome.reasons
    outcome = selfheal.heal(model(), liked, recent=recent)
    assert outcome.decision in ("audit", "refuse"), outcome.reasons
    assert any("its codes are those it had" in why for why in outcome.reasons)
