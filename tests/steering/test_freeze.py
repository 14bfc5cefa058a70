"""Whoever is woken can freeze the loop: what began before is finished, nothing begins after, people still steer."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from selfheal.errors import BusyError, HeldError, InputError, NotFoundError
from selfheal.loop import settle_stages, status
from selfheal.loop.forks import ChildFailedError
from selfheal.steering import freeze, promote, reconcile, release, rollback, unfreeze
from selfheal.steering.look import last_look
from selfheal.steering.releases import recall
from selfheal.table import freezes
from tests.steering.given import NAME, CrashError, Point, crashing, kinds, stages, workspace_at


def test_a_frozen_loop_promotes_recalls_and_rolls_back_nothing(ws):
    promote(ws, NAME, 2, "ann")
    done = freeze(ws, NAME, " ann ", "an  incident")
    assert (done.freeze.by, done.freeze.why, done.version, done.unfinished) == ("ann", "an incident", 2, "")
    held = f"the end of the freeze by ann since .*: an incident .selfheal unfreeze {NAME}."
    for actor in ("flow", "audit"):
        with pytest.raises(HeldError, match=held):
            promote(ws, NAME, 3, actor, over=2)
    with pytest.raises(HeldError, match=held):
        rollback(ws, NAME, "watch", over=2, reason="worse")
    assert ws.registry.production(NAME) == [2] and ws.table.journal_open(NAME) == []
    assert kinds(ws)[-1] == "freeze"
    assert unfreeze(ws, NAME, "bob").by == "ann" and unfreeze(ws, NAME, "bob") is None
    assert rollback(ws, NAME, "watch", over=2, reason="worse").settled == 1


def test_people_steer_a_frozen_model_and_an_empty_production_is_refilled_loudly(ws):
    reconcile(ws, NAME)
    freeze(ws, NAME, "ann", "an incident")
    assert promote(ws, NAME, 3, "ann").settled == 3
    ws.registry.transition(NAME, 2, "Production")
    assert reconcile(ws, NAME).version == 2 and ws.registry.production(NAME) == [2]
    ws.registry.transition(NAME, 2, "Archived")
    found = reconcile(ws, NAME)
    assert (found.alarm, found.version, ws.registry.production(NAME)) == (True, 3, [3])
    assert rollback(ws, NAME, "ann").settled == 1


def test_what_is_no_freeze_changes_nothing(ws):
    with pytest.raises(InputError, match="--as NAME"):
        freeze(ws, NAME, " ", "an incident")
    with pytest.raises(InputError, match="--why TEXT"):
        freeze(ws, NAME, "ann", " \n")
    with pytest.raises(InputError, match=r"501 characters \(at most 500\)"):
        freeze(ws, NAME, "ann", "x" * 501)
    with pytest.raises(InputError, match="which is over"):
        freeze(ws, NAME, "ann", "an incident", datetime(2020, 1, 1, tzinfo=UTC))
    with pytest.raises(NotFoundError, match="did you mean 'toy'"):
        freeze(ws, "tyo", "ann", "an incident")
    assert ws.table.freezes.find(NAME) is None and kinds(ws) == []


# ------------------------------------------------------------------ races and crashes


@pytest.mark.parametrize("at", range(8))
def test_a_promotion_that_died_is_finished_before_the_freeze_returns(ws, at):
    reconcile(ws, NAME)
    dying, _ = crashing(ws, at)
    with pytest.raises(CrashError):
        promote(dying, NAME, 2, "flow", over=1)
    done = freeze(ws, NAME, "ann", "an incident")
    assert (done.version, done.unfinished, ws.table.journal_open(NAME)) == (2, "", [])
    assert ws.registry.production(NAME) == [2] and ws.table.pointer(NAME).version == 2


def promote_slowly(home: Path) -> bool:
    def slowly(step: str) -> None:
        (home / f"at {step}").touch()
        time.sleep(0.3)

    promote(replace(workspace_at(home), checkpoint=slowly), NAME, 2, "flow", over=1)
    (home / "promoted").touch()
    return True


@pytest.mark.xdist_group("others")
def test_another_process_that_began_before_has_finished_when_the_freeze_returns(ws, home, others):
    reconcile(ws, NAME)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(others.call, promote_slowly, home, 60)
        deadline = time.monotonic() + 60
        while not (home / "at intent").exists():
            assert not other.done() and time.monotonic() < deadline
            time.sleep(0.01)
        assert not (home / "promoted").exists()
        done = freeze(ws, NAME, "ann", "an incident")
        assert (done.version, done.unfinished, ws.table.journal_open(NAME)) == (2, "", [])
        assert ws.registry.production(NAME) == [2]
        assert other.result(60)
    assert kinds(ws).index("promote") < kinds(ws).index("freeze") and last_look(ws, NAME).settled == 2


def test_of_many_promotions_none_begins_after_the_freeze_returned(home):
    def steer(first: int) -> None:
        own = workspace_at(home)
        for version in (2, 3, 4, 1) * 3:
            try:
                promote(own, NAME, 1 + (version + first) % 4, "flow")
            except BusyError:
                continue
            except HeldError:
                break
        else:
            pytest.fail("it was never held")
        own.table.close()

    ws = workspace_at(home)
    reconcile(ws, NAME)
    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(steer, k) for k in range(3)]
        while "promote" not in kinds(ws):
            time.sleep(0.01)
        done = freeze(ws, NAME, "ann", "an incident")
        before = (done.version, stages(ws), kinds(ws))
        for other in others:
            other.result(120)
    assert done.unfinished == "" and ws.table.journal_open(NAME) == []
    assert before == (ws.table.pointer(NAME).version, stages(ws), kinds(ws))
    ws.table.close()


def freeze_and_die(task: tuple[Path, str]) -> None:
    home, when = task

    def die(*_: object, **__: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if when == "between":
        freezes.journal.note = die  # in a process of its own
    freeze(replace(workspace_at(home), checkpoint=Point(0, then=die)), NAME, "ann", "an incident")


@pytest.mark.xdist_group("others")
@pytest.mark.parametrize("when", ["between", "after"])
def test_kill_9_leaves_flag_and_journal_entry_or_neither(ws, home, others, when):
    reconcile(ws, NAME)
    dying, _ = crashing(ws, 2)
    with pytest.raises(CrashError):
        promote(dying, NAME, 2, "flow", over=1)
    with pytest.raises(ChildFailedError, match="exit code -9"):
        others.call(freeze_and_die, (home, when), 120)
    held = ws.table.freezes.find(NAME)
    assert (held is not None) == ("freeze" in kinds(ws)) == (when == "after")
    reconcile(ws, NAME)
    assert ws.registry.production(NAME) == [2], "what was begun before is finished by whoever looks next"
    if held is not None:
        with pytest.raises(HeldError):
            promote(ws, NAME, 3, "flow", over=2)


def test_it_holds_though_mlflow_is_away(ws, home: Path):
    reconcile(ws, NAME)
    (home / "mlflow.db").rename(home / "away.db")
    other = workspace_at(home)
    done = freeze(other, NAME, "ann", "an incident")
    assert (done.freeze.by, done.version) == ("ann", 1) and done.unfinished
    (home / "away.db").rename(home / "mlflow.db")
    with pytest.raises(HeldError):
        promote(ws, NAME, 3, "flow", over=1)
    other.table.close()


# ------------------------------------------------------------------ what waits, and how it goes on


def test_a_release_waits_says_so_and_goes_on_after_the_freeze(ws, caplog):
    reconcile(ws, NAME)
    freeze(ws, NAME, "ann", "an incident")
    for _ in range(2):
        done = release(ws, NAME, 2)
        assert not done.promoted and done.note.startswith("version 2 waits for the end of the freeze by ann")
    assert kinds(ws).count("held") == 1 and len([r for r in caplog.records if "version 2 waits" in r.message]) == 1
    told = status(ws, NAME)
    assert (told["frozen"]["by"], told["frozen"]["until"]) == ("ann", None)
    assert not told["healthy"] and told["health"][0].startswith("version 2 waits for the end of the freeze")
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [1]
    unfreeze(ws, NAME, "ann")
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [2] and last_look(ws, NAME).actor == "flow"
    assert status(ws, NAME)["healthy"] and status(ws, NAME)["frozen"] is None


def test_a_recall_waits_and_goes_on_after_the_freeze(ws):
    promote(ws, NAME, 2, "flow", over=1)
    freeze(ws, NAME, "ann", "an incident", datetime.now(UTC) + timedelta(seconds=2))
    assert not recall(ws, NAME, 1, 2, "seen before").promoted
    assert ws.registry.production(NAME) == [2]
    time.sleep(2.1)
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [1] and kinds(ws)[-1] == "recall"


@pytest.mark.parametrize("act", ["promoted another", "went there and back", "archived it", "pinned"])
def test_what_waits_is_not_released_once_a_person_changed_what_it_was_compared_with(ws, act):
    reconcile(ws, NAME)
    freeze(ws, NAME, "ann", "an incident")
    release(ws, NAME, 2)
    if act == "archived it":
        ws.registry.transition(NAME, 2, "Archived")
    elif act == "pinned":
        promote(ws, NAME, 1, "ann", pin=True)
    else:
        promote(ws, NAME, 3, "ann")
    if act == "went there and back":
        promote(ws, NAME, 1, "ann")
    unfreeze(ws, NAME, "ann")
    serves = ws.registry.production(NAME)
    for _ in range(2):
        settle_stages(ws, NAME)
        assert ws.registry.production(NAME) == serves
    assert ws.registry.version(NAME, 2).tags["waits"].startswith("a person: ")
    assert status(ws, NAME)["healthy"]
