"""What a recorder's marks say where distributions cannot: which of conversions that lie side by side it was."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal import MonitoredModel
from selfheal.healing.outcome import Outcome
from tests.healing.worlds import trained

COLUMNS = ["year", "hits", "age", "rain"]


@cache
def seasons() -> pd.DataFrame:
    """Players, a season after the other: counts, whole years, and rain on one day in twelve."""
    rng = np.random.default_rng(5)
    n = 16_000
    hits, age = rng.gamma(2.0, 30.0, n).round(), rng.normal(38, 11, n).round().clip(16, 75)
    rain = np.where(rng.random(n) < 1 / 12, rng.exponential(4.0, n).round(1), 0.0)
    z = (hits - 60) / 40 - (age - 38) / 15 - rain / 10
    year = 1990 + np.arange(n) // 1000
    return pd.DataFrame({
        "year": year, "hits": hits, "age": age, "rain": rain,
        "y": (rng.random(n) < 1 / (1 + np.exp(-2 * z))).astype(int),
    })  # fmt: skip


@cache
def model() -> MonitoredModel:
    return trained(seasons()[:6000], seasons()[6000:9000], "y", seed=0, epochs=4)


def asked(**changed: pd.Series) -> Outcome:
    rows = seasons()[COLUMNS]
    return selfheal.heal(model(), rows[15_000:].assign(**changed), recent=rows[9000:15_000], seed=0)


@pytest.mark.parametrize(
    ("column", "more", "factor", "digits", "says"),
    [
        ("hits", 1.04, 1 / 25.4, 4, "inches → millimetres"),  # days → hours fits better now
        ("hits", 0.96, 25.4, 1, "millimetres → inches"),
        ("age", 1.024, 1000.0, 0, "÷1000"),  # bytes → KiB
        ("age", 0.955, 60.0, 0, "seconds → minutes"),  # degrees → radians
    ],
)
def test_the_conversion_is_the_one_that_brings_the_marks_back(
    column: str, more: float, factor: float, digits: int, says: str
) -> None:
    """Where the column drifted a little too, so that another one fits better, and the date moved on, as dates do."""
    now = (seasons()[column][15_000:] * more).round()
    outcome = asked(**{column: (now * factor).round(digits)})
    assert outcome.decision == "promote", outcome.reasons
    assert outcome.adapter is not None
    assert outcome.adapter.input_map.describe() == [f"{column}: {says}"]


def test_what_any_factor_would_fit_is_not_taken_along() -> None:
    """A wet week: half of all that is listed would dry it up."""
    rng = np.random.default_rng(6)
    rain = np.where(rng.random(1000) < 1 / 12, rng.exponential(120.0, 1000).round(1), 0.0)
    outcome = asked(age=seasons().age[15_000:] * 1000.0, rain=pd.Series(rain, range(15_000, 16_000)))
    assert outcome.decision == "promote", outcome.reasons
    assert outcome.adapter is not None
    assert outcome.adapter.input_map.describe() == ["age: ÷1000"]


def test_decimals_of_smaller_values_prove_no_power_of_ten() -> None:
    """Rain in inches with two decimals, which in millimetres had one."""
    rows = seasons().assign(rain=lambda f: (f["rain"] + 1) * (f["rain"] > 0))
    x = rows[COLUMNS]
    made = trained(rows[:6000], rows[6000:9000], "y", seed=0, epochs=4)
    sent = x[15_000:].assign(rain=lambda f: (f["rain"] / 25.4).round(2))
    outcome = selfheal.heal(made, sent, recent=x[9000:15_000], seed=0)
    assert outcome.adapter is None or outcome.adapter.input_map.describe() != ["rain: ×10"], outcome.reasons


@pytest.mark.parametrize(("factor", "digits"), [(2.236936, 0), (1 / 25.4, 2), (0.6213712, 2)])
def test_amounts_in_round_numbers_come_back_through_a_writers_rounding(factor: float, digits: int) -> None:
    """Incomes stated in thousands are levels like codes; what is undone of a rounded one misses its level by a hair."""
    rng = np.random.default_rng(10)
    n = 12_000
    income = rng.choice([15, 20, 30, 40, 60, 80, 120, 200], n, p=[0.1, 0.1, 0.2, 0.2, 0.15, 0.1, 0.1, 0.05]) * 1000.0
    rows = pd.DataFrame({"income": income, "age": rng.normal(45, 12, n).round()})
    z = np.log(rows.income / 40_000) * 2 + (rows.age - 45) / 12
    rows["y"] = (rng.random(n) < 1 / (1 + np.exp(-2 * z))).astype(int)
    made = trained(rows[:4000], rows[4000:6000], "y", seed=0, epochs=4)
    x = rows.drop(columns="y")
    sent = x[11_000:].assign(income=(x.income[11_000:] * factor).round(digits))
    outcome = selfheal.heal(made, sent, recent=x[6000:11_000], seed=0)
    assert outcome.decision == "promote", outcome.reasons
    assert outcome.adapter is not None
    assert outcome.adapter.input_map.columns["income"].scale == pytest.approx(1 / factor, rel=1e-4)


@pytest.mark.parametrize(
    ("column", "factor", "decision"),
    [("kelvin", 0.6213712, "promote"), ("pulse", 1.852, "audit"), ("volts", 100.0, "promote")],
)
def test_far_from_zero_the_place_tells_a_factor(column: str, factor: float, decision: str) -> None:
    """Not where a population may live as far away: the pulse of infants."""
    rng = np.random.default_rng(9)
    n = 12_000
    rows = pd.DataFrame({
        "kelvin": rng.normal(285, 9, n), "pulse": rng.normal(75, 12, n), "volts": rng.normal(241, 2.5, n),
    })  # fmt: skip
    z = (rows.kelvin - 285) / 9 + (rows.pulse - 75) / 12 + (rows.volts - 241) / 2.5
    rows["y"] = (rng.random(n) < 1 / (1 + np.exp(-2 * z))).astype(int)
    made = trained(rows[:4000], rows[4000:6000], "y", seed=0, epochs=4)
    x = rows.drop(columns="y")
    sent = x[11_000:].assign(**{column: x[column][11_000:] * factor})
    outcome = selfheal.heal(made, sent, recent=x[6000:11_000], seed=0)
    assert outcome.decision == decision, outcome.reasons
