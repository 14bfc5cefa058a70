"""Maps of no known conversion: exact where columns depend on each other, simple where that is enough."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import selfheal
from selfheal import MonitoredModel
from selfheal.adapter import ColumnMap
from selfheal.drift.yardstick import Yardstick
from selfheal.healing.case import Case
from selfheal.healing.fits import lines, maps, shares
from selfheal.model import softmax

from . import worlds


def case_of(model: MonitoredModel, rows: pd.DataFrame) -> Case:
    return Case(model, rows, Yardstick(model, None, len(rows), 0), (), 0)


def twisted(n: int, seed: int) -> pd.DataFrame:
    """Three columns of which the last follows the others to a hundredth of its own spread."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    return pd.DataFrame({"a": a, "b": b, "sum": a + b + 0.02 * rng.normal(size=n)})


@pytest.fixture(scope="module")
def world() -> MonitoredModel:
    rows = twisted(4000, 1).assign(y=lambda f: (f["a"] - f["b"] > 0).astype(int))
    return worlds.trained(rows, rows, "y", 0, epochs=1).with_policy({"declare": {"measurement": ["sum"]}})


@given(
    factor=st.sampled_from([1.0, 0.6, 1.8]),
    step=st.sampled_from([0.0, -3.0, 1.0]),
)
def test_a_column_that_follows_others_comes_back_a_hundred_times_more_exactly_than_from_its_quantiles(
    world: MonitoredModel, factor: float, step: float
) -> None:
    if factor == 1.0 and step == 0.0:
        return
    true = twisted(1000, 2)
    case = case_of(world, true.assign(sum=true["sum"] * factor + step))
    made = next(lines.proposals(case, {}))
    back = made["sum"].apply(case.raw["sum"].to_numpy())
    assert list(made) == ["sum"]
    assert np.abs(back - true["sum"]).max() < 0.02
    # A fault with one parameter is told as one.
    assert (made["sum"].scale == 1.0) == (factor == 1.0)
    assert (made["sum"].offset == 0.0) == (step == 0.0)


def test_only_declared_columns_are_moved_where_any_is_declared(world: MonitoredModel) -> None:
    rows = twisted(1000, 3)
    case = case_of(world, rows.assign(a=rows["a"] + 3.0))
    assert all(set(made) <= {"sum"} for made in lines.proposals(case, {}))


@given(scale=st.floats(0.1, 10), offset=st.floats(-5, 5))
def test_a_fitted_line_is_told_without_what_it_does_not_do(scale: float, offset: float) -> None:
    assert ColumnMap(scale, 0.0).describe() in (f"{scale:.6g}·x", "x")
    assert ColumnMap(1.0, offset).describe() in ("x", f"x + {abs(offset):.6g}", f"x − {abs(offset):.6g}")


def test_what_was_fitted_for_a_model_that_knows_little_is_audited() -> None:
    world = worlds.linear(0)
    window = world.draw(1000, 8).drop(columns="y").assign(x0=lambda f: f["x0"] + 2 * f["x0"].std())
    declared = {"heal": {"max_changed": 1.0}, "declare": {"measurement": ["x0"]}}
    weak = copy.deepcopy(world.model.head)
    with torch.no_grad():
        weak.weight *= 0.02
    reference = world.model.reference.assign(y=world.model.reference_labels)
    dull = MonitoredModel(world.model.backbone, weak, reference, target="y", preprocess=world.model.preprocess)
    assert selfheal.heal(world.model.with_policy(declared), window).decision == "promote"
    outcome = selfheal.heal(dull.with_policy(declared), window)
    assert outcome.decision != "promote"
    assert case_of(dull, window).skill < maps.SKILL < case_of(world.model, window).skill


def test_the_offset_for_new_shares_is_the_best_one_on_the_labelled_reference() -> None:
    world = worlds.linear(0)
    case = case_of(world.model, world.draw(1000, 7, prior=0.4).drop(columns="y"))
    shift = shares.Shift(case.prior, np.array([0.6, 0.4]), 0.0, 2.0)
    weights = (shift.window / case.prior)[case.truth]

    def loss(step: np.ndarray) -> float:
        p = softmax(case.base.logits_of_base(case.reference) + step)
        return float(-(weights * np.log(p[np.arange(len(p)), case.truth])).sum() / weights.sum())

    found, closed = shares.offset(case, shift), np.log(shift.window / case.prior)
    aside = np.array([0.05, -0.05])
    others = (closed, np.zeros(2), found + aside, found - aside)
    assert all(loss(found) <= loss(other) + 1e-6 for other in others)
