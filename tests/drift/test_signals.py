"""The expected class shares: silent while nothing moves, loud when a slow walk has added up, silent once cleared."""

from __future__ import annotations

import pandas as pd

from selfheal.drift.signals import share_ratio
from selfheal.drift.yardstick import Yardstick
from tests.healing.worlds import linear


def drawn(prior: float, seed: int) -> pd.DataFrame:
    return linear(3).draw(500, seed, prior).drop(columns="y")


def ratio(healthy: list[pd.DataFrame], window: pd.DataFrame) -> float:
    return share_ratio(Yardstick(linear(3).model, healthy, len(window)), window)


def test_a_walk_that_every_step_hides_is_seen_in_the_end() -> None:
    calm = [drawn(0.15, i) for i in range(6)]
    assert all(ratio(calm, drawn(0.15, 100 + i)) < 1 for i in range(20))
    walk = [drawn(0.15 - 0.01 * i, 200 + i) for i in range(6)]
    assert ratio(walk, drawn(0.05, 300)) > 1, "its steps so far are the healthy windows"


def test_a_level_that_was_cleared_is_known() -> None:
    calm, risen = [drawn(0.15, i) for i in range(5)], [drawn(0.40, 400 + i) for i in range(2)]
    assert ratio([*calm, drawn(0.15, 5)], risen[0]) > 1
    assert ratio([*calm, risen[0]], risen[1]) < 1
