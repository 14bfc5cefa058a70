"""What waits in Staging scores a share of the requests after their answers; nobody who asks can tell."""

from __future__ import annotations

import contextlib
import json
from http.client import HTTPConnection

import numpy as np
import pytest

from selfheal.serving import create_app, shadow
from selfheal.table.shadows import Shadowed
from tests.serving.conftest import weather
from tests.serving.test_log import until

ROWS = weather(40).drop(columns="rain")


@pytest.fixture
def told(place, adapters_of, forms, tmp_path, serve_app):
    """A service, told of versions 2 and 3 in Staging by a policy with that share; its threads are not started."""

    @contextlib.contextmanager
    def made(share: float):
        (tmp_path / "weather.yaml").write_text(f"release: {{shadow: {share}}}")
        staged = adapters_of(place.model)
        with place.table() as table:
            served = [place.model.with_adapter(staged[name]).adapter for name in ("map", "offset")]
            shadows = [Shadowed(2 + n, place.model.digest, "", a.to_bytes(), a.digest) for n, a in enumerate(served)]
            table.shadows.set(place.name, shadows)
        app = create_app(place.config(rules=tmp_path))
        app.shadow.turn()
        app.log.start()
        try:
            with serve_app(app, proxy_headers=False) as service:
                yield service, app.shadow
        finally:
            app.close()

    def body(*names: str, rows=ROWS[:2]) -> bytes:
        return json.dumps(forms.split(rows) | {"params": {"prediction_ids": list(names)}}).encode()

    return made, body


def answered(service, body: bytes, **headers: str) -> bytes:
    """On a connection that is kept, so that it may be answered at the desk."""
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(HTTPConnection(*service.address, timeout=20)) as connection:
        connection.request("POST", "/invocations", body, headers)
        return connection.getresponse().read()


def test_an_answer_is_the_same_bit_for_bit_and_what_the_shadows_said_is_kept_apart(place, told):
    made, body = told
    asked = [body("a", "b"), body("c", "d", rows=ROWS[2:4])]
    with made(0.0) as (service, beside):
        alone = [answered(service, each) for each in asked]
        assert beside.versions == []
    with made(1.0) as (service, beside):
        assert [answered(service, each) for each in asked] == alone
        answered(service, body("e", "f", rows=ROWS[4:6]), X_Log="durable")  # which takes the other way
        assert until(lambda: len(beside._queue) == 3), "after the answer"
        beside.turn()
        assert beside.versions == [2, 3] and beside.state.rows == 12 and beside.state.dropped == 0
        counted = service.get("/metrics")
        assert 'selfheal_shadow_rows_total{model="weather"} 12' in counted
        assert service.get("/health")["shadow"]["versions"] == [2, 3]
    with place.table() as table:
        schema = table.schema(place.name)
        always = (place.logged()["event_time"].min(), place.logged()["event_time"].max().replace(year=2900))
        for version, model in zip((2, 3), beside.scorers, strict=True):
            said = table.shadows.answers(schema, version, 1, *always)
            order = np.argsort(said.served[:, 0])
            want = place.model.predict_proba(ROWS[:6])
            assert np.allclose(said.served[order], want[np.argsort(want[:, 0])], atol=1e-6)
            assert np.allclose(
                said.shadow[order], model.model.predict_proba(ROWS[:6])[np.argsort(want[:, 0])], atol=1e-6
            )
        assert table.shadows.answers(schema, 2, 9, *always).shadow.shape == (0, 2), "of another version's answers none"
        assert table.shadows.counts(schema) == {2: 6, 3: 6}
        table.shadows.forget(schema, always[1])
        assert table.shadows.counts(schema) == {}
    assert len(place.logged()) == 6, "the log counts what was served alone"


@pytest.mark.parametrize(("bound", "most"), [("QUEUE_ROWS", 3), ("QUEUE_BYTES", 1)])
def test_what_there_is_no_room_for_or_cannot_be_kept_is_counted_and_delays_nobody(
    place, told, monkeypatch, bound: str, most: int
):
    made, body = told
    monkeypatch.setattr(shadow, bound, most)
    with made(1.0) as (service, beside):
        for name in "ace":
            answered(service, body(name, name * 2))
        assert until(lambda: beside.state.dropped == 4)
        with place.table() as table, table._database.write() as held:
            held.exec_driver_sql("CREATE TABLE shadow_weather (other INTEGER)")
        beside.turn()
        assert beside.state.dropped == 6 and beside.state.error
        assert json.loads(answered(service, body("g", "h")))["model_version"] == 1
        assert until(lambda: len(beside._queue) == 1), "there is room again"


def test_of_a_large_request_some_rows_are_scored(place, told, monkeypatch):
    made, body = told
    monkeypatch.setattr(shadow, "REQUEST_ROWS", 4)
    with made(1.0) as (service, beside):
        answered(service, body(*(f"n{n}" for n in range(12)), rows=ROWS[:12]))
        assert until(lambda: len(beside._queue) == 1)
        beside.turn()
        assert beside.state.rows == 8
        with place.table() as table, table._database.read() as connection:
            kept = connection.exec_driver_sql("SELECT prediction_id, s_0 FROM shadow_weather WHERE model_version = 2")
            said = dict(tuple(row) for row in kept)
    want = place.model.predict_proba(ROWS[:12])[:, 0]
    assert said == {f"n{n}": pytest.approx(want[n]) for n in (0, 3, 6, 9)}


def test_a_share_of_the_requests_is_scored(told, monkeypatch):
    made, body = told
    with made(0.25) as (service, beside):
        chances = iter([0.1, 0.9, 0.2, 0.5])
        beside._chance = lambda: next(chances)
        for name in "aceg":
            answered(service, body(name, name * 2))
        assert until(lambda: next(chances, None) is None) and len(beside._queue) == 2


def test_a_version_of_another_base_does_not_score(place, told):
    made, _ = told
    with made(1.0) as (_, beside), place.table() as table:
        held = table.shadows.load(place.name)
        table.shadows.set(place.name, [held[0], Shadowed(4, "other", "", held[1].adapter, held[1].adapter_digest)])
        beside._due = 0.0
        beside.turn()
        assert beside.versions == [2]
