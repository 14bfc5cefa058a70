"""How finely a value is written is a habit of the recorder: it moves no distance and proves no conversion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfheal.drift.stats import Support, ks


@given(st.integers(0, 10_000), st.sampled_from([0.05, 0.2, 0.5]), st.sampled_from([0.0, 0.4]))
def test_a_coarser_recorder_is_no_distance(seed: int, step: float, shift: float) -> None:
    rng = np.random.default_rng(seed)
    pool, fine = rng.normal(size=3000), rng.normal(shift, size=1500)
    coarse = np.round(fine / step) * step
    assert abs(ks(coarse, pool) - ks(fine, pool)) < 0.03
    assert abs(ks(pool, coarse) - ks(coarse, pool)) < 0.03


def test_a_step_that_moves_all_is_a_distance() -> None:
    pool = np.random.default_rng(0).normal(size=3000)
    assert ks(np.zeros(500), pool) == pytest.approx(0.5, abs=0.03)
    assert ks(np.full(500, 9.0), pool) == 1.0
    assert ks(np.floor(pool), pool) > 0.15  # cut down, and not rounded: half a step lower


def test_ties_at_nothing_stay_ties() -> None:
    rng = np.random.default_rng(0)
    rain, more = (np.where(rng.random(n) < 0.6, 0.0, rng.exponential(1.0, n)) for n in (3000, 1500))
    assert ks(more.round(1), rain) < 0.05


def test_finer_counts_are_known_and_codes_are_not() -> None:
    rng = np.random.default_rng(0)
    ages, flags = rng.integers(20, 50, 5000).astype(float), rng.integers(0, 2, 5000).astype(float)
    support = Support.of(np.column_stack([ages, flags]))
    assert support.outside_column(ages + rng.uniform(-0.4, 0.4, 5000), 0) == 0.0
    assert support.outside_column(np.full(10, 0.5), 1) == 1.0
