"""Aliases say what stages say, whichever of the two a person moves."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from selfheal.errors import BusyError, InputError, RefusedError, UnavailableError
from selfheal.loop import history
from selfheal.registry import Registry
from selfheal.registry.lineage import BASE
from selfheal.registry.versions import PIN, STAGE
from selfheal.settings import Settings
from selfheal.steering import archive, promote, reconcile, recover, rollback
from selfheal.steering.look import last_look
from selfheal.steering.workspace import Workspace
from tests.steering.given import NAME, CrashError, Point, crashing, kinds, stages, workspace_at


def names(ws: Workspace) -> dict[str, int]:
    return ws.registry.aliases(NAME)


def move(ws: Workspace, alias: str, version: int | None) -> None:
    """What a person does on MLflow's default page."""
    ws.registry.store.set_alias(NAME, alias, version)


def reason(ws: Workspace) -> str:
    return str(ws.table.journal(NAME)[-1].intent["change"]["reason"])


def quiet(ws: Workspace) -> bool:
    """Whether another look finds nothing to do: what was written by this program is nobody's move."""
    before = kinds(ws)
    return reconcile(ws, NAME).kind == "" and kinds(ws) == before


def test_a_person_moves_champion_as_if_it_were_the_stage(ws):
    promote(ws, NAME, 3, "ann")
    assert names(ws) == {"champion": 3, "challenger": 4}
    move(ws, "champion", 2)
    settled = reconcile(ws, NAME)
    assert (settled.version, settled.kind, settled.alarm) == (2, "manual", False)
    assert ws.registry.production(NAME) == [2] and ws.table.pointer(NAME).version == 2
    assert stages(ws)[3] == "Archived" and last_look(ws, NAME).vetoed == frozenset()
    assert reason(ws) == "the alias 'champion' was moved to version 2"
    assert quiet(ws)


def test_in_one_look_an_alias_wins_over_stages_and_what_lost_is_journaled(ws):
    reconcile(ws, NAME)
    move(ws, "champion", 2)
    for version in (4, 3):
        time.sleep(0.002)  # moved later, but moves of aliases have no time
        ws.registry.transition(NAME, version, "Production")
    assert reconcile(ws, NAME).version == 2
    assert ws.registry.production(NAME) == [2] and names(ws) == {"champion": 2}
    assert reason(ws) == "the alias 'champion' was moved to version 2, which wins over the stage of [3, 4]"
    assert quiet(ws)
    move(ws, "champion", None)
    assert reconcile(ws, NAME).kind == "seen" and "taken away and is written again" in reason(ws)
    assert names(ws)["champion"] == 2


def test_stages_and_commands_write_the_aliases(ws):
    ws.registry.transition(NAME, 3, "Production")
    reconcile(ws, NAME)  # the first look: it knows no aliases, so stages win
    assert names(ws) == {"champion": 1, "challenger": 4} and ws.registry.production(NAME) == [1]
    ws.registry.transition(NAME, 2, "Production")
    reconcile(ws, NAME)
    assert names(ws)["champion"] == 2 and quiet(ws)
    rollback(ws, NAME, "watch", reason="worse")
    assert names(ws)["champion"] == 1 and quiet(ws)
    archive(ws, NAME, 4, "ann")
    assert names(ws) == {"champion": 1} and quiet(ws), "nothing is left in Staging"


def test_a_version_that_is_registered_and_promoted_at_once_is_never_challenger(ws):
    reconcile(ws, NAME)
    newer = ws.registry.register(NAME, ws.registry.adapter(NAME, 3), tags={"diagnosis": "sensor"})
    promote(ws, NAME, newer, "flow", over=1)
    assert kinds(ws) == ["adopted", "promote"] and names(ws) == {"champion": newer, "challenger": 4}
    assert last_look(ws, NAME).stages[1] == "Archived" and quiet(ws)


