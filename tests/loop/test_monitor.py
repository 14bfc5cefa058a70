"""The whole loop on a small model: drift comes, is confirmed, healed, released, watched, and goes again."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from selfheal.cli.standing import standing
from selfheal.drift.report import _evidently
from selfheal.loop import clear, monitor, status
from selfheal.serving.gaps import NO_ROOM
from selfheal.steering import promote
from selfheal.steering.look import last_look
from selfheal.table.values import to_us
from tests.loop.given import FAR, MOST
from tests.loop.given import WINDOW as N
from tests.steering.given import NAME, POLICY, START, in_celsius, kinds, rows, send, stages, workspace_at

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once


def feed(ws, frame, at: int) -> None:
    send(ws, frame, at * N)


@pytest.fixture
def natural(ws):
    """Six healthy windows."""
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    for k in range(6):
        feed(ws, rows(N, 100 + k), k)
    return ws


def cost(asked, what: str) -> None:
    """What a window asked is within its bounds.

    A look asks MLflow for the versions and the aliases; the rest is the run, its numbers, its files, two stages with
    their history, and an alias.
    """
    calls, statements = MOST[what]
    assert asked.mlflow.total() <= calls, (what, asked.mlflow)
    assert asked.statements["selfheal.db"] <= statements, (what, asked.statements)


def told_now(ws, healed: int, foretold) -> None:
    """What is expected is of the version that serves, not of the rows as the one before read them."""
    before = ws.table.cycles(NAME, last=1)[0]["estimate"]["reason"]
    assert "values that the reference never had" in before or "too far from the reference" in before
    found = status(ws, NAME)["estimate"]
    assert found["accuracy"][0] == foretold["expected_accuracy_healed"] > 0.8
    assert found["reason"].startswith(f"version {healed} has answered no window yet: foretold by its heal of window 7")
    (line,) = [line for line in standing(status(ws, NAME)) if line.startswith("  expected")]
    assert line.endswith("without labels, assuming: sensor, undone in window 7")


def test_the_loop(natural, asked):
    ws = natural
    cycles = monitor(ws, NAME, FAR)
    assert [c.decision.kind in ("stable", "drift") for c in cycles] == [True] * 6
    assert len(ws.table.recent(NAME, 12)) >= 5
    assert monitor(ws, NAME, FAR) == [], "a window is processed once"

    # The temperatures arrive in °C: one window alarms, the second confirms and heals.
    for k, what in ((6, "alarm"), (7, "heal")):
        feed(ws, in_celsius(rows(N, 200 + k), "temperature", "dew"), k)
        asked.clear()
        (cycle,) = monitor(ws, NAME, FAR)
        cost(asked, what)
    assert cycle.decision.kind == "heal", cycle.record["reasons"]
    assert cycle.heal.failure == ""
    assert (cycle.heal.decision, cycle.heal.diagnosis) == ("promote", "sensor"), cycle.heal
    assert set(cycle.heal.words) == {"temperature: °C → °F", "dew: °C → °F"}
    assert cycle.heal.promoted
    healed = cycle.heal.version
    assert ws.registry.production(NAME) == [healed]
    assert ws.table.pointer(NAME).version == healed
    told = {v: ws.registry.version(NAME, v).tags["history"].partition(" UTC ")[2] for v in (healed, 1)}
    assert told[healed].startswith("Production, promote by flow: sensor: ")
    assert told[1].startswith("Archived, promote by flow: sensor: ")
    told_now(ws, healed, cycle.heal.numbers)

    # Seen through the new map nothing alarms, and the watch finds it better.
    for k, what, process in ((8, "watch begins", ws), (9, "watch ends", workspace_at(ws.settings.home))):
        feed(ws, in_celsius(rows(N, 292 + k), "temperature", "dew"), k)
        asked.clear()
        (cycle,) = monitor(process, NAME, FAR)
        assert not cycle.decision.alarm, cycle.record["reasons"]
        assert cycle.watch.verdict == "better"
        cost(asked, what)
    process.table.close()

    # A watch run that somebody deletes is made anew.
    with ws.registry._door.asked("delete a run") as client:
        client.delete_run(cycle.record["run"])
    feed(ws, in_celsius(rows(N, 302), "temperature", "dew"), 10)
    (again,) = monitor(ws, NAME, FAR)
    assert again.record["mlflow"] == "" and again.record["run"] != cycle.record["run"]

    found = status(ws, NAME)
    assert found["production"]["version"] == healed
    assert found["healthy"], found["health"]


def test_asking_for_one_version_asks_for_one(ws, asked):
    assert ws.registry.version(NAME, 3).version == 3
    assert +asked.mlflow == {"get_model_version": 1}


def test_what_waits_for_an_audit_is_not_released_by_its_like(natural):
    ws = natural  # version 2, in Staging, is the same map and was once judged fit for promotion
    (ws.settings.rules / "toy.yaml").write_text(POLICY.replace("max_changed: 0.9", "max_changed: 0.1"))
    for k in (6, 7):
        feed(ws, in_celsius(rows(N, 200 + k), "temperature", "dew"), k)
    cycle = monitor(ws, NAME, FAR)[-1]
    assert cycle.heal.decision == "audit"
    assert not cycle.heal.promoted and "audit" in cycle.heal.note
    assert ws.registry.production(NAME) == [1]
    assert status(ws, NAME)["audit_pending"] == [cycle.heal.version]
    feed(ws, in_celsius(rows(N, 208), "temperature", "dew"), 8)
    again = monitor(ws, NAME, FAR)[-1]
    assert again.heal.version == cycle.heal.version, "no second version of the same heal"
    assert again.record["health"] == "unhealthy"

    # A person knows that °C is here to stay, and that the model may be judged so.
    for k in (6, 7, 8):
        clear(ws, NAME, k, "ann", "the new station")
    assert ws.table.cycles(NAME, last=1)[0]["health"] == "cleared"
    assert ws.table.journal(NAME)[-1].intent["actor"] == "ann"
    feed(ws, in_celsius(rows(N, 209), "temperature", "dew"), 9)
    assert not monitor(ws, NAME, FAR)[-1].decision.alarm


@pytest.mark.draws
def test_a_report_that_cannot_be_drawn_is_said_and_the_loop_decides(natural, monkeypatch):
    def fails(*_: object, **__: object) -> None:
        raise ValueError("evidently is beside itself")

    _evidently()  # by the door that knows its warnings
    for k, part in ((5, "report"), (6, "metrics.page")):  # the numbers, then the page
        with monkeypatch.context() as patched:
            patched.setattr(f"selfheal.drift.report.{part}", fails)
            cycle = monitor(natural, NAME, FAR)[-1]
        assert cycle.decision.kind == "stable" and cycle.record["drift"] == {}
        assert f"window {k} has no drift report; the log says why" in status(natural, NAME)["health"]
        feed(natural, rows(N, 106), 6)


def test_an_evidently_workspace_has_every_window_or_says_why_not(ws, tmp_path):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    places = tmp_path / "no folder", tmp_path / "folder"
    places[0].write_text("")
    for k, place in enumerate(places):
        feed(ws, rows(N, 300 + k), k)
        (cycle,) = monitor(replace(ws, settings=replace(ws.settings, evidently=str(place))), NAME, FAR)
        assert cycle.decision.kind in ("stable", "drift") and bool(cycle.record["evidently"]) == (place == places[0])
    told = standing(status(ws, NAME))
    assert any(line.startswith("  evidently 1 of the last windows were not published: no run in") for line in told)
    (run,) = places[1].glob("*/snapshots/*.json")
    assert '"window 1: ' in run.read_text()


def test_a_wrong_promotion_by_a_person_is_rolled_back(natural):
    ws = natural
    monitor(ws, NAME, FAR)
    ws.registry.transition(NAME, 2, "Production")  # °C to °F, on data that are in °F
    monitor(ws, NAME, FAR)
    assert ws.registry.production(NAME) == [2], "obeyed"
    feed(ws, rows(N, 400), 6)
    (cycle,) = monitor(ws, NAME, FAR)
    assert cycle.watch.verdict == "worse" and cycle.watch.rolled_back
    assert cycle.heal is None
    assert ws.registry.production(NAME) == [1]
    assert [k for k in kinds(ws) if k in ("manual", "rollback")] == ["manual", "rollback"]
    assert last_look(ws, NAME).quarantined == {2}
    newest, oldest = ws.registry.version(NAME, 2).tags["history"].splitlines()
    assert "UTC Archived, rollback by watch: window 6: " in newest and "UTC Production, manual by " in oldest
    feed(ws, rows(N, 401), 7)
    (cycle,) = monitor(ws, NAME, FAR)
    assert cycle.decision.kind in ("stable", "drift") and not cycle.decision.alarm
    assert cycle.watch.verdict == "none", "what was rolled back is nothing to be compared with"
    assert stages(ws)[2] == "Archived"


def test_a_pinned_one_is_not(natural):
    ws = natural
    monitor(ws, NAME, FAR)
    promote(ws, NAME, 2, "ann", pin=True)
    feed(ws, rows(N, 400), 6)
    (cycle,) = monitor(ws, NAME, FAR)
    assert cycle.watch.verdict == "worse" and not cycle.watch.rolled_back
    assert "pinned" in " ".join(cycle.watch.reasons)
    # Before patience has confirmed anything: through a wrong map nothing is healthy.
    assert cycle.record["failed_heal"][0].startswith("dew lies at ") and not cycle.decision.confirmed
    assert cycle.record["health"] == "unhealthy"
    assert any(ill.startswith("degraded: window 6: dew lies") for ill in status(ws, NAME)["health"])
    assert ws.registry.production(NAME) == [2]


def test_a_data_fault_is_loud_and_heals_nothing(natural):
    ws = natural
    monitor(ws, NAME, FAR)
    feed(ws, rows(N, 500).assign(wind=3.0), 6)
    (cycle,) = monitor(ws, NAME, FAR)
    assert cycle.decision.kind == "data_fault"
    assert "wind" in cycle.record["reasons"][0]
    assert cycle.heal is None
    assert "alert" in kinds(ws)
    assert "wind" in ws.registry.version(NAME, 1).tags["alert"]
    assert not status(ws, NAME)["healthy"]


def test_what_the_service_refused_is_a_data_fault_and_never_vanishes(natural):
    ws = natural
    monitor(ws, NAME, FAR)
    feed(ws, rows(N, 500), 6)
    ws.table.refusals.add(NAME, {(to_us(START + timedelta(seconds=6 * N)), "null", "dew"): 50})
    ws.table.refusals.add(NAME, {(to_us(START + timedelta(seconds=6 * N)), "malformed", ""): 7})
    ws.table.gaps.put(NAME, "a process", {(to_us(START + timedelta(seconds=6 * N)), NO_ROOM): 9})
    (cycle,) = monitor(ws, NAME, FAR)
    assert cycle.decision.kind == "data_fault"
    assert "50 of 257 rows were refused by the service: null in 'dew'" in cycle.record["reasons"][0]
    assert cycle.record["refused"][1] == {"reason": "malformed", "column": "", "rows": 7}
    assert cycle.record["dropped"] == [{"reason": NO_ROOM, "rows": 9}]
    found = status(ws, NAME)
    assert found["refused"] == found["dropped"] == [] and found["cycles"][-1]["dropped"] == cycle.record["dropped"]
    assert any("200 in the last window, 9 dropped, 57 refused" in line for line in standing(found))

    # Then every row is refused: no window will come, and that is said.
    ws.table.refusals.add(NAME, {(to_us(START + timedelta(seconds=8 * N)), "null", "dew"): 5})
    found = status(ws, NAME)
    assert found["refused"] == [{"reason": "null", "column": "dew", "rows": 5}]
    assert "since the last window every row was refused: 5 rows: null 'dew'" in found["health"]
    assert any("5 rows since the last window: null dew" in line for line in standing(found))
    ws.table.gaps.put(NAME, "a process", {(to_us(START + timedelta(seconds=8 * N)), NO_ROOM): 4})
    found = status(ws, NAME)
    assert found["dropped"] == [{"reason": NO_ROOM, "rows": 4}]
    assert any("refused or answered without being logged: 5 rows: null 'dew'; 4 rows" in ill for ill in found["health"])
    assert f"  dropped   4 rows answered since the last window are not logged: {NO_ROOM}" in standing(found)


def test_after_a_pause_only_the_newest_window_heals(natural):
    ws = natural
    for k in (6, 7, 8):
        feed(ws, in_celsius(rows(N, 200 + k), "temperature", "dew"), k)
    cycles = monitor(ws, NAME, FAR)
    assert [c.decision.kind for c in cycles[6:]] == ["drift", "alarm", "heal"]
    assert "only the newest" in " ".join(cycles[7].decision.reasons)


def test_mlflow_away_is_a_note_and_the_loop_goes_on(natural):
    ws = natural
    monitor(ws, NAME, FAR)
    (ws.settings.home / "mlflow.db").rename(ws.settings.home / "away.db")
    (ws.settings.home / "mlflow.db").mkdir()
    from tests.steering.given import workspace_at

    alone = workspace_at(ws.settings.home)
    feed(alone, rows(N, 600), 6)
    (cycle,) = monitor(alone, NAME, FAR)
    assert "the MLflow store" in cycle.record["mlflow"]
    assert cycle.record["health"] == "healthy"
    assert status(alone, NAME)["mlflow"]
    alone.table.close()
