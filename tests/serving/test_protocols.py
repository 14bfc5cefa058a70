"""The protocols that others wrote: MLflow's forms, CSV, frames, tensors; and the page that says what there is."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
from openapi_spec_validator import validate

from selfheal.errors import InputError
from selfheal.serving import ServingConfig
from selfheal.serving.app import _CODES
from selfheal.serving.csv_rows import csv_extent, parse_csv
from selfheal.serving.inference import parse_tensors, tensors_extent
from selfheal.serving.requests import Reading, parse
from tests.flows.adopted import copied
from tests.serving.test_bounds import scorer_of
from tests.serving.test_refusals import ROW, split
from tests.steering.given import NAME
from tests.steering.given import rows as toys


@pytest.fixture(scope="module")
def service(adopt_in, serve_in_thread, tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocols")
    place = adopt_in("payments", folder)
    (folder / "payments.yaml").write_text("serve: {extra_columns: ignore}")
    with serve_in_thread(place.config(rules=folder)) as service:
        service.place = place
        yield service


@pytest.fixture(scope="module")
def rows(service) -> pd.DataFrame:
    made = service.place.model.reference.iloc[:4].copy().reset_index(drop=True)
    made.loc[0, "kind"] = 'a "quoted", text'
    return made


@pytest.fixture(scope="module")
def scorer(bases):
    return scorer_of(bases("weather")[0])


def answered(service, path: str, body: Any, expected: pd.DataFrame, **headers: str) -> Any:
    status, answer = service.post(path, body, **headers)
    assert status == 200, answer
    proba = service.place.model.predict_proba(expected)
    np.testing.assert_allclose(answer["predictions"], proba, rtol=0, atol=1e-6)
    return answer


def test_csv_as_pandas_writes_it_is_scored(service, rows):
    for text in (rows.to_csv(index=False), rows[rows.columns[::-1]].to_csv(index=False, lineterminator="\r\n")):
        answered(service, "/invocations", text.encode(), rows, Content_Type="text/csv; charset=utf-8")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no rows"),
        ("temp,dew,pressure,wind,fog\n", "holds no rows"),
        ("temp,dew,pressure,wind,fog,temp\n1,2,3,4,true,5", "names column 'temp' twice"),
        ("temp,dew,pressure,wind,hail\n1,2,3,4,5", "unknown column 'hail'"),
        ("temp,dew,pressure,wind,fog\n1,2,3,4", "row 0 has 4 fields, the first line 5"),
        ("temp,dew,pressure,wind,fog\n1,2,warm,4,true", "column 'pressure', row 0: 'warm' is not a number"),
        ("temp,dew,pressure,wind,fog\n1,,3,4,true", "column 'dew', row 0: nan is not a finite number"),
        ('temp,dew,pressure,wind,fog\n1,"2,3,4,true', "is not CSV"),
        (b"\xff\xfe", "is not CSV"),
    ],
)
def test_bad_csv_is_refused_by_name(scorer, text, words):
    body = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InputError, match=words):
        parse_csv(body, scorer, Reading())
    assert csv_extent(b"a\n1\n2\n", 0)[0] == 2 and csv_extent(b"", 0)[0] == 1


def test_an_answer_by_class(service, rows, forms):
    status, answer = service.post("/invocations?format=frame", forms.records(rows))
    classes = service.place.model.classes_.tolist()
    assert (status, [list(row) for row in answer["predictions"]]) == (200, [classes] * 4)
    plain = service.post("/invocations?format=rows", forms.records(rows))[1]["predictions"]
    assert [list(row.values()) for row in answer["predictions"]] == plain
    status, answer = service.post("/invocations?format=frames", forms.records(rows))
    assert status == 400 and "did you mean 'frame'?" in answer["message"]


def test_instances_may_be_one_object(service, rows):
    one = rows.iloc[:1]
    answered(service, "/invocations", {"instances": {c: rows[c].tolist() for c in rows}}, rows)
    answered(service, "/invocations", {"instances": {c: one[c].tolist()[0] for c in one}}, one)


def test_columns_that_the_policy_ignores_are_told(service, rows, forms):
    more = rows.assign(fraud="no", trace=[None, 1, "x", []])
    bodies = [form(more) for form in (forms.split, forms.records, forms.instances, forms.inputs)]
    for body in bodies:
        assert answered(service, "/invocations", body, rows)["ignored"] == ["fraud", "trace"]
    told = answered(service, "/invocations", more.to_csv(index=False).encode(), rows, Content_Type="text/csv")
    assert told["ignored"] == ["fraud", "trace"]
    records = forms.records(rows)["dataframe_records"]
    answered(service, "/invocations", {"dataframe_records": [*records[:3], records[3] | {"late": 1}]}, rows)
    status, answer = service.post("/invocations", {"dataframe_records": [{"only": 1}]})
    assert status == 400 and "column 'amount' is missing" in answer["message"]


def test_what_the_policy_says_is_read_again(place, serve_in_thread, tmp_path):
    policy = tmp_path / "weather.yaml"
    with serve_in_thread(place.config(rules=tmp_path, poll_s=60)) as service:
        source = service.app.source

        def looked(text: str) -> bool:
            policy.write_text(text)
            source._beat_due = 0.0
            source.look()
            return source.terms.ignores

        assert not source.terms.ignores
        assert looked("serve: {extra_columns: ignore}")
        assert looked("serve: {extra_columns: perhaps}"), "the last valid one stays"
        assert not looked("serve: {extra_columns: refuse}  # again")
        policy.unlink()
        with place.table() as table:
            table.keep_policy("weather", source.scorer.model.manifest, "serve: {extra_columns: ignore}")
        source._beat_due = 0.0
        source.look()
        assert source.terms.ignores, "without a file what it was adopted with holds"


def tensor(name: str, data: list[Any], datatype: str = "FP64", shape: list[int] | None = None) -> dict[str, Any]:
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def test_tensors_a_column(service, rows):
    inputs = [tensor(name, rows[name].tolist(), "BYTES" if name == "kind" else "FP64") for name in rows]
    inputs[0] |= {"shape": [4, 1], "data": [[value] for value in rows.iloc[:, 0].tolist()]}
    inputs.append(tensor("prediction_ids", [f"t{i}" for i in range(4)], "BYTES"))
    body = {"id": "mine", "inputs": inputs, "parameters": {"durable": True}}
    status, answer = service.post("/v2/models/payments/infer", body)
    assert (status, answer["id"], answer["model_version"]) == (200, "mine", "1"), answer
    proba, ids = answer["outputs"]
    assert (proba["name"], proba["shape"], ids["data"]) == ("probabilities", [4, 3], ["t0", "t1", "t2", "t3"])
    expected = service.place.model.predict_proba(rows)
    np.testing.assert_allclose(np.reshape(proba["data"], proba["shape"]), expected, rtol=0, atol=1e-6)
    assert {"t0", "t1", "t2", "t3"} <= set(service.place.logged().index)
    status, answer = service.post("/v2/models/payments/infer", body | {"outputs": [{"name": "probabilities"}]})
    assert [each["name"] for each in answer["outputs"]] == ["probabilities"]
    assert service.post("/v2/models/payments/infer", body | {"parameters": {"binary_data_output": True}})[0] == 200
    status, answer = service.post("/v2/models/payments/infer", body, Inference_Header_Content_Length="9")
    assert status == 415 and "binary tensors are not read" in answer["error"]
    assert service.get("/v2/models/payments/ready") == service.get("/v2/health/ready") == {"ready": True}
    status, answer = service.post("/v2/models/rain/infer", body)
    assert status == 404 and "/v2/models/payments/infer" in answer["error"]


def test_one_tensor_for_all_columns(scorer):
    lines = [list(map(float, ROW.values()))] * 2
    expected = parse(json.dumps({"instances": lines}).encode(), scorer, Reading())
    for data in (lines, [value for line in lines for value in line]):
        got = parse_tensors({"inputs": [tensor("x", data, shape=[2, 5])]}, scorer, Reading())
        np.testing.assert_array_equal(got.numbers, expected.numbers)


@pytest.mark.prove
def test_tritons_client_is_answered(service, rows):
    """A client of the protocol that nobody here wrote."""
    client = pytest.importorskip("tritonclient.http", reason="pip install 'tritonclient[http]'")
    triton = client.InferenceServerClient(service.url.removeprefix("http://"))
    assert triton.is_server_live() and triton.is_server_ready() and triton.is_model_ready("payments")
    inputs = []
    for column in triton.get_model_metadata("payments")["inputs"]:
        inputs.append(client.InferInput(column["name"], [len(rows)], column["datatype"]))
        values = rows[column["name"]].to_numpy(dtype=object if column["datatype"] == "BYTES" else np.float64)
        inputs[-1].set_data_from_numpy(values, binary_data=False)
    outputs = [client.InferRequestedOutput("probabilities", binary_data=False)]
    for wanted in (outputs, None):
        answer = triton.infer("payments", inputs, request_id="mine", outputs=wanted, parameters={"durable": True})
        assert answer.get_response()["id"] == "mine"
        expected = service.place.model.predict_proba(rows)
        np.testing.assert_allclose(answer.as_numpy("probabilities"), expected, rtol=0, atol=1e-6)
    with pytest.raises(Exception, match=r"\[400\] column 'kind' is missing"):
        triton.infer("payments", inputs[:1])


GOOD = [tensor(name, [float(value)]) for name, value in ROW.items()]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "the body must be"),
        ({"inputs": [GOOD[0] | {"name": 5}]}, "an input's name is 5"),
        ({"inputs": [GOOD[0] | {"shape": "1"}]}, "shape is '1'"),
        ({"inputs": [GOOD[0] | {"datatype": None}]}, "has no datatype"),
        ({"inputs": [GOOD[0] | {"data": None}]}, "has no data"),
        ({"inputs": [GOOD[0] | {"data": [[1], 2]}]}, "a list of lists and values"),
        ({"inputs": [GOOD[0] | {"shape": [3]}]}, r"holds 1 values, and shape \[3\] has 3"),
        ({"inputs": GOOD[:-1]}, "column 'fog' is missing"),
        ({"inputs": [*GOOD, GOOD[0]]}, "the same name"),
        ({"inputs": [*GOOD, tensor("hail", [1.0])]}, "unknown column 'hail'"),
        ({"inputs": [*GOOD[:-1], tensor("fog", [1.0, 0.0])]}, "holds 2 values of shape .*, others 1"),
        ({"inputs": [tensor("x", [1.0, 2.0])]}, r"shape \[2\] is not \[2, 5\]"),
        ({"inputs": [tensor("x", [], shape=[0, 5])]}, "hold no rows"),
        ({"inputs": [GOOD[0] | {"parameters": {"binary_data_size": 8}}]}, "binary tensors are not read"),
        ({"inputs": GOOD, "parameters": [1]}, "parameters must be an object"),
        ({"inputs": GOOD, "parameters": {"durable": 1}}, "durable is 1"),
    ],
)
def test_bad_tensors_are_refused_by_name(scorer, body, words):
    with pytest.raises(InputError, match=words):
        parse_tensors(body, scorer, Reading())
    assert tensors_extent(json.dumps(body).encode(), 0)[0] >= 1


def test_an_output_that_is_not_there_is_named(service):
    status, answer = service.post("/v2/models/payments/infer", {"inputs": [], "outputs": [{"name": "proba"}]})
    assert status == 400 and "no output 'proba'" in answer["error"]


# ---------------------------------------------------------------------- the page


def fields(schema: Any, page: Any, value: Any, where: str = "") -> Iterator[str]:
    """The places of the schemas that a value fills."""
    if "$ref" in schema:
        where = schema["$ref"].rsplit("/", 1)[1]
        schema = page["components"]["schemas"][where]
    for part in schema.get("anyOf", schema.get("oneOf", ())):
        if jsonschema.Draft202012Validator(page | part).is_valid(value):
            yield from fields(part, page, value, where)
    if isinstance(value, dict):
        for name, inner in schema.get("properties", {}).items():
            if name in value:
                yield f"{where}.{name}"
                yield from fields(inner, page, value[name], f"{where}.{name}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for each in value:
            yield from fields(schema["items"], page, each, where)


def every(page: Any) -> set[str]:
    """All places of the schemas."""

    def within(schema: Any, where: str) -> Iterator[str]:
        for part in schema.get("anyOf", schema.get("oneOf", ())):
            yield from within(part, where)
        for name, inner in schema.get("properties", {}).items():
            yield f"{where}.{name}"
            yield from within(inner, f"{where}.{name}")
        if isinstance(schema.get("items"), dict):
            yield from within(schema["items"], where)

    return {place for name, schema in page["components"]["schemas"].items() for place in within(schema, name)}


def test_the_page_is_valid_and_each_of_its_routes_and_fields_is_true(place, serve_in_thread, forms, tmp_path):
    rows = place.model.reference.iloc[:2]
    params = {"event_time": ["2026-01-05T10:00:00Z"] * 2, "prediction_ids": ["a", "b"], "durable": True}
    inputs = [tensor(name, rows[name].tolist()) | {"parameters": {}} for name in rows]
    infer = {"id": "x", "inputs": inputs, "outputs": [{"name": "probabilities", "parameters": {}}], "parameters": {}}
    full = split() | {"stray": 1}
    full["dataframe_split"] |= {"index": [0]}
    sent: dict[str, list[Any]] = {
        "/invocations": [
            forms.split(rows) | {"params": params},
            *(form(rows) | {"params": {}} for form in (forms.records, forms.instances, forms.inputs)),
            full,
            {},
        ],
        "/feedback": [{"prediction_ids": ["a"], "labels": [1]}, {}],
        "/v2/models/weather/infer": [infer],
    }
    filled: set[str] = set()
    with serve_in_thread(place.config(queue_bytes=0, durable_s=0.1)) as service:
        page = service.get("/openapi.json")
        validate(page)
        assert {path: {m.upper() for m in ops} for path, ops in page["paths"].items()} == {
            path: {route.method} for path, route in service.app.routes.items()
        }
        for path, operations in page["paths"].items():
            for method, operation in operations.items():
                assert (method == "post") == (path in sent)
                for body in sent.get(path, [None]):
                    filled |= set(exercised(service, page, path, operation, body))
        service.app.pages.ready = False
        status, answer = service.ask("/ready", None)
        assert (status, answer) == (503, {"ready": False})
    assert every(page) - filled == set()


def exercised(service, page: Any, path: str, operation: Any, body: Any) -> Iterator[str]:
    """Send a body; it and the answer are as the page says."""
    if body:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.Draft202012Validator(page | schema).validate(body)
        yield from fields(schema, page, body)
    request = urllib.request.Request(service.url + path, None if body is None else json.dumps(body).encode())
    if body is not None:
        request.add_header("Content-Type", "application/json")
    status, answer = service.ask(path, request.data)
    given = operation["responses"].get(str(status), operation["responses"]["default"])
    for content in given.get("content", {}).values() if not isinstance(answer, str) else ():
        jsonschema.Draft202012Validator(page | content["schema"]).validate(answer)
        yield from fields(content["schema"], page, answer)


def payloads(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Bodies and their content types, good and bad."""
    whole = {"dataframe_split": frame.to_dict(orient="split")}
    records = frame.to_dict(orient="records")
    bodies: list[Any] = [
        whole,
        {"dataframe_records": records},
        {"instances": records},
        {"inputs": frame.to_dict(orient="list")},
        whole | {"params": {"temperature": 0.1}, "stray": 1},
        {"dataframe_records": [row | {"extra": 1} for row in records]},
        {"dataframe_records": [{"dew": 1.0}]},
        {"dataframe_split": {"columns": ["temperature"], "data": [["x"]]}},
        {"dataframe_records": [{}]},
        {"a": 1},
        [1],
    ]
    return [
        *((json.dumps(body), "application/json") for body in bodies),
        (frame.to_csv(index=False), "text/csv"),
        (json.dumps(whole), "application/json; charset=utf-8"),
        (json.dumps(whole), "application/json; charset=utf-16"),
        ("{", "application/json"),
        ("x", "application/xml"),
    ]


