"""What was acknowledged as durable is there; a failing database never stops scoring."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from selfheal.errors import NotFoundError, UnavailableError
from selfheal.serving import create_app
from selfheal.serving.log import LogWriter
from selfheal.table import InferenceTable, WindowRef

ALWAYS = WindowRef("m", 0, datetime(1960, 1, 1, tzinfo=UTC), datetime(2900, 1, 1, tzinfo=UTC), 0, 1, False)


def until(true, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.02)
    return False


def test_kill_minus_nine_loses_no_row_that_was_taken(plain, serve_in_process, forms):
    """Rows that were answered, durably or not, while the database is locked again and again; then the kill."""
    place = plain
    rows = place.model.reference.iloc[:3]
    answered: dict[bool, list[str]] = {True: [], False: []}
    with serve_in_process(place) as service:

        def ask(worker: int) -> None:
            durable = worker == 0
            for number in range(10_000):
                params = {"prediction_ids": [f"w{worker}-{number}-{row}" for row in range(3)], "durable": durable}
                try:
                    status, answer = service.post("/invocations", forms.split(rows) | {"params": params})
                except (OSError, http.client.HTTPException, ValueError):
                    return
                if status == 200 and answer.get("logged", True):
                    answered[durable].extend(answer["prediction_ids"])

        threads = [threading.Thread(target=ask, args=(worker,)) for worker in range(3)]
        for thread in threads:
            thread.start()
        assert until(lambda: len(answered[True]) > 15, 60)
        with contextlib.closing(sqlite3.connect(place.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            held = len(answered[False])
            assert until(lambda: len(answered[False]) > held + 300, 60)
            service.process.kill()
            for thread in threads:
                thread.join(30)
            service.process.wait(30)
            other.execute("ROLLBACK")
    assert len(list(place.spill.iterdir())) >= 1
    before = set(place.logged().index)
    assert set(answered[True]) <= before, "what was acknowledged as durable is there already"
    assert not set(answered[False]) <= before
    with place.table() as table:
        log = LogWriter(table, place.name, 10**6, place.spill)
        log.start()
        assert until(lambda: not list(place.spill.iterdir()))
        log.close()
    after = place.logged().index
    assert set(answered[False]) <= set(after) and after.is_unique


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_database_removed_while_scoring_goes_on(place, serve_in_thread, forms, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    body = forms.split(place.model.reference.iloc[:5])
    with serve_in_thread(place.config(poll_s=0.05, queue_bytes=8_000, durable_s=0.3)) as service:
        assert service.post("/invocations", body | {"params": {"durable": True}})[0] == 200
        away = []
        for path in place.database.parent.glob("state.db*"):
            away.append((path, path.rename(path.with_name("gone-" + path.name))))
        for _ in range(8):
            assert service.post("/invocations", body)[0] == 200
        assert until(lambda: len(service.get("/health")["reasons"]) >= 3)
        health = service.get("/health")
        assert health["status"] == "degraded"
        assert health["log"]["rows_waiting"] == 20 and health["log"]["rows_dropped"] == 20
        told = " ".join(health["reasons"])
        assert "the pointer cannot be followed" in told and "20 answered rows were dropped" in told
        assert "state.db cannot be used" in told
        assert not place.database.exists()
        status, answer = service.post("/invocations", body | {"params": {"durable": True}})
        assert status == 503 and "send them again with the same prediction ids" in answer["error"]
        status, answer = service.post("/feedback", {"prediction_ids": ["a"], "labels": [1]})
        assert status == 503 and "cannot be used" in answer["error"]
        for path, moved in away:
            moved.rename(path)
        assert until(lambda: service.get("/health")["log"]["rows_waiting"] == 0)
        assert service.post("/invocations", body | {"params": {"durable": True}})[0] == 200
        metrics = service.get("/metrics")
    assert 'selfheal_log_rows_dropped_total{model="weather"} 20' in metrics
    assert len(place.logged()) == 5 + 20 + 5


class Flaky(InferenceTable):
    """A real table whose appends fail while told to, and which refuses one row for good."""

    down = False

    def append_rows(self, model, rows):
        if self.down:
            raise UnavailableError("down")
        if any(row[0] == "poison" for row in rows):
            raise ValueError("this row cannot be")
        super().append_rows(model, rows)


@pytest.fixture
def flaky(tmp_path: Path):
    table = Flaky(f"sqlite:///{tmp_path}/t.db")
    table.create("m", {"x": "float"}, (0, 1))
    yield table
    table.close()


def row(name: str):
    return (name, 0, 1.0, 0.5, 0.5, 1, 0.1)


def test_one_impossible_row_costs_only_itself(flaky, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    log = LogWriter(flaky, "m", 10**6)
    for name in ("a", "b", "poison", "c", "d"):
        log.put([row(name)])
    log.start()
    log.close()
    assert (log.state.written, log.state.refused, log.state.waiting) == (4, 1, 0)
    assert sorted(flaky.read(ALWAYS).frame.index) == ["a", "b", "c", "d"]


def test_rows_wait_out_an_outage_in_order(flaky, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    flaky.down = True
    log = LogWriter(flaky, "m", 700)
    log.start()
    assert [log.put([row(name)]) for name in "abcd"] == [True, True, True, False]
    assert until(lambda: log.state.failing_since is not None)
    assert (log.state.waiting, log.state.dropped, log.state.error) == (3, 1, "down")
    flaky.down = False
    assert until(lambda: log.state.waiting == 0)
    assert log.state.failing_since is None and log.state.error == ""
    log.close()
    assert flaky.read(ALWAYS).frame.index.tolist() == ["a", "b", "c"]


def test_a_durable_row_of_a_poisoned_group_is_told_the_truth(flaky, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")

    async def both():
        log = LogWriter(flaky, "m", 10**6)
        waiting = [asyncio.create_task(log.put_durably([row(name)], 0, 5)) for name in ("good", "poison")]
        await asyncio.sleep(0)
        log.start()
        told = await asyncio.gather(*waiting)
        await asyncio.to_thread(log.close)
        return told

    assert asyncio.run(both()) == [True, False]


def test_what_health_and_metrics_tell(place, serve_in_thread, forms):
    with serve_in_thread(place.config()) as service:
        assert service.get("/ping") == "\n"
        service.post("/invocations", forms.split(place.model.reference.iloc[:4]))
        service.post("/invocations", {})
        health = service.get("/health")
        assert health["status"] == "ok" and health["reasons"] == []
        assert (health["model"], health["model_version"], health["adapter"]) == ("weather", 1, "none")
        assert 0 <= health["pointer_age_s"] < 10
        assert until(lambda: service.get("/health")["log"]["rows_written"] == 4)
        text = service.get("/metrics")
        assert 'selfheal_requests_total{model="weather",path="/invocations",status="200"} 1' in text
        assert 'selfheal_requests_total{model="weather",path="/invocations",status="400"} 1' in text
        assert 'selfheal_request_seconds_bucket{model="weather",le="+Inf"} 1' in text
        assert 'selfheal_log_rows_written_total{model="weather"} 4' in text
        version = service.get("/version")
        assert version["model_version"] == 1 and version["base_digest"] == place.model.digest
        assert json.dumps(version)


def test_a_pointer_that_is_not_read_any_more_is_told(place, serve_in_thread):
    with serve_in_thread(place.config(poll_s=60, stale_s=0.1)) as service:
        assert until(lambda: "the pointer was last read" in str(service.get("/health")["reasons"]))


def test_a_model_that_was_never_adopted_is_named(place, bases):
    import dataclasses

    config = dataclasses.replace(place.config(), model="whether")
    with pytest.raises(NotFoundError, match="no model 'whether' has been adopted"):
        create_app(config)
