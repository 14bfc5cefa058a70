"""Conversions that are proven by the grid a column is recorded on, and columns that hold another one's values."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal import MonitoredModel
from tests.healing.worlds import now, trained


def days(n: int, seed: int, rows: int = 500) -> pd.DataFrame:
    """Days of weather that are unlike each other: whole knots in mph, tenths of °C in °F, tenths of hPa, and a load."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        wind = np.round(rng.gamma(rng.uniform(3, 9), 2.0, rows)) * 1.15078
        temp = np.round(rng.normal(rng.uniform(2, 22), 3.0, rows), 1) * 1.8 + 32
        pressure = np.round(rng.normal(rng.uniform(1000, 1026), 2.0, rows), 1)
        load = rng.normal(size=rows) + 0.02 * temp
        y = (0.15 * wind + 0.08 * temp - 0.1 * (pressure - 1013) + load + rng.normal(0, 1, rows) > 6.5).astype(int)
        found.append(pd.DataFrame({"wind": wind, "temp": temp, "pressure": pressure, "load": load, "y": y}))
    return pd.concat(found, ignore_index=True)


@cache
def world() -> MonitoredModel:
    model = trained(days(16, 1), days(10, 2), "y", 0)
    return model.with_policy({"heal": {"max_changed": 1.0}})


def healed(window: pd.DataFrame, seed: int) -> selfheal.Outcome:
    return selfheal.heal(world(), window, recent=days(6, 50 + seed).drop(columns="y"))


def one(seed: int) -> pd.DataFrame:
    return days(1, 100 + seed).drop(columns="y")


@pytest.mark.parametrize("seed", now(0, more=(1, 2)))
@pytest.mark.parametrize(
    ("column", "scale", "offset"), [("wind", 0.44704, 0.0), ("temp", 1 / 1.8, -32 / 1.8), ("pressure", 1 / 33.86389, 0)]
)
def test_a_unit_is_proven_by_the_grid_on_a_day_unlike_the_others(
    column: str, scale: float, offset: float, seed: int
) -> None:
    window = one(seed)
    outcome = healed(window.assign(**{column: window[column] * scale + offset}), seed)
    assert outcome.decision == "promote" and outcome.adapter is not None, outcome.reasons
    assert list(outcome.adapter.input_map.columns) == [column]
    back = outcome.adapter.input_map.apply(window.assign(**{column: window[column] * scale + offset}))
    np.testing.assert_allclose(back[column], window[column], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("seed", now(0, 1, 2, more=range(3, 8)))
def test_an_unusual_day_is_no_conversion(seed: int) -> None:
    assert healed(one(seed), seed).decision != "promote"


@pytest.mark.parametrize("seed", now(0, more=(1, 2)))
def test_an_odd_factor_is_no_known_conversion(seed: int) -> None:
    window = one(seed)
    outcome = healed(window.assign(wind=window["wind"] * 0.7321), seed)
    assert outcome.decision != "promote", outcome.reasons


def test_half_a_window_in_another_unit_is_not_converted_whole() -> None:
    window = one(0)
    late = np.arange(len(window)) >= len(window) // 2
    outcome = healed(window.assign(wind=window["wind"].where(~late, window["wind"] * 0.44704)), 0)
    assert outcome.adapter is None or "since row" in outcome.reasons[0]


@pytest.mark.parametrize(
    ("breaks", "says"),
    [
        (lambda f: f.assign(load=f["pressure"]), "hold the same values"),
        (lambda f: f.assign(wind=f["temp"], temp=f["wind"]), "holds the values of"),
        (lambda f: f.assign(load=f["load"].where(np.arange(len(f)) % 3 > 0, -999.0)), "-999 in 33%"),
    ],
)
def test_columns_that_hold_what_is_not_theirs_are_named(breaks: object, says: str) -> None:
    outcome = healed(breaks(one(1)), 1)  # type: ignore[operator]
    assert (outcome.decision, outcome.diagnosis) == ("refuse", "data_fault"), outcome.reasons
    assert says in outcome.reasons[0]
