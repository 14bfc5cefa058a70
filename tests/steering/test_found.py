"""What the simulation found, with a real MLflow store and a real database."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

import pytest

from selfheal.errors import BusyError, RefusedError, UnavailableError
from selfheal.loop import settle_stages
from selfheal.steering import archive, promote, reconcile, reconciler, recover, release, rollback
from selfheal.steering.leases import stages_lease
from selfheal.steering.look import last_look
from selfheal.steering.workspace import Workspace
from tests.steering.given import NAME, CrashError, crashing, kinds, stages
from tests.steering.test_faults import away, twin_of_2


def test_who_stood_still_for_longer_than_its_lease_begins_nothing(ws: Workspace) -> None:
    reconcile(ws, NAME)

    def stood_still() -> datetime:  # asked for the time just before the intent
        lease = stages_lease(NAME)
        if held := ws.table.lease_holder(lease):
            ws.table.release(lease, held[0])
            promote(ws, NAME, 3, "bob")
        return ws.clock()

    with pytest.raises(BusyError, match="was taken over"):
        promote(replace(ws, clock=stood_still), NAME, 2, "ann")
    assert ws.table.journal_open(NAME) == [] and kinds(ws) == ["adopted", "promote"]
    assert recover(ws, NAME).version == 3 and ws.registry.production(NAME) == [3]


def test_the_loop_does_not_unpin_what_a_person_pinned(ws: Workspace) -> None:
    promote(ws, NAME, 2, "ann", pin=True)
    before = kinds(ws)
    for actor in ("audit", "flow"):
        assert promote(ws, NAME, 2, actor).pinned
    assert kinds(ws) == before and ws.table.pointer(NAME).pinned


def test_what_a_person_archived_before_anybody_looked_is_vetoed(ws: Workspace) -> None:
    reconcile(ws, NAME)
    newer = twin_of_2(ws)
    ws.registry.transition(NAME, newer, "Archived")
    reconcile(ws, NAME)
    assert last_look(ws, NAME).vetoed == {newer}
    with pytest.raises(RefusedError, match="a person withdrew"):
        promote(ws, NAME, 2, "flow", over=1)


def wish(ws: Workspace, version: int, by: str) -> None:
    if by == "alias":
        ws.registry.store.set_alias(NAME, "champion", version)
    else:
        ws.registry.transition(NAME, version, "Production")


@pytest.mark.parametrize("by", ["alias", "stage"])
def test_a_wish_whose_settling_died_is_awaited_where_it_cannot_be_read(ws: Workspace, by: str) -> None:
    reconcile(ws, NAME)
    wish(ws, 3, by)
    with pytest.raises(CrashError):
        reconcile(crashing(ws, 0)[0], NAME)
    with away(ws, 3):
        assert recover(ws, NAME).version == 1 and last_look(ws, NAME).awaited == 3
    assert reconcile(ws, NAME).kind == "manual" and ws.registry.production(NAME) == [3]


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_promotion_of_the_loop_that_cannot_be_finished_is_taken_back(ws: Workspace, at: int) -> None:
    """Left in Production, its newcomer would be taken for a person's wish, which no pin and no freeze holds back."""
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        promote(crashing(ws, at)[0], NAME, 2, "flow", over=1)
    with away(ws, 2):
        with pytest.raises(CrashError):
            recover(crashing(ws, 0)[0], NAME)  # dies again, on its way back
        assert recover(ws, NAME).version == 1
    assert stages(ws) == {1: "Production", 2: "Staging", 3: "Staging", 4: "Staging"}
    assert ws.table.journal(NAME)[-1].outcome["result"] == "undone"
    look = last_look(ws, NAME)
    assert (look.awaited, look.vetoed, reconcile(ws, NAME).kind) == (None, frozenset(), "")


@pytest.mark.parametrize(("by", "actor"), [("alias", "flow"), ("stage", "audit")])
def test_of_wishes_the_one_that_wins_is_awaited(ws: Workspace, by: str, actor: str) -> None:
    reconcile(ws, NAME)
    wish(ws, 4, "stage")
    wish(ws, 3, by)
    with ExitStack() as stack:
        stack.enter_context(away(ws, 3))
        assert reconcile(ws, NAME).version == 4, "meanwhile"
        assert last_look(ws, NAME).awaited == 3
        archive(ws, NAME, 2, "ann")
        promote(ws, NAME, 1, actor, over=4, kind="recall")
        assert last_look(ws, NAME).awaited == 3, "nobody has said otherwise"
    assert reconcile(ws, NAME).version == 3


def test_what_may_be_the_like_of_a_withdrawn_one_waits_until_that_can_be_read(ws: Workspace) -> None:
    reconcile(ws, NAME)
    archive(ws, NAME, 4, "ann")
    with away(ws, 4):
        ws.models.clear()
        done = release(ws, NAME, 2)
        assert not done.promoted and "whether it is the like of [4], which were withdrawn" in done.note
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [2]


def test_the_like_of_what_was_rolled_back_meanwhile_is_refused(ws: Workspace) -> None:
    promote(ws, NAME, 2, "flow", over=1)
    twin = twin_of_2(ws)
    rollback(ws, NAME, "watch", over=2, reason="worse")  # between the release's question and its promotion
    with pytest.raises(RefusedError, match="predicts like version 2, which was rolled back"):
        promote(ws, NAME, twin, "flow", over=1, reason="sensor: healed")
    assert promote(ws, NAME, twin, "flow", over=1, reason="labels: better").settled == twin


