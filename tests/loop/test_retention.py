"""Old rows go, and whatever somebody may still ask for stays."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from selfheal import loop
from selfheal.errors import InputError, PolicyError
from selfheal.loop import retention
from selfheal.loop.context import load
from selfheal.policy import Policy
from selfheal.table import retention as batches
from tests.flows.adopted import POLICY, copied
from tests.steering.given import HEALS, NAME, START, rows, send, serving_model

KEEP = "log: {keep: 1d}\n"
DAY = timedelta(days=1)
LENGTH = 200  # rows of a window, a second each


def held(ws) -> set[int]:
    """Numbers of the windows' worths of rows that the table holds."""
    with ws.table._database.read() as connection:
        ids = connection.exec_driver_sql(f"SELECT prediction_id FROM predictions_{NAME}").scalars()
        return {int(name[1:]) // LENGTH for name in ids}


@pytest.fixture
def ws(tmp_path: Path, monkeypatch):
    """Six windows handled, a seventh half full; the last two are asked for by everybody."""
    monkeypatch.setattr(retention, "LATEST", 2)
    monkeypatch.setattr(batches, "BATCH_ROWS", 150)
    ws = copied(tmp_path / "home")
    send(ws, rows(6 * LENGTH + 100, 1), 0)
    ws.table.add_labels(NAME, ["r0", "r450", "never"], [1, 1, 1], START)
    with ws.table._database.write() as connection:
        for index in range(6):
            first = index * LENGTH
            bounds = [START + timedelta(seconds=second) for second in (first, first + LENGTH)]
            start, end = (int(at.timestamp() * 1e6) for at in bounds)
            connection.exec_driver_sql(
                "INSERT INTO cycles (model, window_index, start_us, end_us, after_seq, last_seq, row_count, joined, "
                f"too_few, record) VALUES ('{NAME}', {index}, {start}, {end}, {first}, {first + LENGTH}, {LENGTH}, 1, "
                """0, '{"decision": "stable", "reasons": [], "health": "healthy", "version": 1}')"""
            )
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY + KEEP)
    yield ws
    ws.table.close()


def forget(ws, after: timedelta = 2 * DAY):
    return retention.forget_old(load(ws, NAME, until=START + after))


def test_old_rows_and_their_labels_go_once_a_day(ws):
    assert forget(ws, DAY / 2) == (0, False), "nothing is older than a day yet"
    assert forget(ws, DAY) is None, "it was looked for half a day ago"
    assert forget(ws) == (4 * LENGTH, False)
    assert held(ws) == {4, 5, 6}
    said = ws.table.journal(NAME, kind=retention.RETENTION)
    assert [entry.outcome["result"] for entry in said] == ["0 rows deleted", "800 rows deleted"]
    with ws.table._database.read() as connection:
        labelled = connection.exec_driver_sql("SELECT prediction_id FROM labels").scalars().all()
    assert labelled == ["never"], "one that waits for its row stays"
    with pytest.raises(InputError, match=r"window 1 of 'toy' holds no rows any more \(log.keep\)"):
        loop.heal_window(ws, NAME, ws.table.window(NAME, 1))


def test_a_machine_whose_clock_is_ahead_deletes_nothing_for_that(ws):
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY + "log: {keep: 36500d}\n")
    ahead = replace(ws, clock=lambda: datetime.now(UTC) + timedelta(days=73_000))
    assert retention.forget_old(load(ahead, NAME)) == (0, False)
    assert held(ws) == set(range(7))


def test_a_window_that_was_not_handled_stays_and_all_after_it(ws):
    with ws.table._database.write() as connection:
        connection.exec_driver_sql("UPDATE cycles SET record = NULL WHERE window_index = 1")
    assert forget(ws) == (LENGTH, False)
    assert held(ws) == {1, 2, 3, 4, 5, 6}


@pytest.mark.parametrize(("stage", "stays"), [("Archived", {1, 4, 5, 6}), ("Staging", {1, 2, 3, 4, 5, 6})])
def test_the_rows_of_versions_stay(ws, stage, stays):
    model, _ = serving_model(ws, NAME)
    tags = {"parent": 1, "window": 1, "verdict": "audit", "diagnosis": "sensor"}
    version = ws.registry.register(NAME, model.with_adapter(HEALS[0]).adapter, tags=tags)
    ws.registry.transition(NAME, version, stage)
    assert forget(ws).rows == LENGTH * (7 - len(stays))
    assert held(ws) == stays


def test_much_is_deleted_in_several_runs(ws, monkeypatch):
    monkeypatch.setattr(retention, "ROWS", 300)
    assert forget(ws) == (300, True)
    assert forget(ws) == (300, True), "the same day, for it was not done"
    assert forget(ws) == (200, False) and forget(ws) is None
    assert held(ws) == {4, 5, 6}


def test_a_monitor_run_does_it(ws):
    loop.monitor(ws, NAME, START + 2 * DAY)
    assert held(ws) == {4, 5, 6}


def test_without_the_key_everything_stays(ws):
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    assert forget(ws) is None
    assert held(ws) == set(range(7))


def test_mlflow_away_nothing_is_deleted(ws, monkeypatch, caplog):
    serving = load(ws, NAME, until=START + 2 * DAY)
    Path(ws.settings.home / "mlflow.db").unlink()
    assert retention.forget_old(serving) is None and "old rows were not deleted" in caplog.text
    assert held(ws) == set(range(7))


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ({"keep": "90d", "from": "scored"}, "this log is its owner's, and nothing is ever deleted there"),
        ({"keep": "1h"}, "keep: 1h is too short"),
        ({"rename": {"a": "b"}}, "rename: the own table needs none; name the log that it is about in log.from"),
        ({"table": "t"}, "table: 't' was given, and no database"),
        ({"when_full": "wait"}, "when_full"),
    ],
)
def test_a_log_that_cannot_be_is_refused(log, words):
    with pytest.raises(PolicyError, match=words):
        Policy.load({"log": log})
    own = Policy.load({"log": {"keep": "90d", "when_full": "refuse"}})
    assert own.foreign is None and Policy.load(yaml.safe_load(own.to_yaml())) == own
