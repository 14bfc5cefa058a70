"""The newcomer wins, one version is in Production, and what a person did is obeyed."""

from __future__ import annotations

import time

import pytest

from selfheal.errors import NotFoundError, RefusedError
from selfheal.registry.lineage import BASE
from selfheal.steering import archive, promote, reconcile, rollback
from selfheal.steering.look import last_look
from tests.steering.given import NAME, kinds, stages


def test_first_look_is_journaled_once_and_changes_nothing(ws):
    assert reconcile(ws, NAME).version == 1
    assert reconcile(ws, NAME).kind == ""
    assert kinds(ws) == ["adopted"]
    assert stages(ws) == {1: "Production", 2: "Staging", 3: "Staging", 4: "Staging"}


def test_a_version_that_a_heal_registers_is_no_act_of_a_person(ws):
    reconcile(ws, NAME)
    ws.registry.register(NAME, ws.registry.adapter(NAME, 3), tags={"diagnosis": "sensor"})
    assert reconcile(ws, NAME).kind == "seen"
    change = ws.table.journal(NAME)[-1].intent["change"]
    assert (change["actor"], change["reason"]) == ("reconciler", "version 5 was registered in Staging")
    ws.registry.transition(NAME, 5, "Archived")
    reconcile(ws, NAME)
    assert ws.table.journal(NAME)[-1].intent["change"]["actor"] == "person (MLflow)"


def test_a_lower_number_promoted_beside_a_higher_one_wins(ws):
    promote(ws, NAME, 3, "ann")
    ws.registry.transition(NAME, 1, "Production")  # MLflow itself would go on resolving to 3
    began = time.monotonic()
    settled = reconcile(ws, NAME)
    assert time.monotonic() - began < 5
    assert (settled.version, settled.kind) == (1, "manual")
    assert ws.registry.production(NAME) == [1]
    assert ws.table.pointer(NAME).version == 1
    assert ws.registry.aliases(NAME) == {"champion": 1, "challenger": 4}
    assert last_look(ws, NAME).lineage == (3,)


def test_of_two_newcomers_the_later_one_wins(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 4, "Production")
    time.sleep(0.01)
    ws.registry.transition(NAME, 2, "Production")
    assert reconcile(ws, NAME).version == 2
    assert ws.registry.production(NAME) == [2]


def test_empty_production_is_filled_with_the_one_before_and_alarms(ws):
    promote(ws, NAME, 2, "ann")
    promote(ws, NAME, 3, "ann")
    ws.registry.transition(NAME, 3, "Archived")
    settled = reconcile(ws, NAME)
    assert (settled.version, settled.kind, settled.alarm) == (2, "restore", True)
    look = last_look(ws, NAME)
    assert look.vetoed == {3}
    with pytest.raises(Exception, match="withdrew version 3"):
        promote(ws, NAME, 3, "flow")
    promote(ws, NAME, 3, "ann")  # a person may
    assert last_look(ws, NAME).vetoed == frozenset()


def test_the_only_version_that_ever_served_comes_back_before_an_unproven_one(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 1, "Archived")
    assert reconcile(ws, NAME).version == 1
    assert ws.registry.production(NAME) == [1]


def test_a_deleted_production_version_is_replaced(ws):
    promote(ws, NAME, 2, "ann")
    with ws.registry._door.asked("delete") as client:
        client.delete_model_version(NAME, "2")
    assert reconcile(ws, NAME).version == 1
    assert ws.registry.production(NAME) == [1]


def test_what_cannot_be_loaded_is_not_served(ws, template):
    reconcile(ws, NAME)
    ws.registry.set_tag(NAME, 3, BASE, "{}")
    ws.registry.transition(NAME, 3, "Production")
    settled = reconcile(ws, NAME)
    assert (settled.version, settled.kind, settled.alarm) == (1, "restore", True)
    assert "can't be loaded" in settled.reason
    assert stages(ws)[3] == "Archived"
    assert ws.table.pointer(NAME).version == 1


def test_archived_as_a_side_effect_is_no_veto(ws):
    promote(ws, NAME, 2, "ann")
    ws.registry.transition(NAME, 3, "Production", archive_others=True)
    assert reconcile(ws, NAME).version == 3
    assert stages(ws)[2] == "Archived"
    assert last_look(ws, NAME).vetoed == frozenset()
    promote(ws, NAME, 2, "flow", over=3)
    assert ws.registry.production(NAME) == [2]


def test_a_candidate_that_a_person_archives_is_withdrawn_until_staged_again(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 4, "Archived")
    assert reconcile(ws, NAME).kind == "manual"
    assert last_look(ws, NAME).vetoed == {4}
    ws.registry.transition(NAME, 4, "Staging")
    assert reconcile(ws, NAME).kind == "manual"
    assert last_look(ws, NAME).vetoed == frozenset()


def test_rollback_goes_back_and_quarantines_and_a_person_lifts_it(ws):
    promote(ws, NAME, 2, "flow", over=1)
    rollback(ws, NAME, "watch", reason="worse on window 7")
    look = last_look(ws, NAME)
    assert (look.settled, look.quarantined) == (1, {2})
    assert ws.registry.version(NAME, 2).tags["quarantine"] == "worse on window 7"
    with pytest.raises(Exception, match="rolled back"):
        promote(ws, NAME, 2, "flow")
    promote(ws, NAME, 2, "ann")
    assert last_look(ws, NAME).quarantined == frozenset()
    assert kinds(ws)[-3:] == ["promote", "rollback", "promote"]


def test_pinned_production_is_for_people_only(ws):
    promote(ws, NAME, 2, "ann", pin=True)
    assert ws.table.pointer(NAME).pinned
    with pytest.raises(Exception, match="pinned"):
        rollback(ws, NAME, "watch")
    with pytest.raises(Exception, match="pinned"):
        promote(ws, NAME, 3, "flow")
    assert rollback(ws, NAME, "ann").settled == 1
    assert not ws.table.pointer(NAME).pinned


def test_a_flow_does_not_promote_over_what_a_person_put_there_meanwhile(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 4, "Production")  # after the gate compared with version 1
    with pytest.raises(Exception, match="compared with version 1, but 4 serves"):
        promote(ws, NAME, 2, "flow", over=1)
    assert ws.registry.production(NAME) == [4]


def test_refusals_name_what_is_there(ws):
    with pytest.raises(NotFoundError, match=r"no version 9 \(versions: 1, 2, 3, 4\)"):
        promote(ws, NAME, 9, "ann")
    with pytest.raises(Exception, match="serves; promote another"):
        archive(ws, NAME, 1, "ann")
    with pytest.raises(NotFoundError, match="toy"):
        reconcile(ws, "tou")
    archive(ws, NAME, 4, "ann")
    assert last_look(ws, NAME).vetoed == {4}


def test_evidence_about_one_version_rolls_back_no_other(ws):
    promote(ws, NAME, 2, "flow", over=1)
    ws.registry.transition(NAME, 4, "Production")  # after the watch judged version 2
    with pytest.raises(RefusedError, match="version 2 of 'toy' is to be replaced, but 4 serves by now"):
        rollback(ws, NAME, "watch", over=2, reason="worse")
    assert ws.registry.production(NAME) == [4] and last_look(ws, NAME).quarantined == frozenset()
