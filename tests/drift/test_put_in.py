"""A value put in for others stands here and there; what lasts, comes every week or went through a unit is none."""

from __future__ import annotations

import numpy as np
import pytest

from selfheal.drift.put_in import put_in


def weeks(n: int, seed: int = 0) -> list[np.ndarray]:
    """Weeks of a season: each lies somewhere else, in tenths."""
    rng = np.random.default_rng(seed)
    return [(rng.normal(10, 8) + rng.normal(0, 3, 600)).round(1) for _ in range(n)]


@pytest.mark.parametrize("share", [0.2, 0.4, 0.7])
def test_a_mean_put_in_is_found_within_what_a_season_holds(share: float) -> None:
    *healthy, now = weeks(7)
    assert put_in(now, healthy) is None
    lost = np.random.default_rng(1).random(len(now)) < share
    found = put_in(np.where(lost, 9.9, now), healthy)
    assert found is not None
    assert found == (9.9, pytest.approx(share, abs=0.05))


def test_a_reading_that_lasts_is_none() -> None:
    *healthy, now = weeks(7)
    now[200:380] = 9.9
    assert put_in(now, healthy) is None


def test_zeros_of_every_week_are_none_in_another_unit_either() -> None:
    rng = np.random.default_rng(2)
    healthy = [np.where(rng.random(600) < 0.4, 5.0, week) for week in weeks(6)]
    now = np.where(rng.random(600) < 0.45, 5.0, weeks(1, seed=3)[0])
    assert put_in(now, healthy) is None
    assert put_in(now * 100, healthy) is None


@pytest.mark.parametrize("levels", [2, 5])
def test_a_level_of_few_is_none(levels: int) -> None:
    rng = np.random.default_rng(4)
    healthy = [rng.integers(0, levels, 600).astype(float) for _ in range(4)]
    now = rng.choice(levels, 600, p=[0.45, *[0.55 / (levels - 1)] * (levels - 1)]).astype(float)
    assert put_in(now, healthy) is None