def test_mlflows_own_client_and_server_agree_with_it(tmp_path, serve_in_thread, monkeypatch):
    """The same payloads to MLflow's scoring function for the registered model, and to the service."""
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode
    from mlflow.pyfunc.scoring_server import invocations
    from mlflow.pyfunc.scoring_server.client import ScoringServerClient

    ws = copied(tmp_path / "home")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ws.settings.tracking_uri)  # not set_tracking_uri, which stays
    peer = mlflow.pyfunc.load_model(f"models:/{NAME}/Production")
    frame = toys(5, 1).drop(columns="y")
    config = ServingConfig.of(NAME, ws.settings)
    (ws.settings.rules / f"{NAME}.yaml").write_text("serve: {extra_columns: ignore}")
    with serve_in_thread(config) as service:
        for text, kind in payloads(frame):
            status, answer = service.post("/invocations?format=frame", text.encode(), Content_Type=kind)
            try:
                theirs = invocations(text.encode(), kind, peer, peer.metadata.get_input_schema())
                expected, body = theirs.status, theirs.response
            except MlflowException as error:
                expected, body = error.get_http_status_code(), error.serialize_as_json()
            assert status == expected, (text[:60], kind, answer, body)
            if status == 200:
                ours, others = (pd.DataFrame(each["predictions"]) for each in (answer, json.loads(body)))
                pd.testing.assert_frame_equal(ours, others, atol=1e-6)
            else:
                assert ErrorCode.Value(answer["error_code"]) and answer["message"]
        client = ScoringServerClient(*service.address)
        client.ping()
        got = client.invoke(frame).get_predictions()
        np.testing.assert_allclose(got.to_numpy(), peer.predict(frame).to_numpy(), atol=1e-6)
    ws.table.close()
    assert all(ErrorCode.Value(code) for code in _CODES.values())
