"""What the simulation found, with a real MLflow store and a real database."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime

import pytest

from selfheal.errors import BusyError, RefusedError
from selfheal.loop import settle_stages
from selfheal.steering import archive, promote, reconcile, recover, release, rollback
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


@pytest.mark.parametrize("by", ["alias", "stage"])
def test_of_wishes_the_one_that_wins_is_awaited(ws: Workspace, by: str) -> None:
    reconcile(ws, NAME)
    wish(ws, 4, "stage")
    wish(ws, 3, by)
    with ExitStack() as stack:
        stack.enter_context(away(ws, 3))
        assert reconcile(ws, NAME).version == 4, "meanwhile"
        assert last_look(ws, NAME).awaited == 3
        archive(ws, NAME, 2, "ann")
        promote(ws, NAME, 1, "flow", over=4, kind="recall")
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
