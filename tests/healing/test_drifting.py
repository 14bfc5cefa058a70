"""Known conversions in streams that wander by themselves, and lines that a part of the rows can not buy."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

import selfheal
from selfheal import MonitoredModel
from selfheal.adapter import ColumnMap
from selfheal.board import streams
from selfheal.board.course import SHIPPED
from selfheal.healing.facts import about_units, next_question
from selfheal.healing.fits.columns import as_ever
from selfheal.healing.fits.label_shift import em_prior, in_runs
from selfheal.healing.fits.maps import PART
from selfheal.healing.outcome import Outcome
from tests.healing.worlds import now, trained, weather

COLUMNS = ["temp", "wind", "pressure", "humidity"]


@cache
def stream(seed: int) -> pd.DataFrame:
    """Weather that keeps its mood for hours: each window lies somewhere else, and decisions swing with it."""
    rng = np.random.default_rng(seed)
    walk = {c: lfilter([np.sqrt(1 - 0.995**2)], [1, -0.995], rng.normal(size=30_000)) for c in COLUMNS}
    f = pd.DataFrame({
        "temp": 15 + 8 * walk["temp"], "wind": np.exp(1.5 + 0.5 * walk["wind"]),
        "pressure": 1013 + 7 * walk["pressure"], "humidity": 60 + 12 * walk["humidity"],
    })  # fmt: skip
    z = (f.temp - 15) / 8 + (f.humidity - 60) / 12 - 0.5 * (f.wind - 5) / 3
    return f.assign(y=(rng.random(len(f)) < 1 / (1 + np.exp(-2 * z))).astype(int))


@cache
def model(seed: int) -> MonitoredModel:
    rows = stream(seed)
    return trained(rows[:8000], rows[8000:14_000], "y", seed=seed, epochs=4)


def asked(seed: int, column: str, scale: float, offset: float = 0.0, **more: object) -> Outcome:
    rows = stream(seed)[COLUMNS]
    window = rows[20_000:21_000]
    window = window.assign(**{column: (window[column] * scale + offset).round(4)})
    return selfheal.heal(model(seed), window, recent=rows[14_000:20_000], seed=seed, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("column", "factor"), [("humidity", 100.0), ("pressure", 1 / 33.86389)])
def test_a_far_unit_goes_out_though_decisions_swing_as_far_by_themselves(column: str, factor: float) -> None:
    for seed in (0, 2):
        outcome = asked(seed, column, factor)
        assert outcome.decision == "promote", outcome.reasons
        assert outcome.adapter is not None
        assert outcome.adapter.input_map.columns[column].scale == pytest.approx(1 / factor)


def test_a_far_factor_goes_out_where_the_window_lies_somewhat_elsewhere() -> None:
    """Its neighbours are ten times as far: 1.0 to 1.6 bounds from its usual place it is none of them."""
    rows = stream(1)[COLUMNS]
    window = rows[23_000:23_600].assign(humidity=lambda f: (f["humidity"] * 1000).round(4))
    outcome = selfheal.heal(model(1), window, recent=rows[17_000:23_000], seed=1)
    assert outcome.decision == "promote", outcome.reasons
    assert outcome.reasons[0].startswith("measurement beside drift: humidity: ÷1000")


def test_in_a_window_that_is_unlike_the_ones_before_known_units_are_asked_about_first() -> None:
    outcome = asked(2, "temp", 1.8, 32.0)
    assert (outcome.decision, outcome.asks) == ("audit", "fact")
    assert "→" in outcome.options[0]


def test_what_was_answered_is_not_asked_again() -> None:
    question = about_units({"x": ColumnMap(1.3, 0.1)}, {}, "then")
    assert next_question(question, (), [0, 1]).asks == "fact"
    assert next_question(question, question.answers["yes"], [0, 1]).asks == "labels"


def test_a_factor_is_the_ratio_of_two_recorders_steps() -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"carat": rng.gamma(3, 0.3, 9000).round(2) + 0.2, "depth": rng.normal(60, 2, 9000).round(1)})
    rows = rows.assign(y=(rng.random(9000) < 1 / (1 + np.exp(-6 * (rows.carat - 1)))).astype(int))
    stones = trained(rows[:3000], rows[3000:6000], "y", seed=0, epochs=6)
    sent = rows[8000:].drop(columns="y").assign(carat=lambda f: (f["carat"] * 200).round())
    outcome = selfheal.heal(stones, sent, recent=rows[6000:8000].drop(columns="y"))
    assert "0.005·x" in outcome.question


def pushed(share: float, step: float) -> Outcome:
    """A declared column of its own, pushed in a share of the rows."""
    rng = np.random.default_rng(5)
    rows = pd.DataFrame(rng.normal(size=(12_000, 4)), columns=list("abcd"))
    rows = rows.assign(y=(rng.random(12_000) < 1 / (1 + np.exp(-3 * (rows.a + rows.b)))).astype(int))
    made = trained(rows[:3000], rows[3000:6000], "y", seed=0, epochs=6)
    made = made.with_policy({"declare": {"measurement": ["a", "b"]}})
    window = rows[11_000:].drop(columns="y").reset_index(drop=True)
    hit = rng.random(len(window)) < share
    return selfheal.heal(made, window.assign(a=window["a"] + step * hit), recent=rows[6000:11_000].drop(columns="y"))


@pytest.mark.parametrize("step", now(1.5, 6.0, more=[3.0]))
def test_a_fifth_of_the_rows_bends_no_curve_of_a_declared_column(step: float) -> None:
    assert pushed(0.2, step).decision not in ("promote", "recall")


def test_an_instrument_that_moved_is_undone_as_declared() -> None:
    assert pushed(1.0, 1.5).decision == "promote"


@given(st.integers(0, 10_000), st.floats(0.0, 0.2), st.floats(-6, 6))
def test_rows_beside_others_may_be_as_ever_whatever_the_others_are(seed: int, share: float, step: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=1000)
    values[: int(share * 1000)] = step + rng.normal(size=int(share * 1000))
    # An estimate: one draw in 1,500 lies below PART - .05, none of 3,000 below PART - .06.
    assert as_ever(values, rng.normal(size=6000)) >= PART - 0.1


@pytest.mark.parametrize("step", now(0.5, -2.0, more=[1.0]))
def test_a_column_that_moved_as_a_whole_is_not_as_ever(step: float) -> None:
    rng = np.random.default_rng(0)
    assert as_ever(step + rng.normal(size=1000), rng.normal(size=6000)) < PART


@pytest.mark.parametrize(
    ("share", "column", "factor", "says"),
    [
        (0.4, "humidity", 100.0, "humidity: ÷100"),
        (0.7, "humidity", 100.0, "humidity: ÷100"),
        (0.4, "pressure", 0.6213712, "pressure: miles → kilometres"),  # absurd, and a thousand from zero no other
    ],
)
def test_a_fault_of_one_column_does_not_keep_another_in_the_wrong_unit(
    share: float, column: str, factor: float, says: str
) -> None:
    """It is named, and waits for its owner; the other waits for nobody."""
    rows = stream(0)[COLUMNS]
    window = rows[20_000:21_000].round(3)
    lost = np.random.default_rng(0).random(len(window)) < share
    piled, value = ("wind", -99.0) if column == "pressure" else ("pressure", 1013.25)
    faulty = window.assign(**{piled: window[piled].where(~lost, value)})
    both = faulty.assign(**{column: window[column] * factor})
    alone, outcome = (selfheal.heal(model(0), w, recent=rows[14_000:20_000].round(3), seed=0) for w in (faulty, both))
    assert (alone.decision, alone.diagnosis) == ("refuse", "data_fault"), alone.reasons
    assert outcome.decision == "promote", outcome.reasons
    assert outcome.adapter is not None
    assert outcome.adapter.input_map.describe() == [says]
    assert f"'{piled}' is {value:g}" in " ".join(outcome.reasons)


def test_beside_a_fault_a_unit_that_leaves_a_doubt_is_asked_about() -> None:
    """The pile is named too, and its owner's answer about the other column is all that a heal waits for."""
    made, days = weather()
    rows = days.drop(columns="target")
    window = rows[9000:9600]
    lost = np.random.default_rng(0).random(len(window)) < 0.4
    piled = window.assign(average_wind_speed=window["average_wind_speed"].where(~lost, 30.0))
    alone, both = (
        selfheal.heal(made, w, recent=rows[5400:9000])
        for w in (piled, piled.assign(minimum_temperature=(window["minimum_temperature"] * 1.609344).round(1)))
    )
    assert (alone.decision, alone.diagnosis) == ("refuse", "data_fault"), alone.reasons
    assert (both.decision, both.asks) == ("audit", "fact"), both.reasons
    assert "minimum_temperature" in both.question
    assert "'average_wind_speed' is 30 in" in both.reasons[0]
    assert "expected_accuracy_healed" not in both.numbers, "it would be of unbroken columns"


