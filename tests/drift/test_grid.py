"""Which grid a column was recorded on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfheal.drift.grid import Grid


@settings(max_examples=20, deadline=None)
@given(
    step=st.floats(1e-3, 50.0), offset=st.floats(-1e3, 1e3), spread=st.floats(6.0, 300.0), seed=st.integers(0, 10**6)
)
def test_any_step_and_origin_are_found(step: float, offset: float, spread: float, seed: int) -> None:
    marks = np.round(np.random.default_rng(seed).normal(0, spread, 3000))
    values = (offset + marks) * step
    grid = Grid.of(values)
    assert grid.holds(values)
    # A multiple of the step would leave values off it; a part of it would be a weaker statement.
    assert grid.step == pytest.approx(step, rel=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_a_continuous_column_has_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for values in (rng.normal(size=3000), rng.gamma(2.0, size=3000), rng.uniform(900, 1100, 400)):
        assert Grid.of(values).step == 0.0


def test_a_unit_leaves_the_grid_and_comes_back() -> None:
    knots = np.round(np.random.default_rng(0).gamma(4, 2, 2000))
    miles = (knots * 1.15078).astype(np.float32).astype(float)
    grid = Grid.of(miles)
    assert grid.off(miles * 0.44704) > 0.9
    assert grid.off(miles * 0.44704 / 0.44704) == 0.0
    assert grid.off(miles * 0.44704 * 3.6) > 0.8


def test_a_few_wild_rows_hide_no_grid() -> None:
    values = np.round(np.random.default_rng(1).normal(1013, 8, 4000), 1)
    values[:10] = 5503.1234
    assert Grid.of(values).step == pytest.approx(0.1)


@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0], [np.pi, 1.0]])
def test_too_few_values_have_none(values: list[float]) -> None:
    assert Grid.of(np.array(values)).step == 0.0
