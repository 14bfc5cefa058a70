"""Guards name what makes a window unfit, and leave alone what is natural for this model."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from selfheal.drift.guards import guards, problems, refused_rows
from selfheal.model import MonitoredModel
from selfheal.table import Refusal

ROWS = 300


def rows(n: int, seed: int) -> pd.DataFrame:
    """Two plain columns, one missing in 10 % of rows, one that is 0 for long stretches."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(rng.normal(size=(n, 2)), columns=["temp", "wind"])
    frame["gauge"] = np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n))
    frame["snow"] = np.where(np.arange(n) % 2000 < 400, rng.random(n), 0.0)
    return frame


class Fill:
    """The least of a preprocessing step: missing values become 0."""

    def transform(self, frame: pd.DataFrame) -> np.ndarray:
        return frame.fillna(0.0).to_numpy(dtype=np.float32)


@pytest.fixture(scope="module")
def model() -> MonitoredModel:
    torch.manual_seed(0)
    frame = rows(4000, 0)
    policy = {"model": "guarded", "target": "y", "monitor": {"min_rows": 100}}
    return MonitoredModel(
        torch.nn.Linear(4, 3),
        torch.nn.Linear(3, 2),
        reference=frame.assign(y=(frame["temp"] > 0).astype(int)),
        preprocess=Fill(),
        in_memory=True,
        policy=policy,
    )


def test_a_window_like_the_reference_has_no_problem(model: MonitoredModel) -> None:
    assert guards(rows(ROWS, 1), model) == []


def test_too_few_rows(model: MonitoredModel) -> None:
    (problem,) = problems(rows(99, 1), model)
    assert (problem.kind, problem.column) == ("too few rows", "")
    assert "99 rows, fewer than min_rows 100" in problem.text
    assert [p.kind for p in problems(rows(0, 1), model)] == ["too few rows"]


@pytest.mark.parametrize(
    ("column", "values", "kind", "words"),
    [
        ("temp", None, "missing column", "'temp' is missing"),
        ("temp", np.r_[np.full(150, np.nan), np.arange(150)], "null rate", "no value in 50.0% of rows"),
        ("wind", np.full(ROWS, 7.5), "constant", "'7.5' in all 300 rows"),
        ("wind", np.r_[np.full(30, np.inf), np.random.default_rng(0).normal(size=ROWS - 30)], "non-finite", "10.0%"),
        ("wind", np.r_[np.full(1, "gusty", dtype=object), np.ones(ROWS - 1)], "not a number", "'gusty' in 1 of 300"),
    ],
)
def test_each_fault_is_named_with_its_column(
    model: MonitoredModel, column: str, values: np.ndarray | None, kind: str, words: str
) -> None:
    frame = rows(ROWS, 1)
    frame = frame.drop(columns=column) if values is None else frame.assign(**{column: values})
    (problem,) = problems(frame, model)
    assert (problem.kind, problem.column) == (kind, column)
    assert words in problem.text
    assert guards(frame, model) == [str(problem)]


def test_an_all_null_column_is_one_problem_not_two(model: MonitoredModel) -> None:
    assert [p.kind for p in problems(rows(ROWS, 1).assign(temp=np.nan), model)] == ["null rate"]


def test_what_is_natural_is_no_problem(model: MonitoredModel) -> None:
    summer = rows(ROWS, 1).assign(snow=0.0)
    assert guards(summer, model) == [], "the reference has stretches without snow"
    recent = rows(ROWS, 2).assign(wind=0.0)
    assert guards(rows(ROWS, 1).assign(wind=0.0), model, [recent]) == [], "a recent healthy window had no wind either"


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), at=st.integers(0, 3700))
def test_no_stretch_of_the_reference_is_blamed(model: MonitoredModel, seed: int, at: int) -> None:
    stretch = model.reference.iloc[at : at + ROWS]
    assert guards(stretch, model) == []
    assert guards(stretch.sample(frac=1, random_state=seed), model) == []


def test_refused_rows_are_a_fault_of_the_column_beyond_what_hygiene_drops():
    many, few, no_column = Refusal("null", "x", 100), Refusal("not a number", "z", 5), Refusal("malformed", "", 400)
    assert [p.column for p in refused_rows([many, few], 895)] == ["x"]
    (problem,) = refused_rows([many, few], 895)
    assert problem.kind == "refused" and "100 of 1000 rows were refused by the service: null in 'x'" in problem.text
    assert refused_rows([no_column], 600) == []
    assert refused_rows([Refusal("null", "x", 1)], 12) == [], "of so few rows one is chance"
    assert refused_rows([Refusal("null", "x", 10)], 0)
    assert refused_rows([], 0) == []