def test_a_value_put_in_is_named_though_the_season_hides_it() -> None:
    """By its distribution such a window is as natural as any; in service it is a fault, and no drift."""
    rows = stream(0)[COLUMNS].round(3)
    window = rows[20_000:21_000]
    lost = np.random.default_rng(0).random(len(window)) < 0.4
    outcome = selfheal.heal(
        model(0), window.assign(wind=window["wind"].where(~lost, 7.77)), recent=rows[14_000:20_000], seed=0
    )
    assert (outcome.decision, outcome.diagnosis) == ("refuse", "data_fault"), outcome.reasons
    assert "'wind' is 7.77 in" in outcome.reasons[0]


def test_neighbouring_rows_that_are_alike_tell_less_of_class_shares() -> None:
    """A share's error counts runs of rows: a tenfold repetition is a tenth of the rows, and a draw is what it is."""
    rng = np.random.default_rng(4)
    old = np.array([0.7, 0.3])
    p = rng.beta(0.6, 1.4, 400)
    drawn, repeated = (np.column_stack([1 - each, each]) for each in (p, np.repeat(p[:40], 10)))
    assert in_runs(drawn, old, em_prior(drawn, old)) == 1.0
    assert 2.5 < in_runs(repeated, old, em_prior(repeated, old)) < 5.5  # the root of ten, and AR(1) of .9


@pytest.mark.parametrize("begin", now(9510, more=(9533, 9535, 9537)))
def test_a_year_of_real_weather_is_no_shift_of_class_shares(begin: int) -> None:
    """By independent rows it was: .70 to .92, promoted, where the shares had stayed, and four points were lost."""
    held = streams.stream(SHIPPED / "weather_nebraska.parquet", 0, 0)
    model = held.model.with_policy({})
    days = held.rows[list(model.features)].iloc[held.start + begin - 6 * 365 : held.start + begin + 365]
    outcome = selfheal.heal(model, days.iloc[-365:], recent=days.iloc[:-365], seed=0)
    assert (outcome.decision, outcome.adapter) == ("keep", None)
    assert any("prior: " in line and "not larger than between healthy windows" in line for line in outcome.reasons)
