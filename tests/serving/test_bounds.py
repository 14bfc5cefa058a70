"""Whatever a client sends, it costs the others nothing: limits, time and length."""

from __future__ import annotations

import json
import select
import socket
import urllib.error
import urllib.request
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from selfheal.errors import InputError
from selfheal.model import MonitoredModel
from selfheal.serving import log_state, protocol, repeats
from selfheal.serving.base import Base
from selfheal.serving.log import LogWriter
from selfheal.serving.requests import Reading, parse
from selfheal.serving.scorer import Scorer
from selfheal.table import InferenceTable, Pointer
from tests.serving.conftest import network, payments, weather_model
from tests.serving.test_log import row, until

ROW = [1.0, 2.0, 3.0, 4, True]
LONG = "x" * 1_000_000
CHUNKED = b"POST /invocations HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n"


def scorer_of(model: MonitoredModel) -> Scorer:
    adapter = model.adapter
    pointer = Pointer("m", 1, 1, model.digest, adapter.to_bytes(), adapter.digest, datetime.now(UTC), False)
    return Scorer.on(Base.of(model), pointer)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return scorer_of(weather_model())


class Counted(str):
    """A name that counts how often it is compared."""

    compared = 0

    def __eq__(self, other: object) -> bool:
        Counted.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (lambda names: {"dataframe_split": {"columns": [*names, names[-1]], "data": []}}, "unknown column"),
        (lambda names: {"dataframe_records": [dict.fromkeys(names, 1)]}, "unknown column"),
        (lambda names: {"inputs": {name: [1] for name in names}}, "unknown column"),
        (
            lambda names: {"instances": [ROW] * (len(names) + 1), "params": {"prediction_ids": [*names, names[-1]]}},
            "appears twice",
        ),
    ],
)
def test_nothing_is_worse_than_linear(scorer, monkeypatch, of, words):
    names = [Counted(f"c{i}") for i in range(4_000)]
    monkeypatch.setattr("selfheal.serving.requests._decode", lambda body: of(names))
    Counted.compared = 0
    with pytest.raises(InputError, match=words):
        parse(b"", scorer, Reading())
    assert Counted.compared < 10 * len(names)


def test_a_key_that_comes_twice_is_found_in_one_pass():
    names = [Counted(f"c{i}") for i in range(4_000)]
    Counted.compared = 0
    with pytest.raises(InputError, match="the key 'c3999' twice"):
        repeats._once([(name, 1) for name in [*names, names[-1]]])
    assert Counted.compared < 10 * len(names)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_split": {"columns": [LONG], "data": [[1]]}},
        {"instances": [[LONG, 1, 1, 1, True]]},
        {"instances": [ROW], "params": {"durable": LONG}},
        {"instances": [ROW], "params": {"event_time": [LONG]}},
        {"instances": [ROW], "params": {"prediction_ids": [LONG]}},
        {"dataframe_records": [{**dict.fromkeys(["temp", "dew", "pressure", "wind", "fog"], 1), LONG: 1}]},
    ],
    ids=["column", "value", "durable", "time", "id", "records"],
)
def test_an_error_is_short_however_long_what_it_is_about(scorer, body):
    with pytest.raises(InputError) as caught:
        parse(json.dumps(body).encode(), scorer, Reading())
    assert len(str(caught.value)) < 600


def test_what_is_ignored_is_told_in_short(scorer):
    body = {"instances": [ROW], LONG: 1, "params": {LONG: 1}} | {f"k{i}": 1 for i in range(1_000)}
    ignored = parse(json.dumps(body).encode(), scorer, Reading()).ignored
    assert ignored and len(str(ignored)) < 3_000


@pytest.mark.parametrize(
    ("reading", "words"), [(Reading(rows=2), "3 rows, more than 2"), (Reading(text=3), "of more than 3 char")]
)
def test_rows_and_texts_are_bounded(bases, reading, words):
    scorer = scorer_of(bases("payments")[0])
    rows = [{"amount": 1.0, "kind": "card", "v1": 0.5}] * 3
    parse(json.dumps({"instances": rows}).encode(), scorer, Reading(rows=3, text=4))
    with pytest.raises(InputError, match=words):
        parse(json.dumps({"instances": rows}).encode(), scorer, reading)


