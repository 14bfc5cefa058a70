"""Whatever a process was doing when it died, the next start leaves exactly one version in Production."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import replace
from datetime import timedelta

import pytest

from selfheal.registry.lineage import BASE
from selfheal.steering import promote, reconcile, recover, rollback
from selfheal.steering.look import last_look
from tests.steering.conftest import copied
from tests.steering.given import NAME, CrashError, Point, crashing, kinds
from tests.steering.killed import Deaths, carry_out, prepare, slowly

#: intent, version moved in MLflow, that journaled, the old one moved, that journaled, pointer, alias, tags, done
POINTS = range(9)


@pytest.mark.parametrize("at", POINTS)
def test_a_promotion_that_died_is_finished(ws, at):
    reconcile(ws, NAME)
    dying, point = crashing(ws, at)
    with pytest.raises(CrashError):
        promote(dying, NAME, 2, "ann", reason="looks right")
    assert len(point.seen) == at + 1
    assert ws.registry.production(NAME), "never none"
    settled = recover(ws, NAME)
    assert ws.registry.production(NAME) == [settled.version] == [2]
    assert ws.table.pointer(NAME).version == 2
    assert ws.registry.aliases(NAME)["champion"] == 2
    assert ws.table.journal_open(NAME) == []
    assert last_look(ws, NAME).actor == "ann"
    assert kinds(ws) == ["adopted", "promote"], "finished, not taken for somebody else's doing"


@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_rollback_that_died_is_finished(ws, at):
    promote(ws, NAME, 2, "flow", over=1)
    dying, _ = crashing(ws, at)
    with pytest.raises(CrashError):
        rollback(dying, NAME, "watch", reason="worse")
    recover(ws, NAME)
    assert ws.registry.production(NAME) == [1]
    assert last_look(ws, NAME).quarantined == {2}


@pytest.mark.parametrize("at", [0, 1, 3, 5])
def test_a_person_who_acted_after_the_crash_wins(ws, at):
    reconcile(ws, NAME)
    dying, _ = crashing(ws, at)
    with pytest.raises(CrashError):
        promote(dying, NAME, 2, "flow", over=1)
    ws.registry.transition(NAME, 4, "Production")
    recover(ws, NAME)
    assert ws.registry.production(NAME) == [4]
    assert ws.table.pointer(NAME).version == 4
    assert kinds(ws)[-1] == "manual"


@pytest.mark.parametrize("at", [0, 2, 4])
def test_a_person_who_took_the_newcomer_away_after_the_crash_wins(ws, at):
    reconcile(ws, NAME)
    dying, _ = crashing(ws, at)
    with pytest.raises(CrashError):
        promote(dying, NAME, 2, "flow", over=1)
    ws.registry.transition(NAME, 2, "Archived")
    recover(ws, NAME)
    assert ws.registry.production(NAME) == [1]
    assert last_look(ws, NAME).vetoed == {2}


def test_a_newcomer_that_can_not_be_loaded_after_the_crash_is_undone(ws):
    reconcile(ws, NAME)
    dying, _ = crashing(ws, 2)
    with pytest.raises(CrashError):
        promote(dying, NAME, 2, "flow", over=1)
    ws.models.clear()
    ws.registry.set_tag(NAME, 2, BASE, "{}")
    assert recover(ws, NAME).version == 1
    assert ws.registry.production(NAME) == [1] and ws.registry.version(NAME, 2).stage == "Staging"
    assert ws.table.journal(NAME)[-1].outcome["result"] == "undone"


def test_a_manual_change_whose_settling_died_is_settled(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 3, "Production")
    for at in range(3):
        dying, _ = crashing(ws, at)
        with pytest.raises(CrashError):
            reconcile(dying, NAME)
    assert reconcile(ws, NAME).version == 3
    assert ws.registry.production(NAME) == [3]


def test_a_lease_left_behind_by_a_dead_process_runs_out(ws):
    assert ws.table.acquire(f"stages:{NAME}", "somewhere:1:dead", timedelta(seconds=2))
    busy = reconcile(ws, NAME)
    assert "another process" in busy.reason
    assert recover(ws, NAME).version == 1


def test_a_lease_left_behind_by_a_clock_that_is_ahead_freezes_nothing(ws):
    """A process of the release before whose clock was an hour ahead died with the lease."""
    reconcile(ws, NAME)
    row = ("INSERT INTO leases VALUES (?, ?, ?)", (f"stages:{NAME}", "ahead:1:dead", int((time.time() + 3600) * 1e6)))
    with sqlite3.connect(ws.settings.home / "selfheal.db") as other:
        other.execute(*row)
    other.close()
    ws.registry.transition(NAME, 3, "Production")
    assert reconcile(ws, NAME).version == 3


@pytest.mark.xdist_group("others")
def test_kill_9_at_a_call_leaves_nothing_half_done(template, others, tmp_path):
    """Of the first, one in the middle and the last; tests/prove/test_deaths.py takes all, of every scene."""
    deaths = Deaths("the watch rolls back", others, template, tmp_path)
    assert [deaths.at(call) for call in (0, deaths.calls // 2, deaths.calls - 1)] == ["undone", "done", "done"]


@pytest.mark.xdist_group("others")
def test_a_renewal_beside_an_act_is_no_call_of_it(template, others, tmp_path):
    """One whose machine was busy for three seconds had two calls more than it could be killed at."""
    scene, homes = "the loop promotes", [copied(template, tmp_path / name) for name in ("quick", "slow")]
    for home in homes:
        others.call(prepare, (scene, home), 120)
    assert others.call(carry_out, (scene, homes[0], None), 120) == others.call(slowly, (scene, homes[1], None), 120)


def test_points_cover_every_act(ws):
    reconcile(ws, NAME)
    point = Point()
    promote(replace(ws, checkpoint=point), NAME, 2, "ann")
    assert point.seen == [
        "intent", "2 moved", "2 Production", "1 moved", "1 Archived", "pointer", "champion named", "labels", "done",
    ]  # fmt: skip
    assert len(point.seen) == len(POINTS)