def test_what_a_person_takes_out_just_before_it_goes_in_stays_out(ws: Workspace) -> None:
    reconcile(ws, NAME)
    dying, point = crashing(ws, 0)
    point.then = lambda: ws.registry.transition(NAME, 2, "Archived")
    with pytest.raises(BusyError, match="version 2 of 'toy' was moved to Archived meanwhile"):
        promote(dying, NAME, 2, "flow", over=1)
    assert recover(ws, NAME).version == 1
    assert last_look(ws, NAME).vetoed == {2} and ws.registry.production(NAME) == [1]


@pytest.mark.parametrize("at", [0, 1])
def test_what_a_person_moves_after_a_command_died_is_not_moved_over(ws: Workspace, at: int) -> None:
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        archive(crashing(ws, at)[0], NAME, 4, "ann")
    ws.registry.transition(NAME, 4, "Production")
    assert recover(ws, NAME).version == 4 and ws.registry.production(NAME) == [4]
    assert last_look(ws, NAME).vetoed == frozenset()


def test_who_promotes_what_serves_wants_nothing_else_any_more(ws: Workspace) -> None:
    reconcile(ws, NAME)
    wish(ws, 4, "stage")
    with away(ws, 4):
        assert reconcile(ws, NAME).version == 1 and last_look(ws, NAME).awaited == 4
        promote(ws, NAME, 1, "ann")
    assert reconcile(ws, NAME).version == 1 and kinds(ws)[-1] == "promote"


def test_a_wish_is_awaited_though_the_change_that_put_it_off_is_undone(ws: Workspace) -> None:
    reconcile(ws, NAME)
    wish(ws, 4, "stage")
    with away(ws, 4), pytest.raises(CrashError):
        reconcile(crashing(ws, 1)[0], NAME)  # it has archived version 4
    ws.registry.transition(NAME, 1, "Archived")
    assert recover(ws, NAME).version == 4 and ws.registry.production(NAME) == [4]


def test_what_was_awaited_and_is_deleted_is_awaited_no_more(ws: Workspace) -> None:
    reconcile(ws, NAME)
    wish(ws, 4, "stage")
    with away(ws, 4), pytest.raises(CrashError):
        reconcile(crashing(ws, 0)[0], NAME)
    with ws.registry._door.asked("delete") as client:
        client.delete_model_version(NAME, "4")
    assert recover(ws, NAME).version == 1 and last_look(ws, NAME).awaited is None
    assert "version 4 is gone" in ws.table.journal(NAME)[-1].intent["change"]["reason"]
    assert reconcile(ws, NAME).kind == ""


def test_what_comes_back_is_awaited_no_more(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be read when it was asked for, and can be a moment later."""
    promote(ws, NAME, 2, "flow", over=1)
    ws.registry.transition(NAME, 2, "Staging")
    wish(ws, 1, "stage")
    away_for_now = iter([UnavailableError("the files are away")] * 2)
    monkeypatch.setattr(reconciler, "cannot_load", lambda *_: next(away_for_now, None))
    assert reconcile(ws, NAME).kind == "restore" and ws.registry.production(NAME) == [1]
    assert last_look(ws, NAME).awaited is None


def test_what_a_person_takes_out_while_it_is_replaced_leaves_no_hole(ws: Workspace) -> None:
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        promote(crashing(ws, 2)[0], NAME, 2, "flow", over=1)
    ws.registry.transition(NAME, 1, "Staging")
    seen: list[list[int]] = []
    looking = replace(ws, checkpoint=lambda _: seen.append(ws.registry.production(NAME)))
    with away(ws, 2):
        recover(looking, NAME)
    assert [] not in seen and ws.registry.production(NAME) == [1]
    assert stages(ws)[2] == "Archived" and last_look(ws, NAME).vetoed == frozenset()


def test_what_an_undone_change_has_archived_comes_back(ws: Workspace) -> None:
    promote(ws, NAME, 3, "ann")
    wish(ws, 2, "stage")
    with pytest.raises(CrashError):
        reconcile(crashing(ws, 1)[0], NAME)  # it has archived version 3
    ws.registry.transition(NAME, 2, "Staging")
    assert recover(ws, NAME).version == 3 and ws.registry.production(NAME) == [3]
    assert kinds(ws)[-1] == "restore" and reconcile(ws, NAME).kind == ""


def test_a_version_whose_registration_died_is_staged_by_the_next_look(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile(ws, NAME)
    with monkeypatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(type(ws.registry), "transition", crash)
        twin_of_2(ws)
    with monkeypatch.context() as patch, pytest.raises(CrashError):
        patch.setattr(type(ws.registry), "transition", crash)
        twin_of_2(ws)
    ws.registry.transition(NAME, 6, "Archived")
    ws.registry.transition(NAME, 6, "None")
    assert stages(ws)[5] == "None"
    assert reconcile(ws, NAME).reason == "version 6 is None; version 5 was registered in Staging"
    assert last_look(ws, NAME).vetoed == {6}, "nobody but a person moves one there"
    assert stages(ws)[5] == "Staging" and ws.registry.aliases(NAME)["challenger"] == 5
    ws.registry.transition(NAME, 5, "None")
    reconcile(ws, NAME)
    assert stages(ws)[5] == "None", "where a person put it"


def crash(*_: object) -> None:
    raise CrashError
