"""Who may ask, what the logs say of it, and counters on a port of their own."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from pathlib import Path

import pytest

from selfheal.errors import InputError, RefusedError
from selfheal.serving import keys, lines
from selfheal.serving.http import StatusError
from selfheal.serving.keys import Keys, keys_for
from selfheal.serving.scorer import Scorer
from tests.serving.test_refusals import split

ALL, SCORE, READ = "a-key-for-everything", "a-key-to-score", "a-key-to-read"


def digest(key: str) -> str:
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture(scope="module")
def service(adopt_in, serve_in_thread, tmp_path_factory):
    place = adopt_in("weather", tmp_path_factory.mktemp("keys"))
    held = Keys(f"{digest(ALL)} score+feedback={SCORE},read={digest(READ)}")
    with serve_in_thread(place.config(keys=held)) as service:
        yield service


@pytest.mark.parametrize(
    ("path", "body", "allowed"),
    [
        ("/invocations", split(), {ALL, SCORE}),
        ("/feedback", {"prediction_ids": [], "labels": []}, {ALL, SCORE}),
        ("/v2/models/weather/infer", {}, {ALL, SCORE}),
        ("/health", None, {ALL, READ}),
        ("/metrics", None, {ALL, READ}),
        ("/version", None, {ALL, READ}),
        ("/openapi.json", None, {ALL, READ}),
        ("/v2", None, {ALL, READ}),
        ("/ping", None, {ALL, SCORE, READ, "", "another-key"}),
        ("/ready", None, {ALL, SCORE, READ, "", "another-key"}),
        ("/v2/health/ready", None, {ALL, SCORE, READ, "", "another-key"}),
    ],
)
def test_a_key_opens_what_it_is_good_for(service, path, body, allowed):
    body = None if body is None else json.dumps(body).encode()
    for key in (ALL, SCORE, READ, "", "another-key"):
        status, answer = service.ask(path, body, **(bearer(key) if key else {}))
        if key in allowed:
            assert status in (200, 400), (key, answer)
        else:
            assert status == (403 if key in (SCORE, READ) else 401), (key, answer)
            assert key == "" or key not in str(answer)
    assert service.ask(path, body, X_API_Key=ALL)[0] in (200, 400)


def test_every_route_has_a_scope_and_an_unknown_path_tells_nothing(service):
    assert {route.scope for route in service.app.routes.values()} == {"", *keys.SCOPES}
    status, answer = service.ask("/nowhere", None)
    assert status == 401 and "invocations" not in str(answer)
    assert service.ask("/nowhere", None, **bearer(READ))[0] == 404


def test_keys_change_while_it_runs(tmp_path: Path, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    monkeypatch.setattr(keys, "LOOK_S", 0.0)
    file = tmp_path / "keys.txt"
    held = None

    def told(text: str, *asked: str) -> list[bool]:
        nonlocal held
        file.write_text(text)
        os.utime(file, ns=(len(text), len(text)))
        held = held or Keys(f"@{file}")
        out = []
        for key in asked:
            try:
                held.admit({"headers": [(b"x-api-key", key.encode())]}, "score")
                out.append(True)
            except StatusError:
                out.append(False)
        return out

    assert told(f"{digest('first')}  # of ada\n", "first", "second", "") == [True, False, False]
    assert told(f"# both\n{digest('first')}\n{digest('second')}\n", "first", "second") == [True, True]
    assert told(f"{digest('second')}\n", "first", "second") == [False, True]
    assert told("second-as-it-is\n", "first", "second") == [False, True], "what is no digest changes nothing"
    file.unlink()
    assert held._look() is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("short", "has 5 characters, fewer than 8"),
        ("sha256:12ab", "key 1 is no digest"),
        (f"{'k' * 20} admin=x", "key 2 has 7 characters"),
        ("score= ", "key 1 has 6 characters"),
        (",", "there is no key"),
        ("@nowhere.txt", "cannot be read"),
    ],
)
def test_keys_that_cannot_be_read_are_refused_and_not_quoted(text, words):
    with pytest.raises(InputError, match=words) as caught:
        Keys(text)
    assert "k" * 20 not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "environ", "asks"),
    [
        ("127.0.0.1", {}, False),
        ("::1", {}, False),
        ("localhost", {}, False),
        ("127.0.0.1", {"SELFHEAL_API_KEYS": ALL}, True),
        ("0.0.0.0", {"SELFHEAL_API_KEYS": ALL}, True),
        ("0.0.0.0", {"SELFHEAL_AUTH": "off"}, False),
        ("0.0.0.0", {}, None),
        ("scoring.example", {}, None),
        ("127.0.0.1", {"SELFHEAL_AUTH": "on"}, None),
    ],
)
def test_an_open_interface_without_keys_is_refused(host, environ, asks):
    if asks is None:
        with pytest.raises(RefusedError, match="set SELFHEAL_API_KEYS, or SELFHEAL_AUTH=off"):
            keys_for(host, environ)
    else:
        assert (keys_for(host, environ) is not None) == asks
    with pytest.raises(InputError, match="SELFHEAL_AUTH is 'no'"):
        keys_for(host, {"SELFHEAL_AUTH": "no"})


def test_no_log_line_holds_a_value_or_a_key(place, serve_in_thread, monkeypatch):
    """Good rows, refused ones, a bug in the middle of a row: what was sent is in no line."""
    sink = io.StringIO()
    handler = logging.StreamHandler(sink)
    handler.setFormatter(lines.JsonLines())
    loggers = [logging.getLogger(name) for name in ("selfheal", lines.REQUESTS)]
    monkeypatch.setattr(loggers[1], "level", logging.INFO)
    loggers[0].addHandler(handler)
    try:
        with serve_in_thread(place.config(keys=Keys(ALL))) as service:
            for body in (split(temp=31.41592), split(temp="Ms. Miller"), split(hail=27.1828), b"Ms. Miller"):
                service.post("/invocations", body, **bearer(ALL))
            service.ask("/Miller?key=Miller", None, **bearer("Miller-guesses"))

            def broken(self, numbers, words, **more):
                raise ArithmeticError(f"Ms. Miller at {numbers[0, 0]}")

            monkeypatch.setattr(Scorer, "proba", broken)
            assert service.post("/invocations", split(temp=31.41592), **bearer(ALL))[0] == 500
    finally:
        loggers[0].removeHandler(handler)
    told = [json.loads(line) for line in sink.getvalue().splitlines()]
    asked = [line for line in told if line["logger"] == lines.REQUESTS]
    assert [(line["path"], line["status"], line["rows"]) for line in asked] == [
        ("/invocations", 200, 1), *[("/invocations", 400, 0)] * 3, ("other", 401, 0), ("/invocations", 500, 0),
    ]  # fmt: skip
    assert {"time", "level", "message", "ms", "version", "model"} <= set(asked[0])
    assert asked[0]["key"] == digest(ALL).removeprefix("sha256:")[:8] and asked[4]["key"] is None
    assert any("ArithmeticError at" in line["message"] and "in broken" not in line["message"] for line in told)
    for secret in ("Miller", "31.4159", "27.1828", ALL):  # long enough for no time of day to hold them
        assert secret not in sink.getvalue()


def test_counters_on_a_port_of_their_own(place, serve_in_thread, serve_app):
    with serve_in_thread(place.config(metrics_apart=True, keys=Keys(ALL))) as service:
        assert service.ask("/metrics", None, **bearer(ALL))[0] == 404
        service.post("/invocations", split(), **bearer(ALL))
        with serve_app(service.app.counters()) as counters:
            status, text = counters.ask("/metrics", None, **bearer(ALL))
            assert status == 200 and 'path="/invocations",status="200"} 1' in text
            assert counters.ask("/metrics", None)[0] == 401
            assert counters.get("/ping") == "\n"
            assert counters.post("/invocations", split(), **bearer(ALL))[0] == 404