def test_an_upgrade_lets_stages_win_and_writes_the_aliases(ws):
    promote(ws, NAME, 2, "ann", pin=True)
    forget(ws)
    ws.registry.store.drop_tag(NAME, 2, PIN)
    move(ws, "champion", 3)  # somebody's own use of the word, before it meant anything here
    move(ws, "challenger", None)
    assert reconcile(ws, NAME).version == 2
    assert names(ws) == {"champion": 2, "challenger": 4}
    assert last_look(ws, NAME).pinned and ws.registry.version(NAME, 2).pins
    assert kinds(ws)[-1] == "seen" and reason(ws) == "the aliases are written as the stages say"
    assert quiet(ws)


def forget(ws: Workspace) -> None:
    """The last look as an older release left it."""
    held = ws.table.journal_settled(NAME).outcome["look"]
    look = {key: value for key, value in held.items() if key not in ("aliases", "chosen")}
    ws.table.journal_note(NAME, "seen", {"actor": "somebody"}, "as before", ws.clock(), look=look)
    assert last_look(ws, NAME).aliases is None


def test_other_names_are_written_and_the_old_ones_steer_no_more(ws):
    reconcile(ws, NAME)
    settings = replace(ws.settings, champion="live", challenger="next")
    other = replace(ws, settings=settings, registry=Registry(settings))
    reconcile(other, NAME)
    assert names(ws) == {"champion": 1, "challenger": 4, "live": 1, "next": 4}
    move(ws, "champion", 3)
    assert quiet(other)
    move(ws, "live", 2)
    assert reconcile(other, NAME).version == 2
    environ = {"SELFHEAL_CHAMPION": "live", "SELFHEAL_STAGES": "off"}
    assert (Settings.from_env(environ).champion, Settings.from_env(environ).stages) == ("live", False)
    for wrong in ({"SELFHEAL_CHAMPION": "v1"}, {"SELFHEAL_CHALLENGER": "champion"}, {"SELFHEAL_STAGES": "none"}):
        with pytest.raises(InputError, match=f"SELFHEAL_.*{next(iter(wrong.values()))}"):
            Settings.from_env(wrong)


def test_a_version_that_is_withdrawn_or_rolled_back_is_lifted_by_its_alias(ws):
    promote(ws, NAME, 2, "flow", over=1)
    rollback(ws, NAME, "watch", reason="worse")
    archive(ws, NAME, 3, "ann")
    assert (last_look(ws, NAME).quarantined, last_look(ws, NAME).vetoed) == ({2}, {3})
    move(ws, "champion", 2)
    move(ws, "challenger", 3)
    assert reconcile(ws, NAME).version == 2
    look = last_look(ws, NAME)
    assert (look.quarantined, look.vetoed) == (frozenset(), frozenset())
    assert ws.registry.version(NAME, 2).tags["quarantine"] == "lifted"
    assert stages(ws)[3] == "Staging" and names(ws) == {"champion": 2, "challenger": 3}


def test_challenger_is_an_order_to_stage_until_a_newer_one_comes(ws):
    archive(ws, NAME, 2, "ann")
    move(ws, "challenger", 2)
    assert reconcile(ws, NAME).kind == "manual"
    assert stages(ws)[2] == "Staging" and names(ws) == {"champion": 1, "challenger": 2}
    moved = history(ws, NAME)[0]
    assert (moved.what, moved.from_, moved.to, moved.version) == ("moved by hand", 1, 1, 2)
    assert quiet(ws), "2 stays, though 4 is newer"
    newer = ws.registry.register(NAME, ws.registry.adapter(NAME, 3), tags={"diagnosis": "sensor"})
    reconcile(ws, NAME)
    assert names(ws)["challenger"] == newer
    move(ws, "challenger", 1)  # it serves: nothing to compare it with
    reconcile(ws, NAME)
    assert names(ws) == {"champion": 1, "challenger": newer} and ws.registry.production(NAME) == [1]
    assert quiet(ws)


