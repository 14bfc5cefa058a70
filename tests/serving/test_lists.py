"""A column of lists over HTTP: as lists or number by number, in every form; the log has plain columns either way."""

from __future__ import annotations

from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from selfheal.adapter import Adapter
from selfheal.registry.archive import save_base
from tests.core.lists import NAMES, apart, model, put, rows
from tests.serving.conftest import Place


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("lists")
    made = model(name="embedded")
    save_base(made, folder / "cache" / made.digest)
    place = Place(made, folder / "state.db", folder / "cache", "embedded")
    with place.table() as table:
        table.create("embedded", made.dtypes, made.classes_.tolist())
    place.settle(1, Adapter())
    return place


@pytest.fixture(scope="module")
def service(place: Place, serve_in_thread):
    with serve_in_thread(place.config()) as service:
        yield service


@pytest.fixture
def frame() -> pd.DataFrame:
    return rows(5, 3).drop(columns="y").assign(embedding=lambda f: f["embedding"].map(np.ndarray.tolist))


def tensors(frame: pd.DataFrame) -> list[dict[str, Any]]:
    held = np.stack(frame["embedding"])
    return [
        {"name": "age", "shape": [5], "datatype": "FP64", "data": frame["age"].tolist()},
        {"name": "embedding", "shape": [5, 16], "datatype": "FP64", "data": held.ravel().tolist()},
        {"name": "code", "shape": [5, 1], "datatype": "INT64", "data": frame["code"].tolist()},
    ]


def test_every_form_takes_lists_and_columns_and_the_log_has_columns(service, place, frame, forms) -> None:
    plain, expected = apart(frame), place.model.predict_proba(frame)
    bodies = [form(each) for each in (frame, plain) for form in (forms.split, forms.records, forms.inputs)]
    bodies += [{"instances": each.to_dict("records")} for each in (frame, plain)]
    bodies += [{form: each.to_numpy().tolist()} for each in (frame, plain) for form in ("instances", "inputs")]
    page = service.get("/openapi.json")
    body_of = page | page["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    for number, body in enumerate(bodies):
        named = body | {"params": {"prediction_ids": [f"{number}-{row}" for row in range(5)], "durable": True}}
        jsonschema.Draft202012Validator(body_of).validate(named)
        status, answer = service.post("/invocations", named)
        assert status == 200, (body, answer)
        np.testing.assert_allclose(answer["predictions"], expected, rtol=0, atol=1e-6)
    logged = place.logged()
    assert [c for c in logged if c in place.model.features] == ["age", *NAMES, "code"]
    for number in range(len(bodies)):
        found = logged.loc[[f"{number}-{row}" for row in range(5)], list(plain)].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, plain, check_dtype=False, check_exact=True)
    one = {"inputs": frame.iloc[0].to_dict()}
    assert np.allclose(service.post("/invocations", one)[1]["predictions"], expected[:1], atol=1e-6)


def test_the_process_stays_lean(service, place) -> None:
    base = service.app.source.scorer.base
    assert base.signature.lists == place.model.signature.lists and base.path is not None and not base.whole


def test_tensors_and_csv(service, place, frame) -> None:
    expected, path = place.model.predict_proba(frame), "/v2/models/embedded/infer"
    described = service.get("/v2/models/embedded")["inputs"]
    assert described[1] == {"name": "embedding", "datatype": "FP64", "shape": [-1, 16]} and len(described) == 3
    status, answer = service.post(path, {"inputs": tensors(frame)})
    assert status == 200 and np.allclose(answer["outputs"][0]["data"], expected.ravel(), atol=1e-6), answer
    for shape, words in (([5, 4, 4], None), ([4, 20], "holds 80 values of shape"), ([5, 15], "input 'embedding'")):
        sent = tensors(frame)
        sent[1] |= {"shape": shape, "data": sent[1]["data"][: int(np.prod(shape))]}
        status, answer = service.post(path, {"inputs": sent})
        assert (status == 200) if words is None else (status == 400 and words in answer["message"]), answer
    csv = {"Content_Type": "text/csv"}
    status, answer = service.post("/invocations", apart(frame).to_csv(index=False).encode(), **csv)
    assert status == 200 and np.allclose(answer["predictions"], expected, atol=1e-6)
    status, answer = service.post("/invocations", frame.to_csv(index=False).encode(), **csv)
    assert status == 400 and "is no list, and a list of 16 numbers is wanted, or the columns" in answer["message"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([0.5] * 15, "column 'embedding', row 3: a list of 15, and a list of 16 numbers is wanted"),
        ([], "column 'embedding', row 3: a list of 0"),
        (None, "column 'embedding', row 3: null"),
        (["a"] * 16, "column 'embedding', row 3: 'a' in place 0 of the list is not a number"),
        ([*[0.5] * 15, None], "column 'embedding_15', row 3: nan is not a finite number"),
        ({"0": 1.0}, "column 'embedding', row 3: {'0': 1.0} is no list"),
        ([*[1] * 15, 10**400], "column 'embedding', row 3: a whole number in the list"),
    ],
)
def test_a_bad_list_is_refused_by_name_and_nothing_is_logged(service, place, frame, forms, value, words) -> None:
    bad, ids = put(frame, 3, value), [f"bad-{row}" for row in range(5)]
    for body in (forms.split(bad), forms.records(bad), {"inputs": bad.to_dict("list")}):
        status, answer = service.post("/invocations", body | {"params": {"prediction_ids": ids}})
        assert status == 400 and words in answer["message"], answer
    good = {"params": {"prediction_ids": [name.replace("bad", "good") for name in ids], "durable": True}}
    assert service.post("/invocations", forms.split(frame) | good)[0] == 200
    logged = place.logged().index
    assert "good-4" in logged and not logged.isin(ids).any()


def test_both_ways_at_once_and_neither_are_refused(service, frame, forms) -> None:
    for each, words in (
        (frame.assign(embedding_4=1.0), "'embedding' is given as lists and, by 'embedding_4', number by number too"),
        (frame.drop(columns="embedding"), "column 'embedding' is missing (needed: age, embedding, code)"),
        (apart(frame).drop(columns="embedding_4"), "column 'embedding_4' is missing"),
        (frame.assign(embeding=1), "unknown column 'embeding'; did you mean 'embedding'?"),
    ):
        for form in (forms.split, forms.records, forms.inputs):
            status, answer = service.post("/invocations", form(each))
            assert status == 400 and words in answer["message"], answer
    for body in ({"instances": [1, 2]}, {"instances": [[1.0, [0.5] * 16]]}, {"inputs": {"embedding": 3}}):
        assert service.post("/invocations", body)[0] == 400
