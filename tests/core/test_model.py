"""MonitoredModel: frozen, immutable, and clear about what does not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn

import selfheal
from selfheal import Adapter, MonitoredModel, ReflexiveLayer
from selfheal.adapter import ColumnMap, InputMap
from selfheal.errors import ArtifactError, InputError

ROWS = pd.DataFrame({"a": [0.0, 1.0, 2.0, 3.0], "b": [1.0, 0.0, 1.0, 5.0], "y": ["no", "yes", "no", "yes"]})


def make(head: int = 2, **options: Any) -> MonitoredModel:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Dropout(0.5))
    return MonitoredModel(backbone, nn.Linear(4, head), ROWS, target="y", **options)


@pytest.mark.parametrize("head", [1, 2])
def test_probabilities_are_k_columns_in_the_order_of_the_classes(head: int) -> None:
    proba = make(head).predict_proba(ROWS)
    assert proba.shape == (4, 2)
    assert proba.dtype == np.float64
    assert proba.sum(axis=1) == pytest.approx(1.0)


def test_the_network_is_put_to_eval() -> None:
    model = make()
    assert (model.predict_proba(ROWS) == model.predict_proba(ROWS)).all()


def test_a_new_adapter_makes_a_new_model_and_leaves_the_old_one() -> None:
    model = make()
    before = model.predict_proba(ROWS)
    healed = model.with_adapter(Adapter(InputMap({"a": ColumnMap(10.0)}), None, np.array([1.0, -1.0])))
    assert (model.predict_proba(ROWS) == before).all()
    assert not np.allclose(healed.predict_proba(ROWS), before)
    assert healed.model_units(ROWS)["a"].tolist() == [0.0, 10.0, 20.0, 30.0]
    healed.check_unchanged()


def test_a_write_to_the_frozen_network_is_noticed() -> None:
    model = make()
    with torch.no_grad():
        model.head.bias.add_(1e-6)
    with pytest.raises(ArtifactError, match="frozen base model changed"):
        model.check_unchanged()


def test_the_digest_covers_the_preprocessing() -> None:
    digests = {make(preprocess=StandardScaler().fit(ROWS[["a", "b"]] * k)).digest for k in (1, 1, 2)}
    assert len(digests) == 2


def test_text_columns_go_through_the_preprocessing() -> None:
    rows = ROWS.assign(kind=["x", "y", "x", "z"])
    made = ColumnTransformer([("n", StandardScaler(), ["a", "b"]), ("k", OneHotEncoder(), ["kind"])])
    made.fit(rows[["a", "b", "kind"]])
    model = MonitoredModel(nn.Linear(5, 3), nn.Linear(3, 2), rows, target="y", preprocess=made)
    assert model.dtypes == {"a": "float", "b": "float", "kind": "str"}
    assert model.predict_proba(rows).shape == (4, 2)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (ROWS.rename(columns={"b": "bb"}), "column 'b' is missing; did you mean 'bb'"),
        (ROWS.assign(a=["1", "x", "2", "3"]), "column 'a', row 1: 'x' is not a number"),
        (ROWS.assign(a=[0.0, np.nan, 1.0, 2.0]), "column 'a', row 1: nan is not a finite number"),
        (ROWS.assign(b=[0.0, 1.0, 1.0, np.inf]), "column 'b', row 3: inf is not a finite number"),
        ({"a": 1.0, "b": 2.0}, r"of type dict, and a pandas.DataFrame .* is wanted: pd.DataFrame\(\[row\]\)"),
        ({"a": [1.0], "b": [2.0]}, r"is wanted: pd.DataFrame\(rows\)"),
        (ROWS.to_numpy(), r"numpy.ndarray, .*: pd.DataFrame\(rows, columns=list\(model.features\)\)"),
        (pl.from_pandas(ROWS), r"polars.DataFrame, .*: rows.to_pandas\(\)"),
    ],
)
def test_rows_that_cannot_be_scored_are_named(frame: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make().predict_proba(frame)


@pytest.mark.parametrize(
    ("row", "says", "reason"),
    [
        ({"kind": "gift"}, "column 'kind', row 2: 'gift' is a word that the model's encoder does not know", "word"),
        ({"code": 3.5}, "column 'code', row 2: 3.5 is a value that the model's encoder does not know", "value"),
    ],
)
def test_what_an_encoder_refuses_is_named_by_column_row_and_value(row: dict[str, Any], says: str, reason: str) -> None:
    """Scikit-learn says "column 0"; a map at the input, and an index of the caller's own, change nothing in that."""
    rows = ROWS.assign(kind=["x", "y", "x", "z"], code=[3, 4, 3, 5])
    made = ColumnTransformer([("k", OneHotEncoder(), ["code", "kind"]), ("n", StandardScaler(), ["a", "b"])])
    made.fit(rows.drop(columns="y"))
    model = MonitoredModel(nn.Linear(8, 3), nn.Linear(3, 2), rows, target="y", preprocess=made)
    model = model.with_adapter(Adapter(InputMap({"a": ColumnMap(10.0)})))
    spoilt = rows.set_axis(list("pqrs")).astype({"code": float})
    spoilt.loc["r", list(row)] = list(row.values())
    with pytest.raises(InputError, match=says) as told:
        model.predict_proba(spoilt)
    assert (told.value.reason, told.value.column) == (f"unknown {reason}", next(iter(row)))


def test_no_rows_have_no_answers() -> None:
    model = make(preprocess=StandardScaler().fit(ROWS[["a", "b"]]))
    assert (model.predict_proba(ROWS[:0]).shape, model.predict(ROWS[:0]).tolist()) == ((0, 2), [])


def test_a_healthy_window_without_a_single_value_of_a_column_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="recent, window 1: column 'b' has no value in any of 4 rows"):
        selfheal.heal(make(), ROWS, recent=[ROWS, ROWS.assign(b=np.nan)])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target": "z"}, "target 'z' is no column"),
        ({"head": 3}, "the head gives 3 logits"),
        ({"policy": {"rules": [{"name": "r", "when": "c > 1", "vote": "yes"}]}}, "reads column 'c'"),
        (
            {"preprocess": StandardScaler().fit(ROWS[["a"]])},
            "cannot transform the reference's first rows.*unseen at fit",
        ),
        ({"preprocess": StandardScaler()}, "is not fitted yet"),
    ],
)
def test_parts_that_do_not_fit_are_refused_at_once(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        options = {"target": "y"} | {k: v for k, v in change.items() if k != "head"}
        MonitoredModel(nn.Linear(2, 4), nn.Linear(4, change.get("head", 2)), ROWS, **options)


@pytest.mark.parametrize(
    ("adapter", "says"),
    [
        (Adapter(base_digest="f" * 64), "belongs to base"),
        (Adapter(reflexive=ReflexiveLayer(9)), "9 wide"),
        (Adapter(logit_offset=np.zeros(3)), "logit offset has shape"),
        (Adapter(InputMap({"zz": ColumnMap(2.0)})), "no numeric column"),
    ],
)
def test_an_adapter_of_another_model_is_refused(adapter: Adapter, says: str) -> None:
    with pytest.raises(ArtifactError, match=says):
        make().with_adapter(adapter)


def test_costs_move_the_decision() -> None:
    policy = {"cost": {"false_positive": 1, "false_negative": 5}}
    model = make(policy=policy)
    assert model.decide(np.array([[0.9, 0.1], [0.8, 0.2]])).tolist() == [0, 1]


def test_public_names_load() -> None:
    assert all(getattr(selfheal, name) is not None for name in selfheal.__all__)