@pytest.mark.parametrize("bound", ["turn_s", "large"])
def test_what_cannot_be_computed_in_time_is_turned_away_before_any_work(place, serve_in_thread, forms, bound):
    body = json.dumps(forms.split(place.model.reference.iloc[:3])).encode()
    with serve_in_thread(place.config(inline_bytes=0, **{bound: 0})) as service:
        request = urllib.request.Request(service.url + "/invocations", body, {"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(request, timeout=10)
        with caught.value as error:
            assert (error.code, error.headers["Retry-After"]) == (429, "1")
            told = json.loads(error.read())
        assert told["error_code"] == "REQUEST_LIMIT_EXCEEDED" and "nothing was done, send it again" in told["message"]
        health = service.get("/health")
        assert (health["log"]["rows_waiting"], health["log"]["rows_written"], service.get("/ping")) == (0, 0, "\n")


@pytest.mark.parametrize("when_full", ["answer", "refuse"])
def test_full_of_rows_the_policy_says_whether_to_answer(place, serve_in_thread, forms, tmp_path, when_full):
    (tmp_path / "weather.yaml").write_text(f"log: {{when_full: {when_full}}}")
    body = forms.split(place.model.reference.iloc[:2])
    with serve_in_thread(place.config(queue_bytes=0, rules=tmp_path)) as service:
        status, answer = service.post("/invocations", body)
        assert (status, answer.get("logged")) == ((200, False) if when_full == "answer" else (503, None))
        assert service.get("/health")["log"]["rows_dropped"] == (2 if when_full == "answer" else 0)
        for durable in ({"params": {"durable": True}}, {}):
            status, answer = service.post("/invocations", body | durable, X_Log="durable")
            assert status == 503 and "not committed" in answer["message"]


@pytest.mark.parametrize("kind", ["none", "scaler", "union"])
def test_one_huge_value_refuses_no_other_row(kind):
    model = weather_model(kind)
    scorer = scorer_of(model)
    body = {"instances": [ROW, [1e308, *ROW[1:]], ROW, [*ROW[:1], -1e308, *ROW[2:]]]}
    request = parse(json.dumps(body).encode(), scorer, Reading())
    proba = scorer.proba(request.numbers, request.words)
    assert np.isfinite(proba).all()
    assert proba[[0, 2]] == pytest.approx(model.predict_proba(pd.DataFrame([ROW] * 2, columns=model.features)))
    assert request.numbers[1, 0] == 1e308, "it is logged as it was sent"


@pytest.mark.parametrize("null", [None, np.nan], ids=str)
def test_a_null_in_a_text_column_that_knows_null_is_scored(null):
    rows = payments()
    rows.loc[::7, "kind"] = null
    parts = ColumnTransformer(
        [("numbers", StandardScaler(), ["v1", "amount"]), ("kinds", OneHotEncoder(sparse_output=False), ["kind"])]
    ).fit(rows.drop(columns="fraud"))
    d = len(rows["kind"].dropna().unique()) + 3
    model = MonitoredModel(*network(d, 3, 1), reference=rows, target="fraud", preprocess=parts, name="payments")
    scorer = scorer_of(model)
    for kind in (None, float("nan")):
        body = {"dataframe_records": [{"amount": 10.0, "kind": kind, "v1": 0.5}]}
        request = parse(json.dumps(body).encode(), scorer, Reading())
        expected = model.predict_proba(pd.DataFrame([{"amount": 10.0, "kind": null, "v1": 0.5}]))
        assert scorer.proba(request.numbers, request.words) == pytest.approx(expected, abs=1e-6)


def test_one_large_request_is_not_lost_beside_a_short_queue(tmp_path):
    table = InferenceTable(f"sqlite:///{tmp_path}/t.db")
    table.create("m", {"x": "float"}, (0, 1))
    log = LogWriter(table, "m", 10_000)
    assert log.put([row("first")])
    assert log.put([row(f"r{i}") for i in range(1_000)])
    assert not log.put([row("late")]), "now the bound is reached"
    assert not log.put([row("later")])
    assert log.state.lost_recently and log.state.dropped == 2
    log.start()
    log.close()
    table.close()
    assert (log.state.written, log.state.dropped) == (1_001, 2)


def test_text_counts_as_what_it_is(tmp_path):
    table = InferenceTable(f"sqlite:///{tmp_path}/t.db")
    log = LogWriter(table, "m", 100_000)
    assert log.put([row("a")], text=200_000)
    assert not log.put([row("b")])


def test_a_loss_is_a_complaint_for_a_while_and_a_number_for_ever(place, serve_in_thread, forms, monkeypatch):
    with serve_in_thread(place.config(queue_bytes=0)) as service:
        status, answer = service.post("/invocations", forms.split(place.model.reference.iloc[:2]))
        assert (status, answer["logged"]) == (200, False)
        assert "2 answered rows were dropped" in str(service.get("/health")["reasons"])
        monkeypatch.setattr(log_state, "RECENT_S", 0.0)
        health = service.get("/health")
        assert (health["status"], health["log"]["rows_dropped"]) == ("ok", 2)


def test_an_error_is_read_by_mlflows_clients(place, serve_in_thread):
    with serve_in_thread(place.config(body_bytes=100)) as service:
        for path, body in (("/invocations", {}), ("/nowhere", {}), ("/invocations", {"inputs": "x" * 200})):
            status, answer = service.post(path, body)
            assert status >= 400
            assert answer["message"] == answer["error"] and answer["error_code"]


def raw(service, data: bytes) -> bytes:
    """What comes back, until the other side closes."""
    with socket.create_connection(service.address, timeout=20) as connection:
        try:
            connection.sendall(data)
            told = b""
            while part := connection.recv(65_536):
                told += part
        except ConnectionError:
            pass
        return told


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b" 408 "),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\n", b" 408 "),
        (b"POST /invocations HTTP/1.1\r\nHost: x\r\ncontent-length: 100\r\n\r\n{", b" 408 "),
        (b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000, b" 431 "),
        (b"GET /" + b"y" * 200_000, b" 431 "),
        (CHUNKED + b"1\r\n{\r\n0\r\n" + b"X: y\r\n" * 40_000, b" 431 "),
        (CHUNKED + b"1;x=" + b"y" * 200_000, b" 431 "),
    ],
    ids=[
        "nothing",
        "half of the headers",
        "half of the body",
        "a long header",
        "a long path",
        "headers after the body",
        "words beside a chunk",
    ],
)
def test_a_request_that_does_not_end_is_not_waited_for(place, serve_in_thread, monkeypatch, sent, status):
    monkeypatch.setattr(protocol, "SEND_S", 0.3)
    with serve_in_thread(place.config()) as service:
        assert status in raw(service, sent)
        assert service.get("/ping") == "\n"


def test_a_request_that_trickles_is_not_waited_for(place, serve_in_thread, monkeypatch):
    monkeypatch.setattr(protocol, "SEND_S", 0.3)
    with serve_in_thread(place.config()) as service, socket.create_connection(service.address, timeout=20) as slow:
        slow.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nX: ")
        assert until(lambda: ended(slow, b"y"), 10)


def ended(connection: socket.socket, data: bytes) -> bool:
    """Send something more; whether the other side has answered or closed."""
    try:
        connection.sendall(data)
    except ConnectionError:
        return True
    return bool(select.select([connection], [], [], 0.0)[0])


def test_a_connection_that_is_kept_is_not_closed_while_it_works(place, serve_in_thread, monkeypatch):
    monkeypatch.setattr(protocol, "SEND_S", 0.2)
    with serve_in_thread(place.config()) as service, socket.create_connection(service.address, timeout=5) as kept:
        for _ in range(3):
            kept.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            told = b""
            while not told.endswith(b"\r\n\r\n\n"):
                told += kept.recv(4096)
            assert b" 200 " in told
            assert not until(lambda: False, 0.15)
