"""Bad input: refused by name with the remedy, nothing logged, and scoring goes on."""

from __future__ import annotations

import http.client
import json
import logging
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from selfheal.errors import InputError, UnavailableError
from selfheal.following.batch import score_file
from selfheal.serving import refusals
from selfheal.serving.log import LogWriter
from selfheal.serving.requests import Reading, parse
from selfheal.table import InferenceTable, Refusal
from selfheal.table.database import Database
from selfheal.table.refusals import Refusals
from tests.serving.conftest import payments_model
from tests.serving.test_log import until
from tests.serving.test_scoring import scorer_of


class Away(Refusals):
    """Counts that cannot be written while told so."""

    down, asked = False, 0

    def add(self, model, counts):
        self.asked += 1
        if self.down:
            raise UnavailableError("down")
        super().add(model, counts)


@pytest.fixture
def flaky(tmp_path):
    table = InferenceTable(f"sqlite:///{tmp_path}/t.db")
    table.create("m", {"x": "float"}, (0, 1))
    table.refusals = Away(Database(f"sqlite:///{tmp_path}/t.db"))
    yield table
    table.close()


@pytest.fixture(scope="module")
def service(adopt_in, serve_in_thread, tmp_path_factory):
    place = adopt_in("weather", tmp_path_factory.mktemp("refusals"))
    with serve_in_thread(place.config()) as service:
        service.place = place
        yield service


ROW = {"temp": 50.0, "dew": 40, "pressure": 30.1, "wind": 5, "fog": False}


def split(**changes):
    row = ROW | changes
    return {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}}


def without(name):
    return {"dataframe_records": [{k: v for k, v in ROW.items() if k != name}]}


FUTURE = (datetime.now(UTC) + timedelta(days=2)).isoformat()

