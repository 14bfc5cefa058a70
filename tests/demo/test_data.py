"""The streams are what they are said to be, and the faults do exactly what their names say."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from selfheal.demo import data


def test_weather_is_whole_in_time_order_and_in_fahrenheit() -> None:
    frame = data.weather()
    assert list(frame.columns) == [*data.WEATHER_FEATURES, "target", "time"]
    assert len(frame) == 18_159
    assert frame["time"].tolist() == list(range(18_159))
    assert not frame.isna().any().any()
    assert set(frame["target"]) == {0, 1}
    assert frame["temperature"].between(-40, 110).all() and frame["temperature"].max() > 90


def test_day_zero_is_the_first_of_january_1949() -> None:
    assert data.day_times(pd.RangeIndex(2)) == [datetime(1949, 1, 1, tzinfo=UTC), datetime(1949, 1, 2, tzinfo=UTC)]


def test_celsius_is_exact_and_touches_only_temperatures() -> None:
    frame = pd.DataFrame({column: [32.0, 212.0, -40.0] for column in data.WEATHER_FEATURES})
    metric = data.in_celsius(frame)
    for column in data.WEATHER_FEATURES:
        expected = [0.0, 100.0, -40.0] if column in data.TEMPERATURES else [32.0, 212.0, -40.0]
        np.testing.assert_allclose(metric[column], expected, atol=1e-12)
    assert frame["temperature"].tolist() == [32.0, 212.0, -40.0], "the input was changed"


def test_rotation_moves_every_value_one_column_on_and_is_undone_by_the_rest_of_the_turn() -> None:
    frame = data.weather()[list(data.WEATHER_FEATURES)].head(20)
    turned = data.rotated(frame)
    assert list(turned.columns) == list(frame.columns)
    assert turned["dew_point"].tolist() == frame["temperature"].tolist()
    assert turned["temperature"].tolist() == frame["minimum_temperature"].tolist()
    for _ in range(len(data.WEATHER_FEATURES) - 1):
        turned = data.rotated(turned)
    pd.testing.assert_frame_equal(turned, frame)


def test_payments_are_seeded_and_hold_the_declared_shares() -> None:
    frame = data.payments(20_000, seed=1)
    pd.testing.assert_frame_equal(frame, data.payments(20_000, seed=1))
    assert frame["is_fraud"].mean() == pytest.approx(data.FRAUD_SHARE, abs=0.01)
    assert list(frame.columns) == ["amount", "merchant_type", *data.COMPONENTS, "is_fraud"]
    shares = frame["merchant_type"].value_counts(normalize=True)
    assert shares.to_dict() == pytest.approx(data.MERCHANTS, abs=0.015)


def test_the_new_pattern_is_almost_unknown_before_and_shows_only_in_amount_and_merchant() -> None:
    def hits(frame: pd.DataFrame) -> pd.Series:
        return (frame["amount"] > 400) & (frame["merchant_type"] == "gift_card")

    before, now = data.payments(20_000, seed=2), data.payments(20_000, seed=3, pattern=0.08)
    assert hits(before).mean() < 0.003
    assert hits(now).mean() == pytest.approx(0.08, abs=0.01)
    assert now.loc[hits(now), "is_fraud"].mean() > 0.97
    honest = now.loc[now["is_fraud"] == 0, list(data.COMPONENTS)]
    np.testing.assert_allclose(
        now.loc[hits(now), list(data.COMPONENTS)].mean(),
        honest.mean(),
        atol=0.15,
        err_msg="the components give it away",
    )


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pattern is 1\.5"):
        data.payments(10, seed=0, pattern=1.5)


def test_payment_times_are_aware_and_rise() -> None:
    times = data.payment_times(pd.RangeIndex(3))
    assert times[0] == data.FIRST_PAYMENT and times[2] - times[0] == 2 * data.BETWEEN_PAYMENTS
