"""What is answered: the model's own probabilities, by whatever path and in whatever form the rows come."""

from __future__ import annotations

import json
import math
import socket
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PowerTransformer
from torch import nn

from selfheal.errors import InputError
from selfheal.model import MonitoredModel
from selfheal.parts.compiled import compile_path
from selfheal.parts.layers import network as in_numpy
from selfheal.registry.archive import load_base
from selfheal.serving.base import Base
from selfheal.serving.requests import Reading, parse
from selfheal.serving.scorer import Scorer
from selfheal.table import Pointer
from tests.serving.conftest import network, payments


def scorer_of(model) -> Scorer:
    adapter = model.adapter
    settled = datetime(2026, 1, 1, tzinfo=UTC)
    return Scorer.on(
        Base.of(model), Pointer("m", 3, 1, model.digest, adapter.to_bytes(), adapter.digest, settled, False)
    )


@pytest.mark.parametrize("kind", ["identity", "map", "reflexive", "offset", "all"])
@pytest.mark.parametrize("name", ["weather", "plain", "payments"])
def test_the_fast_path_agrees_with_the_model(bases, adapters_of, name, kind):
    base, _ = bases(name)
    model = base.with_adapter(adapters_of(base)[kind])
    path = compile_path(model)
    assert path is not None
    scorer = scorer_of(model)
    rows = model.reference.iloc[:50]
    numbers = rows[list(scorer.numeric)].to_numpy(dtype=np.float64)
    before = numbers.copy()
    words = [rows[column].tolist() for column in scorer.texts]
    np.testing.assert_allclose(path.proba(numbers, words), model.predict_proba(rows), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(numbers, before)
    assert kind == "identity" or not np.allclose(model.predict_proba(rows), base.predict_proba(rows), atol=1e-3)


@pytest.mark.parametrize("kind", ["identity", "reflexive"])
def test_a_stored_network_runs_without_torch_and_alike(bases, adapters_of, kind):
    """A small chain of layers as loaded from the cache: numpy up to 64 rows, torch beyond, the same numbers."""
    base, cache = bases("weather")
    loaded = load_base(cache / base.digest)
    model = loaded.with_adapter(adapters_of(loaded)[kind])
    assert in_numpy(model.backbone, model.adapter.reflexive, model.head) is not None
    path = compile_path(model)
    assert path is not None
    for n in (1, 64, 65, 300):
        rows = model.reference.iloc[:n]
        got = path.proba(rows.to_numpy(dtype=np.float64), [])
        np.testing.assert_allclose(got, model.predict_proba(rows), rtol=0, atol=1e-6)


def test_what_is_no_chain_of_layers_stays_with_torch():
    class Twice(nn.Module):
        def forward(self, h):
            return h + h

    linear = nn.Linear(2, 2)
    assert in_numpy(nn.Sequential(linear, Twice()), None, linear) is None
    assert in_numpy(nn.ReLU(), None, linear) is None  # would write into its caller's input
    assert in_numpy(linear, None, nn.Sequential(nn.Tanh(), nn.Dropout())) is not None


def test_what_cannot_be_compiled_is_scored_by_the_model(bases):
    model, _ = bases("union")
    scorer = scorer_of(model)
    assert scorer.path is None
    rows = model.reference.iloc[:5]
    got = scorer.proba(rows.to_numpy(dtype=np.float64), [])
    np.testing.assert_allclose(got, model.predict_proba(rows), rtol=0, atol=1e-6)


def test_words_and_numbers_that_the_reference_lacks_are_scored_or_refused_as_by_the_model():
    rows = payments()
    filled = SimpleImputer(strategy="most_frequent")
    steps = [
        ("boxed", PowerTransformer(method="box-cox"), ["amount"]),
        ("rest", SimpleImputer(), ["v1"]),
        ("kinds", make_pipeline(filled, OneHotEncoder(handle_unknown="ignore")), ["kind"]),
    ]
    made = ColumnTransformer(steps, sparse_threshold=0).fit(rows.drop(columns="fraud"))
    width = made.transform(rows.iloc[:1]).shape[1]
    scorer = scorer_of(MonitoredModel(*network(width, 3, 1), reference=rows, target="fraud", preprocess=made))
    assert scorer.path is not None
    asked = rows.drop(columns="fraud").iloc[:4]
    asked = asked.assign(kind=["unseen", *rows["kind"].iloc[1:3], ""], amount=[1, 2, 1e9, 4.0])
    numbers, words = asked[list(scorer.numeric)].to_numpy(dtype=np.float64), [asked["kind"].tolist()]
    np.testing.assert_allclose(scorer.proba(numbers, words), scorer.model.predict_proba(asked), rtol=0, atol=1e-6)
    numbers[1, list(scorer.numeric).index("amount")] = -1.0
    with pytest.raises(
        InputError, match=r"column 'amount', row 1: the model's preprocessing refuses -1.0: .*strictly positive"
    ):
        scorer.proba(numbers, words)


values = st.one_of(
    st.floats(-1e6, 1e6),
    st.integers(-(10**6), 10**6),
    st.booleans(),
    st.sampled_from([None, math.nan, math.inf, "12.5", " 7 ", "1_000", "abc", "", [1], {"a": 1}, 10**400, "nan"]),
)
texts = st.sampled_from(["card", "cash", "unseen", "", "naïve", None, 5, True, ["card"], "a\x00b"])


def as_judged(model, frame: pd.DataFrame):
    """The oracle: the model's own check and score, and text only where text belongs."""
    for name in model.features:
        if model.dtypes[name] == "str" and not all(isinstance(v, str) and "\x00" not in v for v in frame[name]):
            return None
    try:
        return model.predict_proba(frame)
    except (InputError, TypeError, ValueError, OverflowError):
        return None


@pytest.fixture(scope="module")
def scorers(bases):
    return {name: scorer_of(bases(name)[0]) for name in ("weather", "payments")}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(["weather", "payments"]),
    form=st.sampled_from(["split", "records", "tensor", "inputs"]),
    rows=st.data(),
    n=st.integers(1, 3),
    good=st.booleans(),
)
def test_fast_and_frame_path_judge_and_score_alike(bases, scorers, name, form, rows, n, good):
    """Any body: the service refuses what the model refuses, and otherwise answers what the model answers."""
    model, _ = bases(name)
    number = st.floats(-100, 100) if good else values
    word = st.sampled_from(["card", "cash", "unseen"]) if good else texts
    table = {
        column: [rows.draw(word if model.dtypes[column] == "str" else number) for _ in range(n)]
        for column in model.features
    }
    lines = [[table[column][i] for column in model.features] for i in range(n)]
    body = {
        "split": {"dataframe_split": {"columns": list(model.features), "data": lines}},
        "records": {"dataframe_records": [dict(zip(model.features, line, strict=True)) for line in lines]},
        "tensor": {"instances": lines},
        "inputs": {"inputs": table},
    }[form]
    expected = as_judged(model, pd.DataFrame({c: pd.Series(v, dtype=object) for c, v in table.items()}))
    scorer = scorers[name]
    try:
        request = parse(json.dumps(body).encode(), scorer, Reading())
        got = scorer.proba(request.numbers, request.words)
    except InputError:
        got = None
    assert (got is None) == (expected is None)
    if got is not None:
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_all_forms_are_answered_alike(place, serve_in_thread, forms):
    rows = place.model.reference.iloc[:7]
    expected = place.model.predict_proba(rows)
    with serve_in_thread(place.config()) as service:
        for name, form in vars(forms).items():
            status, answer = service.post("/invocations", form(rows))
            assert status == 200, (name, answer)
            np.testing.assert_allclose(answer["predictions"], expected, rtol=0, atol=1e-6)
            assert answer["model_version"] == 1
            assert len(set(answer["prediction_ids"])) == 7
        one = {"inputs": {column: rows[column].tolist()[0] for column in rows}}
        assert len(service.post("/invocations", one)[1]["predictions"]) == 1
        shuffled = rows[rows.columns[::-1]]
        status, answer = service.post("/invocations", forms.split(shuffled))
        np.testing.assert_allclose(answer["predictions"], expected, rtol=0, atol=1e-6)