REFUSED = {
    "unknown column": (split(tmep=1.0), "unknown column 'tmep'; did you mean 'temp'?"),
    "the target": (split(rain=1), "unknown column 'rain' (it is what the model predicts; leave it out"),
    "missing column": (without("dew"), "column 'dew' is missing"),
    "a record of no columns": ({"dataframe_records": [{}]}, "column 'temp' is missing"),
    "a split of no columns": ({"dataframe_split": {"columns": [], "data": [[]]}}, "column 'temp' is missing"),
    "misspelt column": ({"dataframe_records": [{k.upper(): v for k, v in ROW.items()}]}, "unknown column 'TEMP'"),
    "text in a number": (split(temp="warm"), "column 'temp', row 0: 'warm' is not a number"),
    "null": (split(temp=None), "column 'temp', row 0: nan is not a finite number"),
    "NaN": (split(temp=float("nan")), "column 'temp', row 0: nan is not a finite number"),
    "infinity": (split(wind=float("-inf")), "column 'wind', row 0: -inf is not a finite number"),
    "beyond a float": (json.dumps(split(temp="@")).replace('"@"', "1e999").encode(), "column 'temp', row 0: inf"),
    "an endless integer": (split(temp=10**400), "not a"),
    "a list in a number": (split(temp=[1, 2]), "not a number"),
    "no rows": ({"dataframe_split": {"columns": list(ROW), "data": []}}, "holds no rows; send at least one"),
    "no records": ({"dataframe_records": []}, "holds no rows"),
    "no inputs": ({"inputs": {}}, "holds no rows"),
    "not JSON": (b'{"dataframe_split": ', "the body is not JSON"),
    "an empty body": (b"", "the body is not JSON"),
    "not UTF-8": (b'{"inputs": "\xff"}', "the body is not JSON"),
    "a deep hole": (b"[" * 100_000, "the body is not JSON"),
    "no object": ([1], "must be a JSON object with one of dataframe_split"),
    "no form": ({"data": [1]}, "send exactly one of dataframe_split"),
    "two forms": (split() | {"inputs": {}}, "has dataframe_split, inputs"),
    "split without columns": ({"dataframe_split": {"data": [[1]]}}, "an object with columns and data"),
    "split with data that are no rows": ({"dataframe_split": {"columns": list(ROW), "data": [5]}}, "a list of rows"),
    "a column twice": (
        {"dataframe_split": {"columns": [*ROW, "temp"], "data": [[*ROW.values(), 1]]}},
        "names column 'temp' twice",
    ),
    "a form twice": (
        b"%s, %s}" % (json.dumps(split())[:-1].encode(), json.dumps(split(temp=1.0))[1:-1].encode()),
        "has the key 'dataframe_split' twice; send each once",
    ),
    "a record's key twice": (
        json.dumps({"dataframe_records": [ROW, ROW]}).replace('"fog"', '"temp": 3, "fog"').encode(),
        "has the key 'temp' twice",
    ),
    "a param twice": (
        json.dumps(split() | {"params": {"durable": True}}).replace("}}", '}, "params": {}}').encode(),
        "has the key 'params' twice",
    ),
    "a short row": ({"instances": [list(ROW.values())[:-1]]}, "row 0 has 4 values for 5 columns"),
    "a flat list": ({"inputs": list(ROW.values())}, "a list of rows, each a list of 5 values"),
    "unlike records": (
        {"dataframe_records": [ROW, without("dew")["dataframe_records"][0]]},
        "row 1 lacks column 'dew'",
    ),
    "a longer record": ({"dataframe_records": [ROW, ROW | {"hail": 1}]}, "row 1 has column 'hail', which row 0 lacks"),
    "uneven inputs": (
        {"inputs": {k: [v] * (1 + (k == "dew")) for k, v in ROW.items()}},
        "'temp' has 1 values, others 2",
    ),
    "records that are none": ({"dataframe_records": {"temp": [1]}}, "must be a list of objects"),
    "params that are none": (split() | {"params": [1]}, "params must be an object"),
    "durable in words": (split() | {"params": {"durable": "yes"}}, "params.durable is 'yes'; send true or false"),
    "a time too many": (split() | {"params": {"event_time": ["2020-01-01T00:00:00Z"] * 2}}, "a list of 1 times"),
    "a time without zone": (
        split() | {"params": {"event_time": ["2020-01-01T00:00:00"]}},
        "has no time zone; append Z",
    ),
    "a time that is none": (split() | {"params": {"event_time": ["soon"]}}, "'soon', is not a time"),
    "a time as number": (split() | {"params": {"event_time": [1.5e9]}}, "1500000000.0, is not a time"),
    "the year 1": (
        split() | {"params": {"event_time": ["0001-01-01T00:00:00+14:00"]}},
        "event_time of row 0: the event time 0001-01-01T00:00:00+14:00 is not between the years 1678 and 2261",
    ),
    "the year 9999": (split() | {"params": {"event_time": ["9999-12-31T23:00:00-14:00"]}}, "is not between the years"),
    "the future": (split() | {"params": {"event_time": [FUTURE]}}, "is in the future"),
    "ids that are none": (split() | {"params": {"prediction_ids": {"a": 1}}}, "a list of 1 ids"),
    "an empty id": (split() | {"params": {"prediction_ids": [""]}}, "'' is not a prediction id"),
    "an id twice": (
        {"instances": [list(ROW.values())] * 2, "params": {"prediction_ids": ["a", "a"]}},
        "prediction id 'a' appears twice",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_rows_are_refused_by_name(service, case):
    body, words = REFUSED[case]
    status, answer = service.post("/invocations", body)
    assert (status, answer["error_code"]) == (400, "BAD_REQUEST"), answer
    assert words in answer["error"]


def test_afterwards_it_scores_and_nothing_was_logged(service):
    for body, _ in REFUSED.values():
        service.post("/invocations", body)
    assert service.post("/invocations", split() | {"params": {"durable": True, "prediction_ids": ["last"]}})[0] == 200
    assert service.place.logged().index.tolist() == ["last"] or "last" in service.place.logged().index
    assert service.get("/health")["log"]["rows_dropped"] == service.get("/health")["log"]["rows_refused"] == 0


def test_refused_rows_are_counted_by_reason_and_column(place, serve_in_thread):
    rows = [list(ROW.values()), [None, *list(ROW.values())[1:]]]
    at = datetime(2026, 1, 1, 10, tzinfo=UTC)
    times = {"params": {"event_time": [at.isoformat()] * 2}}
    unnamed = split(**{f"new{i}": 1 for i in range(3)} | {"a\x00b" * 100: 1})
    bodies = [
        {"instances": rows} | times,
        without("dew"),
        split(temp="warm"),
        unnamed,
        b"{",
        {"inputs": {"temp": [1] * 7}},
    ]
    with serve_in_thread(place.config()) as service:
        for body in bodies:
            assert service.post("/invocations", body)[0] == 400
        with place.table() as table:
            assert until(lambda: sum(r.rows for r in table.refusals.between("weather")) == 13)
            assert table.refusals.between("weather", at, at + timedelta(minutes=1)) == [Refusal("null", "temp", 2)]
            found = {(r.reason, r.column): r.rows for r in table.refusals.between("weather")}
        metrics = service.get("/metrics")
    assert found == {
        ("null", "temp"): 2,
        ("missing column", "dew"): 8,
        ("not a number", "temp"): 1,
        ("unknown column", "new0"): 1,
        ("malformed", ""): 1,
    }
    assert 'selfheal_refused_rows_total{model="weather",reason="null",column="temp"} 2' in metrics


def test_counts_of_refused_rows_do_not_grow_with_what_clients_make_up(monkeypatch):
    monkeypatch.setattr(refusals, "KINDS", 3)
    monkeypatch.setattr(refusals, "WAITING", 5)
    counter = refusals.RefusalCounter()
    for i in range(10):
        counter.count(InputError("", reason="unknown column", column=f"made up {i}\x00"), 1, i * 60_000_000)
    assert len(counter.totals) == 4 and counter.totals["unknown column", ""] == 7
    assert all(column.isprintable() for _, column in counter.totals)
    taken = counter.take()
    assert len(taken) == 5
    counter.give_back(taken)
    assert counter.take() == taken and not counter.take()


def test_refused_rows_wait_for_the_database(flaky, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    log = LogWriter(flaky, "m", 10**6)
    log.start()
    flaky.refusals.down = True
    log.refuse(InputError("", reason="null", column="x"), 3, 0)
    assert until(lambda: flaky.refusals.asked > 1)
    assert log.state.failing_since is None, "answered rows are logged all the while"
    flaky.refusals.down = False
    assert until(lambda: flaky.refusals.between("m") == [Refusal("null", "x", 3)])
    log.close()


def test_what_has_no_meaning_here_is_ignored_as_by_mlflow_and_told(service):
    body = split() | {"parms": {}, "params": {"event_times": [], "temperature": 0.1}}
    status, answer = service.post("/invocations", body)
    assert (status, answer["ignored"]) == (200, ["parms", "params.event_times", "params.temperature"])
    assert "ignored" not in service.post("/invocations", split())[1]


def test_numbers_as_text_are_numbers_as_the_model_takes_them(service):
    status, answer = service.post("/invocations", split(temp="50.0"))
    assert status == 200
    assert answer["predictions"] == service.post("/invocations", split(temp=50.0))[1]["predictions"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("text/plain", "'text/plain' is not read; send application/json"),
        ("application/jsonp", "is not read"),
        ("application/json; charset=latin-1", "the charset 'latin-1' is not read; send UTF-8"),
        ("text/csv;charset=utf-16", "the charset 'utf-16' is not read"),
    ],
)
@pytest.mark.parametrize("path", ["/invocations", "/feedback"])
def test_other_content_is_refused(service, path, kind, words):
    status, answer = service.post(path, split(), Content_Type=kind)
    assert status == 415 and (words in answer["message"] or path == "/feedback")


@pytest.mark.parametrize(
    "kind", ["application/json", 'Application/JSON; charset="UTF-8"', "text/json;charset=utf8", "a/b+json"]
)
def test_json_by_any_of_its_names_is_read(service, kind):
    assert service.post("/invocations", split(), Content_Type=kind)[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/invocations", 405, "/invocations takes POST, not GET"),
        ("POST", "/ping", 405, "/ping takes GET, not POST"),
        ("GET", "/", 404, "there are /invocations, /feedback"),
    ],
)
def test_wrong_paths_and_methods(service, method, path, status, words):
    connection = http.client.HTTPConnection(*service.address, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    assert response.status == status
    assert words in json.loads(response.read())["error"]
    connection.close()


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_a_body_of_100_mb_is_refused_and_not_kept(service, chunked):
    megabyte = b" " * 2**20
    connection = http.client.HTTPConnection(*service.address, timeout=20)
    headers = {"Content-Type": "application/json"} | ({} if chunked else {"Content-Length": str(100 * 2**20)})
    connection.request("POST", "/invocations", (megabyte for _ in range(100)), headers, encode_chunked=chunked)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    assert response.status == 413
    assert "larger than 32 MiB; send the rows in several requests" in answer["error"]
    assert service.post("/invocations", split())[0] == 200


def test_an_announced_giant_is_refused_before_it_is_sent(service):
    with socket.create_connection(service.address, timeout=10) as raw:
        raw.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n")
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")


def test_a_client_that_leaves_halfway_is_no_harm(service):
    with socket.create_connection(service.address, timeout=10) as raw:
        raw.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert service.post("/invocations", split())[0] == 200


def test_an_event_clock_takes_rows_from_the_future(place, serve_in_thread):
    with serve_in_thread(place.config(event_clock=True)) as service:
        status, _ = service.post("/invocations", split() | {"params": {"event_time": [FUTURE], "durable": True}})
    assert status == 200
    assert len(place.logged()) == 1


def test_feedback_is_stored_pending_or_refused(service):
    service.post("/invocations", split() | {"params": {"prediction_ids": ["known"], "durable": True}})
    told = service.post("/feedback", {"prediction_ids": ["known", "unknown"], "labels": [1, 0]})
    assert told == (200, {"stored": 1, "pending": 1, "refused": 0})
    assert service.place.logged().loc["known", "label"] == 1


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prediction_ids": ["known", 5], "labels": [1, 1]}, "5 is not a prediction id"),
        ({"prediction_ids": ["known"], "labels": [2]}, "label 2 of 'known' is not a class"),
        ({"prediction_ids": ["known"], "labels": []}, "1 prediction ids but 0 labels"),
        ({"prediction_ids": "known", "labels": 1}, "must be lists of equal length"),
        ({"ids": []}, 'must be {"prediction_ids"'),
        (b"{", "not JSON"),
    ],
)
def test_malformed_feedback_is_refused_by_name(service, body, words):
    status, answer = service.post("/feedback", body)
    assert status == 400 and words in answer["error"]


@pytest.mark.parametrize("fast", [True, False])
def test_a_word_that_an_encoder_does_not_know_is_named_with_its_column_its_row_and_the_remedy(fast, tmp_path):
    model = payments_model("error")
    scorer = scorer_of(model)
    assert scorer.path is not None
    scorer = scorer if fast else replace(scorer, path=None)
    rows = model.reference.iloc[:70].assign(kind=lambda f: f.kind.where(f.index < 41, "gift_crad"))
    request = parse(json.dumps({"dataframe_records": rows.to_dict("records")}).encode(), scorer, Reading())
    with pytest.raises(InputError) as told:
        scorer.proba(request.numbers, request.words)
    words = "column 'kind', row 41: 'gift_crad' is a word that the model's encoder does not know and refuses; "
    assert str(told.value).startswith(words + "a new value, or another spelling? ")
    assert (told.value.reason, told.value.column) == ("unknown word", "kind")
    rows.to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(InputError, match=f"in.csv, rows from 0 on: {words}"):
        score_file(model, 1, tmp_path / "in.csv", tmp_path / "out.csv")
