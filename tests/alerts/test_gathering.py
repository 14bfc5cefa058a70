"""What is told: one message for each change of state, whoever looks and however often."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from selfheal.alerts import finished, tell
from selfheal.alerts.conditions import ills, of_windows, quiet
from selfheal.alerts.gathering import gather
from selfheal.alerts.journaled import NOTES
from selfheal.alerts.message import body
from selfheal.errors import InputError
from selfheal.loop import alerts, logged, monitor, questions
from selfheal.serving import reconciler
from selfheal.serving.reconciler import Rounds
from selfheal.steering import approve, promote
from selfheal.steering.approvals import APPROVAL
from selfheal.steering.reconciler import reconcile
from selfheal.steering.trusts import TRUST
from selfheal.steering.waits import HELD
from selfheal.table.database import Database
from selfheal.table.heartbeat import STALE_S
from selfheal.table.schema import ALERT_MARKS
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send
from tests.table.test_heartbeat import let_pass

FAR = START + timedelta(days=30)
N = 200


def told(ws) -> list[str]:
    """Kinds of all alerts so far; with a tick those of conditions that are over."""
    return [row.record["kind"] + ("'" if row.record["over"] else "") for row in ws.table.outbox.alerts(NAME)]


def write(ws, text: str) -> None:
    (ws.settings.rules / f"{NAME}.yaml").write_text(text)


def test_the_kinds_of_entries_are_those_that_are_written():
    assert {questions.FACT, HELD, APPROVAL, "freeze", "unfreeze", alerts.ALERT, TRUST} == NOTES.keys()
    assert {logged.LOG, logged.LABELS} == {"log", "log labels"}


@pytest.mark.xdist_group("loop")
def test_windows_are_told_when_they_turn_and_not_one_by_one(ws, sink):
    write(ws, POLICY)
    frames = [rows(N, 1), *(rows(N, k).assign(wind=7.0) for k in (2, 3)), rows(N, 4)]
    frames += [in_celsius(rows(N, k), "temperature", "dew") for k in (5, 6)]
    for k, frame in enumerate(frames):
        send(ws, frame, k * N)
        (cycle,) = monitor(ws, NAME, FAR)
    assert told(ws) == ["data_fault", "data_fault'", "promoted"]
    fault, _, healed = ws.table.outbox.alerts(NAME)
    assert fault.record["what"].startswith("window 1: data fault: column 'wind'")
    assert fault.record["since"] == (START + timedelta(seconds=N)).isoformat()
    assert healed.record["run"] == cycle.heal.run_id and healed.record["version"] == cycle.heal.version
    assert len(sink.taken) == 3, "the run itself tells"
    page = body(healed, "http://ann:secret@mlflow:5000/")
    assert f"see: http://mlflow:5000/#/models/toy/versions/{cycle.heal.version}" in page


def test_what_a_window_shows_stands_since_the_first_that_shows_it():
    quiet = {"decision": "stable", "start": "2026-01-01T00:00:00+00:00", "at": "", "index": 0, "reasons": []}
    drift = quiet | {"decision": "alarm", "confirmed": True, "reasons": ["data: 54 of the bound"]}
    first, second = drift | {"index": 1, "start": "2026-01-01T01:00:00+00:00"}, drift | {"index": 3}
    few = quiet | {"decision": "too_few", "index": 2}
    found = of_windows(NAME, [quiet, first, few, second, few])["alarm"]
    assert found.what == "window 3: drift, confirmed and not undone: data: 54 of the bound"
    assert found.since == datetime(2026, 1, 1, 1, tzinfo=UTC) and found.done == "nothing was healed"
    assert of_windows(NAME, [first, quiet]) == {} == of_windows(NAME, [few])
    healed = {"promoted": True, "decision": "promote"}
    assert ills(drift | {"heal": healed}) == ills(drift | {"watch": {"rolled_back": True}}) == {}
    assert list(ills(drift | {"failed_heal": ["temp"]})) == ["alarm", "degraded"]
    held = {"held": True, "version": 2, "against": 1, "reasons": ["r"]}
    assert ills(drift | {"watch": held}) == {"worse": "version 2 is worse than 1: r"}


def test_two_names_are_asked_for_and_a_move_by_one_is_told(ws):
    write(ws, POLICY.replace("release: {", "release: {approvers: 2, "))
    approve(ws, NAME, 2, "ada")
    gather(ws, NAME)
    (row,) = ws.table.outbox.alerts(NAME)
    assert row.record["what"] == "version 2 was approved by ada; 2 names are needed"
    assert row.record["next"] == "selfheal approve toy 2 --as NAME"
    ws.registry.transition(NAME, 3, "Production")
    reconcile(ws, NAME)
    gather(ws, NAME)
    assert told(ws) == ["approval", "approval"]
    alone = ws.table.outbox.alerts(NAME)[1].record
    assert alone["what"] == "version 3 serves, in the place of 1, with too few approvals"
    assert "1 of 2 approvals" in alone["done"]


def test_a_policy_that_is_invalid_and_nobody_at_the_stages(ws, monkeypatch):
    monkeypatch.setattr(reconciler, "BEAT_S", 0.0)
    rounds = Rounds(ws, NAME)
    write(ws, POLICY.replace("vote: 1", "vot: 1"))
    for _ in range(2):
        rounds.go()
        gather(ws, NAME)
    assert told(ws) == ["policy"] and "vot" in ws.table.outbox.alerts(NAME)[0].record["what"]
    write(ws, POLICY)
    rounds.go()
    gather(ws, NAME)
    let_pass(ws.settings.database_url, STALE_S + 1)
    for _ in range(2):
        gather(ws, NAME)
    rounds.go()
    gather(ws, NAME)
    assert told(ws) == ["policy", "policy'", "reconciler", "reconciler'"]


def test_a_monitor_that_falls_silent_is_told_by_whoever_lives(ws):
    write(ws, POLICY.replace("monitor: {", "monitor: {every: 10m, "))
    gather(ws, NAME)
    assert told(ws) == [], "nothing is known of one that never ran"
    finished(ws, NAME)
    gather(ws, NAME)
    for minutes in (20, 12):  # within three runs and a minute, and beyond
        with closing(Database(ws.settings.database_url)) as database, database.write() as connection:
            there = ALERT_MARKS.c.mark == "ran"
            connection.execute(ALERT_MARKS.update().where(there).values(at=ALERT_MARKS.c.at - minutes * 60_000_000))
        for _ in range(2):
            gather(ws, NAME)
        assert told(ws) == ([] if minutes == 20 else ["monitor"])
    assert "(limit 31 minutes)" in ws.table.outbox.alerts(NAME)[0].record["what"]
    finished(ws, NAME)
    gather(ws, NAME)
    assert told(ws) == ["monitor", "monitor'"]


def test_a_log_that_stops_growing_is_told_until_it_grows(ws):
    for state, reasons in (("silent", ["it has stopped growing"]), ("silent", ["still"]), ("read", [])):
        ws.table.journal_note(NAME, "log", {"state": state, "reasons": reasons}, state, ws.clock())
        gather(ws, NAME)
    assert told(ws) == ["log", "log'"]


def test_rows_that_stop_coming_are_told_unless_it_is_a_replay_or_the_night():
    hour, now = timedelta(hours=1), START + timedelta(hours=30)
    spans = [(START + k * hour, START + (k + 1) * hour) for k in (*range(8), *range(18, 24))]  # ten hours of night
    end = spans[-1][1]
    for handled, at, silent in (
        (end, end + 20 * hour, False),
        (end, end + 21 * hour, True),
        (now + 99 * hour, now + 99 * hour, False),
    ):
        found = quiet(NAME, spans, handled, at)
        assert (found is not None) == silent
    assert "no window has closed since 2026-01-02 00:00 UTC" in quiet(NAME, spans, end, end + 21 * hour).what
    assert quiet(NAME, spans[-1:], end, end + 4 * hour) is not None and quiet(NAME, [], end, end) is None


def test_a_day_is_summed_up_once_where_it_is_asked_for(ws, caplog):
    promote(ws, NAME, 2, "ann")
    daily = replace(ws, settings=replace(ws.settings, alerts_digest="00:00"))
    for _ in range(2):
        gather(daily, NAME)
    assert told(ws) == ["promoted", "digest"]
    summary = ws.table.outbox.alerts(NAME)[1].record["what"]
    assert summary == "version 2 serves; 0 windows; changes: 1 adopted, 1 promote"
    wrong = replace(ws, settings=replace(ws.settings, alerts_digest="7"))
    with pytest.raises(InputError, match="write HH:MM"):
        gather(wrong, NAME)
    tell(wrong, NAME)
    assert "SELFHEAL_ALERTS_DIGEST is '7'" in caplog.text
