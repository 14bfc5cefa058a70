"""Two streams with known truth, and the faults that the demo injects into them.

The weather is real (``data/README.md``: provenance and licence). The fraud stream is synthetic, so that a fraud
pattern can begin that no earlier row has seen. Labels exist here only to score: the loop under test gets none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib import resources

import numpy as np
import pandas as pd

#: Columns of the weather stream that carry degrees Fahrenheit.
TEMPERATURES = ("temperature", "dew_point", "maximum_temperature", "minimum_temperature")
#: Feature columns of the weather stream, in the file's order.
WEATHER_FEATURES = (
    "temperature",
    "dew_point",
    "sea_level_pressure",
    "visibility",
    "average_wind_speed",
    "max_sustained_wind_speed",
    "maximum_temperature",
    "minimum_temperature",
)
#: Nominal date of the weather's day 0; the source numbers its days without dating them.
DAY_ZERO = datetime(1949, 1, 1, tzinfo=UTC)

#: Kinds of merchant in the fraud stream and their share of the ordinary payments.
MERCHANTS = {"grocery": 0.40, "online": 0.28, "travel": 0.16, "electronics": 0.12, "gift_card": 0.04}
#: Anonymous components, named after the public card-fraud data; the first five separate fraud from the rest.
COMPONENTS = ("v4", "v10", "v12", "v14", "v17", "v1", "v2", "v3", "v7", "v11")
#: Mean shift of fraud in the five informative components, in their standard deviations. With the correlation
#: below the best possible accuracy is about .975 (measured on 200,000 rows with the known densities).
FRAUD_SHIFT = (1.3, -1.7, -1.6, -2.4, -1.5)
#: Mean and spread of log dollars: thieves try a card with small sums. Sums over 400 are rare, .2 % of the rows.
LOG_AMOUNT = {"honest": (3.6, 0.8), "fraud": (3.2, 0.8)}
FRAUD_SHARE = 0.15
#: Correlation of neighbouring components, falling geometrically with their distance.
CORRELATION = 0.35
#: Nominal time of the fraud stream's first payment and the time between two.
FIRST_PAYMENT = datetime(2025, 1, 6, tzinfo=UTC)
BETWEEN_PAYMENTS = timedelta(seconds=3)


def weather() -> pd.DataFrame:
    """Fifty years of daily weather at one station: the features, ``target`` (0/1: rain) and ``time`` (day number).

    Returns
    -------
    pandas.DataFrame
        18,159 rows in time order, indexed by day number; units as listed in ``data/README.md``.
    """
    file = resources.files("selfheal.demo") / "data" / "weather_nebraska.parquet"
    with resources.as_file(file) as path:
        return pd.read_parquet(path)


def day_times(days: pd.Index) -> list[datetime]:
    """Nominal event times (aware, UTC) of day numbers."""
    return [DAY_ZERO + timedelta(days=int(day)) for day in days]


def in_celsius(frame: pd.DataFrame) -> pd.DataFrame:
    """The same days with the four temperature columns in °C, as a logger switched to metric units would send them."""
    changed = frame.copy()
    for column in TEMPERATURES:
        changed[column] = (changed[column] - 32.0) / 1.8
    return changed


TOO_HIGH = 25.0
"""°F that the new hygrometer reads too high."""


def new_hygrometer(frame: pd.DataFrame) -> pd.DataFrame:
    """The same days as an uncalibrated hygrometer would send them: no unit is like that, so data alone cannot tell."""
    return frame.assign(dew_point=frame["dew_point"] + TOO_HIGH)


def rotated(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with every value one column to the right of where it belongs (the last goes first)."""
    values = np.roll(frame.to_numpy(), 1, axis=1)
    return pd.DataFrame(values, index=frame.index, columns=frame.columns)


def payments(rows: int, *, seed: int, pattern: float = 0.0) -> pd.DataFrame:
    """Card payments with fraud in them.

    Ordinary fraud (15 % of the rows) shows in five of ten correlated components, and in small amounts. The new
    pattern does not: its components are those of honest payments, and only a high ``amount`` at a ``gift_card``
    merchant gives it away. With the same seed, rows that are not of the new pattern are the same for any ``pattern``.

    Parameters
    ----------
    rows : int
        Number of payments.
    seed : int
        Same seed, same payments.
    pattern : float
        Share of rows, 0 to 1, replaced by fraud of the new pattern.

    Returns
    -------
    pandas.DataFrame
        ``amount`` (dollars), ``merchant_type`` (text), ten components, and ``is_fraud`` (0/1).
    """
    if not 0.0 <= pattern < 1.0:
        raise ValueError(f"pattern is {pattern}; it is a share of the rows and must lie in [0, 1)")
    rng = np.random.default_rng(seed)
    fraud = rng.random(rows) < FRAUD_SHARE
    count = len(COMPONENTS)
    distance = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    components = rng.standard_normal((rows, count)) @ np.linalg.cholesky(CORRELATION**distance).T
    new = rng.random(rows) < pattern
    ordinary = fraud & ~new
    components[ordinary, : len(FRAUD_SHIFT)] += FRAUD_SHIFT
    mean, spread = np.where(ordinary, *(np.array([LOG_AMOUNT[kind]]).T for kind in ("fraud", "honest")))
    amount = np.exp(mean + spread * rng.standard_normal(rows))
    merchant = rng.choice(list(MERCHANTS), size=rows, p=list(MERCHANTS.values())).astype(object)
    amount[new] = 420.0 + rng.gamma(2.0, 150.0, rows)[new]
    merchant[new] = "gift_card"
    frame = pd.DataFrame({"amount": amount.round(2), "merchant_type": merchant})
    frame[list(COMPONENTS)] = components
    frame["is_fraud"] = (fraud | new).astype(np.int64)
    return frame


def payment_times(rows: pd.Index) -> list[datetime]:
    """Nominal event times (aware, UTC) of payment numbers."""
    return [FIRST_PAYMENT + int(row) * BETWEEN_PAYMENTS for row in rows]
