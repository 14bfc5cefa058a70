"""A part of a window is named by the columns and values that hold it, or not at all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from selfheal.healing.segments import named


def rows(n: int = 2000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"country": rng.choice(["DE", "IT", "FR"], n), "age": rng.integers(18, 80, n), "x": rng.normal(size=n)}
    )


def test_one_condition_and_two() -> None:
    frame = rows()
    assert named(frame, (frame.country == "IT").to_numpy()) == "country = 'IT'"
    both = ((frame.country == "IT") & (frame.age > 50)).to_numpy()
    assert named(frame, both) in ("country = 'IT' and age > 50.5", "age > 50.5 and country = 'IT'")


def test_no_name_for_any_rows_or_by_the_broken_column() -> None:
    frame = rows()
    assert named(frame, np.random.default_rng(1).random(len(frame)) < 0.3) == ""
    assert named(frame, (frame.country == "IT").to_numpy(), without=["country"]) == ""
    assert named(frame, np.zeros(len(frame), dtype=bool)) == ""
