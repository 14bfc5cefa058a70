"""Columns that place a window in the calendar stand still in it, and are no fault; what only sounds so is one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from selfheal.drift.context import alike, calendar, placed, still
from selfheal.drift.guards import problems
from selfheal.model import MonitoredModel


@pytest.fixture(scope="module")
def model() -> MonitoredModel:
    rng, n = np.random.default_rng(0), 4000
    hour = rng.integers(0, 24, n)
    reference = pd.DataFrame({
        "hour": hour, "Day_Of_Week": rng.integers(0, 7, n), "month_name": rng.choice(["Jan", "Feb", "Mar", "Apr"], n),
        "hours_per_week": rng.integers(1, 99, n), "amount": rng.normal(hour, 3), "site": rng.choice(["a", "b"], n),
    })  # fmt: skip
    numbers = ["hour", "Day_Of_Week", "hours_per_week", "amount"]
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import StandardScaler

    prepared = ColumnTransformer([("numbers", StandardScaler(), numbers)]).fit(reference)
    torch.manual_seed(0)
    return MonitoredModel(
        torch.nn.Linear(4, 4), torch.nn.Linear(4, 2), reference.assign(y=rng.integers(0, 2, n)), target="y",
        preprocess=prepared, policy={"monitor": {"min_rows": 100}},
    )  # fmt: skip


def window(model: MonitoredModel, hour: int = 14, n: int = 300) -> pd.DataFrame:
    rows = model.reference.sample(n, random_state=1).reset_index(drop=True)
    return rows.assign(hour=hour, Day_Of_Week=2, month_name="Feb")


def test_the_calendar_is_told_by_name_and_values(model: MonitoredModel) -> None:
    assert calendar(model) == {"hour", "Day_Of_Week", "month_name"}


def test_a_window_of_one_hour_is_no_fault_and_a_stuck_column_is(model: MonitoredModel) -> None:
    assert problems(window(model), model) == []
    stuck = problems(window(model).assign(amount=3.5), model)
    assert [p.column for p in stuck] == ["amount"]


def test_what_never_stood_still_is_stuck_whatever_it_is_called(model: MonitoredModel) -> None:
    """Years in which houses were built: an hour of the day among the windows of whole days."""
    healthy = [model.reference.sample(300, random_state=k).assign(month_name="Feb") for k in range(2, 5)]
    assert [p.column for p in problems(window(model), model, healthy)] == ["hour", "Day_Of_Week"]
    assert still(model, window(model), healthy) == ("month_name",)
    assert problems(window(model), model, [*healthy, window(model)]) == []


def test_what_stands_still_places_the_window(model: MonitoredModel) -> None:
    assert still(model, window(model)) == ("hour", "Day_Of_Week", "month_name")
    assert still(model, model.reference) == ()
    declared = model.with_policy({"declare": {"context": ["site"]}})
    assert still(declared, model.reference) == ("site",)


def test_reference_rows_of_the_context_are_near_it(model: MonitoredModel) -> None:
    rows = window(model, hour=23)
    near = alike(model.reference, rows, ("hour",))
    assert len(near) >= 2 * len(rows)
    assert set(near["hour"]) <= {20, 21, 22, 23, 0, 1, 2}  # midnight is next to eleven at night
    assert set(placed(near, rows, ("hour",))["hour"]) == {23}
