"""The base models beat the constant where nothing broke, and lose to it where something did."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfheal.demo import data, models
from selfheal.model import MonitoredModel

RULES = Path(__file__).parents[2] / "rules"


@pytest.fixture(scope="module")
def rain() -> MonitoredModel:
    return models.rain_model(RULES / "rain.yaml")


@pytest.fixture(scope="module")
def fraud() -> MonitoredModel:
    return models.fraud_model(RULES / "fraud.yaml")


def accuracy(model: MonitoredModel, frame: pd.DataFrame, labels: pd.Series) -> float:
    return float((model.predict(frame) == labels.to_numpy()).mean())


def test_blocks_of_time_are_held_out() -> None:
    kept = models.held_out(pd.RangeIndex(24), block=2, every=4)
    assert np.flatnonzero(kept).tolist() == [6, 7, 14, 15, 22, 23]


def test_rain_beats_the_constant_on_later_years_and_equals_it_in_celsius(rain: MonitoredModel) -> None:
    later = data.weather().iloc[models.RAIN_STREAM_FROM :]
    constant = 1 - later["target"].mean()
    assert accuracy(rain, later, later["target"]) > constant + 0.09
    assert accuracy(rain, data.in_celsius(later), later["target"]) < constant + 0.01


def test_rain_reference_is_whole_years(rain: MonitoredModel) -> None:
    assert rain.features == data.WEATHER_FEATURES
    assert len(rain.reference) == 12 * models.YEAR


def test_fraud_misses_the_new_pattern_only(fraud: MonitoredModel) -> None:
    clean, now = data.payments(8000, seed=21), data.payments(8000, seed=22, pattern=0.08)
    assert accuracy(fraud, clean, clean["is_fraud"]) > 0.96
    assert accuracy(fraud, now, now["is_fraud"]) == pytest.approx(0.90, abs=0.012)
    hits = (now["amount"] > 400) & (now["merchant_type"] == "gift_card")
    assert accuracy(fraud, now[~hits], now.loc[~hits, "is_fraud"]) > 0.96


def test_training_is_seeded(fraud: MonitoredModel) -> None:
    assert models.fraud_model({"model": "fraud"}).digest == fraud.digest


@pytest.mark.parametrize("name", ["rain", "fraud"])
def test_rules_say_what_is_mostly_true_on_the_reference(name: str, request: pytest.FixtureRequest) -> None:
    from selfheal.rules import record

    model: MonitoredModel = request.getfixturevalue(name)
    for found in record(model.policy.rule_set, model.reference, list(model.reference_labels)):
        assert found.precision > 0.6 and 0.03 < found.coverage < 0.7, found