def test_text_columns_and_three_classes(adopt_in, tmp_path, serve_in_thread, forms):
    place = adopt_in("payments", tmp_path)
    rows = place.model.reference.iloc[:4].copy()
    rows.loc[rows.index[0], "kind"] = "never seen"
    with serve_in_thread(place.config()) as service:
        assert service.get("/health")["path"] == "compiled"
        for form in (forms.split, forms.records, forms.inputs):
            params = {"params": {"durable": True}}
            status, answer = service.post("/invocations", form(rows) | params)
            assert status == 200, answer
            np.testing.assert_allclose(answer["predictions"], place.model.predict_proba(rows), rtol=0, atol=1e-6)
        logged = place.logged().loc[answer["prediction_ids"]]
    pd.testing.assert_frame_equal(logged[list(rows.columns)].reset_index(drop=True), rows.reset_index(drop=True))


def test_a_large_body_is_answered_beside_the_loop(place, serve_in_thread, forms, monkeypatch):
    """Others are answered while it is computed."""
    rows = pd.concat([place.model.reference] * 10, ignore_index=True)
    proba, meanwhile = Scorer.proba, []
    with serve_in_thread(place.config(inline_bytes=1000)) as service:

        def computed(self, *parts, **more):
            with socket.create_connection(service.address, timeout=5) as other:
                other.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
                meanwhile.append(other.recv(12))
            return proba(self, *parts, **more)

        monkeypatch.setattr(Scorer, "proba", computed)
        status, answer = service.post("/invocations", forms.split(rows))
    assert (status, meanwhile) == (200, [b"HTTP/1.1 200"])
    np.testing.assert_allclose(answer["predictions"], place.model.predict_proba(rows), rtol=0, atol=1e-6)


def test_raw_rows_are_logged_as_sent(place, serve_in_thread, forms, adapters_of):
    """The input map is the model's business: the log keeps the client's units, and the decimals of whole columns."""
    place.settle(2, adapters_of(place.model)["map"])
    rows = place.model.reference.iloc[:3].astype({"wind": float})
    rows["wind"] = [1.25, 2.0, -3.5]
    params = {
        "event_time": ["1949-01-01T00:00:00Z", "1949-01-01T02:00:00+02:00", "2020-05-01T00:00:00.5Z"],
        "prediction_ids": ["a", "b", "c"],
        "durable": True,
    }
    with serve_in_thread(place.config()) as service:
        status, answer = service.post("/invocations", forms.split(rows) | {"params": params})
    assert (status, answer["prediction_ids"]) == (200, ["a", "b", "c"])
    logged = place.logged().loc[["a", "b", "c"]]
    np.testing.assert_array_equal(logged[list(rows.columns)].to_numpy(float), rows.to_numpy(float))
    assert [at.isoformat() for at in logged["event_time"]] == [
        "1949-01-01T00:00:00+00:00",
        "1949-01-01T00:00:00+00:00",
        "2020-05-01T00:00:00.500000+00:00",
    ]
    assert logged["version"].tolist() == [2, 2, 2]