@pytest.mark.parametrize("also", [False, True])
def test_an_alias_that_names_what_cannot_be_loaded_moves_back(ws, also):
    reconcile(ws, NAME)
    ws.registry.set_tag(NAME, 3, BASE, json.dumps({"base_version": 1}))
    move(ws, "champion", 3)
    if also:
        ws.registry.transition(NAME, 2, "Production")
    settled = reconcile(ws, NAME)
    assert settled.version == (2 if also else 1) and settled.alarm is not also
    assert names(ws)["champion"] == settled.version and last_look(ws, NAME).quarantined == {3}
    assert quiet(ws)


def test_an_alias_of_a_version_that_is_deleted_goes_with_it(ws):
    promote(ws, NAME, 2, "ann")
    with ws.registry._door.asked("delete") as client:
        client.delete_model_version(NAME, "2")
        client.delete_model_version(NAME, "4")
    settled = reconcile(ws, NAME)
    assert (settled.version, settled.alarm) == (1, True)
    assert names(ws) == {"champion": 1, "challenger": 3} and quiet(ws)


def test_a_tag_pins_and_unpins(ws):
    reconcile(ws, NAME)
    ws.registry.set_tag(NAME, 1, PIN, "yes")
    assert reconcile(ws, NAME).kind == "manual" and ws.table.pointer(NAME).pinned and quiet(ws)
    with pytest.raises(RefusedError, match="pinned"):
        promote(ws, NAME, 2, "flow")
    ws.registry.set_tag(NAME, 1, PIN, "no")
    assert reconcile(ws, NAME).kind == "manual" and not ws.table.pointer(NAME).pinned
    ws.registry.set_tag(NAME, 3, PIN, "true")  # before it serves
    move(ws, "champion", 3)
    reconcile(ws, NAME)
    assert last_look(ws, NAME).pinned and quiet(ws)
    promote(ws, NAME, 2, "ann", pin=True)
    assert ws.registry.version(NAME, 2).pins and not ws.registry.version(NAME, 3).pins
    promote(ws, NAME, 2, "ann")
    assert not ws.registry.version(NAME, 2).pins and not last_look(ws, NAME).pinned and quiet(ws)


#: Before the alias, after it, after the tags; every other point is in test_crash.
@pytest.mark.parametrize("at", [5, 6, 7])
def test_a_promotion_that_died_writes_its_alias_and_is_nobodys_move(ws, at):
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        promote(crashing(ws, at)[0], NAME, 2, "ann", pin=True)
    recover(ws, NAME)
    assert kinds(ws) == ["adopted", "promote"]
    assert names(ws) == {"champion": 2, "challenger": 4} and ws.registry.version(NAME, 2).pins
    assert quiet(ws)


@pytest.mark.parametrize("at", [0, 5, 6])
def test_whoever_moved_an_alias_after_the_crash_wins(ws, at):
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        promote(crashing(ws, at)[0], NAME, 2, "flow", over=1)
    move(ws, "champion", 4)
    recover(ws, NAME)
    assert names(ws)["champion"] == 4 and ws.registry.production(NAME) == [4]
    assert kinds(ws)[-2:] == ["promote", "manual"] and quiet(ws)


def test_an_alias_written_before_the_crash_does_not_bring_back_what_a_person_took_out(ws):
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        promote(crashing(ws, 6)[0], NAME, 2, "flow", over=1)
    assert names(ws)["champion"] == 2
    ws.registry.transition(NAME, 2, "Archived")
    recover(ws, NAME)
    assert ws.registry.production(NAME) == [1] and names(ws)["champion"] == 1
    assert last_look(ws, NAME).vetoed == {2} and quiet(ws)


def test_a_challenger_that_is_deleted_after_the_crash_keeps_nothing_open(ws):
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        promote(crashing(ws, 5)[0], NAME, 4, "flow", over=1)  # 3 is to be challenger
    with ws.registry._door.asked("delete") as client:
        client.delete_model_version(NAME, "3")
    assert recover(ws, NAME).version == 4 and names(ws) == {"champion": 4, "challenger": 2}
    assert ws.table.journal_open(NAME) == [] and quiet(ws)


