"""Each declared part of the rows against its own healthy ones: a tenth that went wrong is seen, the rest is not."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd

from selfheal import MonitoredModel
from selfheal.drift.by_segment import FEWEST, MOST, by_segment
from tests.healing.worlds import trained

SITES = (10, 20, 30, 40)


def rows(n: int, seed: int) -> pd.DataFrame:
    """Sites that differ in what is usual there; the last one is small."""
    rng = np.random.default_rng(seed)
    site = rng.choice(SITES, n, p=[0.45, 0.3, 0.2, 0.05])
    a, b = rng.normal(site / 10, 1.0), rng.normal(size=n)
    y = (rng.random(n) < 1 / (1 + np.exp(-2 * (a - site / 10 + b)))).astype(int)
    return pd.DataFrame({"site": site, "a": a.round(3), "b": b.round(3), "y": y})


@cache
def model() -> MonitoredModel:
    return trained(rows(3000, 1), rows(6000, 2), "y", 0, epochs=6, width=16)


def healthy() -> list[pd.DataFrame]:
    return [rows(2000, 100 + k).drop(columns="y") for k in range(5)]


def alarms(window: pd.DataFrame, recent: list[pd.DataFrame]) -> dict[str, bool | None]:
    parts = by_segment(model(), window, recent, ["site"])
    assert all((window["site"].iloc[part.rows] == float(part.value)).all() for part in parts)
    return {part.value: None if part.signal is None else part.signal.alarm for part in parts}


def test_a_part_that_went_wrong_is_seen_and_the_others_are_not() -> None:
    window = rows(2000, 7).drop(columns="y")
    assert alarms(window, healthy()) == {"10": False, "20": False, "30": False}, "the small one is too small"
    window.loc[window["site"] == 30, "a"] += 1.5
    assert alarms(window, healthy()) == {"10": False, "20": False, "30": True}


def test_without_healthy_windows_the_reference_speaks_for_its_own_part() -> None:
    window = rows(2000, 8).drop(columns="y")
    assert alarms(window, []) == {"10": False, "20": False, "30": False}
    window["site"] = window["site"].replace(30, 50)
    assert alarms(window, [])["50"] is None, "no healthy row is of it"


def test_the_largest_parts_are_looked_at() -> None:
    window = pd.concat([rows(FEWEST, k).drop(columns="y").assign(site=k) for k in range(MOST + 2)], ignore_index=True)
    assert len(by_segment(model(), window, [], ["site"])) == MOST
