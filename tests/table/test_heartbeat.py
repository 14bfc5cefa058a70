"""When somebody last looked at the stages, and what was found wrong: one row a model, by the database's clock."""

from __future__ import annotations

import time
from contextlib import closing

from selfheal.table import InferenceTable
from selfheal.table.database import Database
from selfheal.table.heartbeat import STALE_S
from selfheal.table.schema import HEARTBEATS
from tests.table.test_upgrade import unversioned


def let_pass(url: str, seconds: float) -> None:
    """As if the newest look had been that much earlier."""
    database = Database(url)
    with database.write() as connection:
        connection.execute(HEARTBEATS.update().values(looked=HEARTBEATS.c.looked - int(seconds * 1e6)))
    database.close()


def test_a_look_that_found_nothing_is_no_complaint(table):
    assert table.heartbeats.last("m") is None
    table.heartbeats.beat("m", "host:1", {})
    beat = table.heartbeats.last("m")
    assert (beat.holder, beat.error, beat.complaints()) == ("host:1", "", {})
    assert 0 <= beat.age < STALE_S and abs(beat.looked.timestamp() - time.time()) < STALE_S


def test_a_trouble_keeps_the_time_at_which_it_was_found(table, url):
    table.heartbeats.beat("m", "host:1", {"policy": "line 3: unknown key"})
    first = table.heartbeats.last("m").troubles["policy"].since
    table.heartbeats.beat("m", "host:2", {"policy": "line 4: unknown key", "production": "nothing can be loaded"})
    beat = table.heartbeats.last("m")
    assert beat.troubles["policy"].since == first and beat.troubles["production"].since >= first
    assert beat.complaints()["policy"] == f"line 4: unknown key (since {first:%Y-%m-%d %H:%M:%S} UTC)"
    table.heartbeats.beat("m", "host:2", {})
    assert table.heartbeats.last("m").complaints() == {}


def test_looks_that_fail_are_told_once_nobody_else_succeeds(table, url):
    table.heartbeats.beat("m", "host:1", {"policy": "line 3"})
    table.heartbeats.miss("m", "host:2", "MLflow cannot be reached")
    assert set(table.heartbeats.last("m").complaints()) == {"policy"}
    let_pass(url, STALE_S + 1)
    told = table.heartbeats.last("m").complaints()
    assert "since" in told["stages"] and "MLflow cannot be reached" in told["stages"] and "policy" in told
    table.heartbeats.beat("m", "host:1", {})
    assert table.heartbeats.last("m").complaints() == {}


def test_a_silent_one_is_named_and_one_that_stopped_on_purpose_is_not(table, url):
    table.heartbeats.miss("m", "host:1", "MLflow cannot be reached")
    assert table.heartbeats.last("m").complaints() == {}
    table.heartbeats.beat("m", "host:1", {})
    let_pass(url, STALE_S + 1)
    assert "the reconciler host:1 says no more" in table.heartbeats.last("m").complaints()["stages"]
    table.heartbeats.end("m", "host:2")
    assert table.heartbeats.last("m") is not None
    table.heartbeats.end("m", "host:1")
    assert table.heartbeats.last("m") is None


def test_a_database_of_before_gets_the_table(url):
    unversioned(url)
    with closing(InferenceTable(url)) as table:
        table.heartbeats.beat("rain-x", "host:1", {})
        assert table.heartbeats.last("rain-x").holder == "host:1"