def test_an_alias_that_moves_under_a_promotion_is_not_overwritten(ws):
    reconcile(ws, NAME)
    point = Point(5, then=lambda: move(ws, "champion", 4))  # the stages are moved, the aliases not yet
    promote(replace(ws, checkpoint=point), NAME, 2, "flow", over=1)
    assert names(ws)["champion"] == 4
    assert reconcile(ws, NAME).version == 4 and ws.registry.production(NAME) == [4]


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_eight_who_promote_at_once_by_stage_alias_and_command(home):
    def steer(k: int) -> None:
        own = workspace_at(home)
        for turn in range(12):
            version = 1 + (k + turn) % 4
            with suppress(BusyError, RefusedError, UnavailableError):
                if k % 4 == 0:
                    own.registry.transition(NAME, version, "Production", archive_others=bool(turn % 2))
                elif k % 4 == 1:
                    own.registry.store.set_alias(NAME, "champion", version)
                elif k % 4 == 2:
                    promote(own, NAME, version, "flow")
                else:
                    reconcile(own, NAME)
        own.table.close()

    ws = workspace_at(home)
    reconcile(ws, NAME)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(steer, range(8)))
    recover(ws, NAME)
    for version in (2, 3):
        move(ws, "champion", version)
        assert recover(ws, NAME).version == version
        assert ws.registry.production(NAME) == [version] == [names(ws)["champion"]]
        assert ws.table.pointer(NAME).version == version
    assert ws.table.journal_open(NAME) == [] and quiet(ws)
    lost = [e for e in ws.table.journal(NAME) if "wins over the stage" in str(e.intent)]
    print(f"{len(ws.table.journal(NAME))} entries, {len(lost)} of stages that lost to an alias")
    ws.table.close()


@pytest.fixture
def without_stages(ws, monkeypatch):
    """An MLflow that has no stages any more to move, after a look at the ones that it had."""
    from mlflow import MlflowClient

    promote(ws, NAME, 2, "ann")
    archive(ws, NAME, 4, "ann")

    def gone(*args, **kwargs):
        raise AssertionError("MLflow's stages were asked for")

    monkeypatch.setattr(MlflowClient, "transition_model_version_stage", gone)
    settings = replace(ws.settings, stages=False)
    return replace(ws, settings=settings, registry=Registry(settings))


def test_aliases_alone_carry_everything(without_stages, ws):
    ws = without_stages
    assert reconcile(ws, NAME).version == 2
    assert {v.version: v.tags.get(STAGE) for v in ws.registry.versions(NAME)} == {
        1: "Archived", 2: "Production", 3: "Staging", 4: "Archived",
    }  # fmt: skip
    assert last_look(ws, NAME).vetoed == {4} and quiet(ws)
    move(ws, "champion", 3)
    assert reconcile(ws, NAME).version == 3
    assert stages(ws) == {1: "Archived", 2: "Archived", 3: "Production", 4: "Archived"}
    assert names(ws) == {"champion": 3} and ws.table.pointer(NAME).version == 3
    move(ws, "challenger", 4)
    reconcile(ws, NAME)
    assert stages(ws)[4] == "Staging" and last_look(ws, NAME).vetoed == frozenset()
    newer = ws.registry.register(NAME, ws.registry.adapter(NAME, 1), tags={})
    reconcile(ws, NAME)
    assert names(ws) == {"champion": 3, "challenger": newer}
    promote(ws, NAME, newer, "flow", over=3)
    rollback(ws, NAME, "watch", reason="worse")
    assert names(ws) == {"champion": 3, "challenger": 4} and ws.registry.production(NAME) == [3]
    for at in (2, 5, 6):
        with pytest.raises(CrashError):
            promote(crashing(ws, at)[0], NAME, 1 + at % 2, "ann")
        recover(ws, NAME)
        assert ws.registry.production(NAME) == [1 + at % 2] == [names(ws)["champion"]] and quiet(ws)
    ws.registry.set_tag(NAME, 4, STAGE, "Archived")  # on MLflow's page
    reconcile(ws, NAME)
    assert last_look(ws, NAME).vetoed == {4} and ws.registry.load(NAME).adapter.is_identity
