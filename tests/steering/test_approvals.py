"""Names before Production: a record of who approved a version; who moves it alone is obeyed, and it is said."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from selfheal.errors import InputError, NotFoundError, RefusedError
from selfheal.loop import status
from selfheal.steering import approve, freeze, promote, reconcile, release, rollback
from selfheal.steering.look import last_look
from selfheal.steering.releases import recall
from selfheal.steering.troubles import troubles
from tests.steering.given import NAME, POLICY, CrashError, Point, kinds, stages, workspace_at
from tests.steering.test_release import write

TWO = POLICY.replace("release: {", "release: {approvers: 2, ")


def test_two_different_names_put_a_version_into_production(ws):
    write(ws, TWO)
    done = release(ws, NAME, 2)
    assert not done.promoted and "2 more approvals: 0 of 2 approvals (nobody yet)" in done.note
    for who in ("ada", " Ada "):
        said = approve(ws, NAME, 2, who)
        assert (said.approvals.names, said.approvals.lack, said.promoted) == (("ada",), 1, False)
    assert kinds(ws).count("approval") == 1
    waits = "1 more approval: 1 of 2 approvals (ada), selfheal approve toy 2 --as NAME"
    assert ws.registry.version(NAME, 2).tags["waits"] == waits and ws.registry.production(NAME) == [1]
    said = approve(ws, NAME, 2, "bob")
    assert (said.approvals.names, said.promoted) == (("ada", "bob"), True)
    assert ws.registry.production(NAME) == [2]
    look, change = last_look(ws, NAME), ws.table.journal(NAME)[-1].intent["change"]
    assert look.actor == "ada, bob" and "2 of 2 approvals (ada, bob)" in change["reason"] and not change["alarm"]
    assert approve(ws, NAME, 2, "eve").promoted and kinds(ws).count("approval") == 2, "it serves already"
    assert troubles(ws, NAME) == {}


def test_one_name_is_enough_where_one_is_asked_for(ws):
    write(ws, POLICY.replace("release: {", "release: {approval: manual, "))
    assert not release(ws, NAME, 2).promoted
    assert approve(ws, NAME, 2, "ada").promoted and ws.registry.production(NAME) == [2]


def test_the_loop_promotes_and_recalls_nothing_that_lacks_an_approval(ws):
    promote(ws, NAME, 2, "ann")
    write(ws, TWO)
    for actor in ("flow", "audit"):
        with pytest.raises(RefusedError, match="2 more approvals: 0 of 2"):
            promote(ws, NAME, 3, actor, over=2)
    assert "2 more approvals" in recall(ws, NAME, 1, 2, "seen before").note
    assert ws.registry.production(NAME) == [2]
    assert rollback(ws, NAME, "watch", over=2, reason="worse").settled == 1, "a step back asks nobody"
    assert troubles(ws, NAME) == {}


@pytest.mark.parametrize(
    ("by", "before"),
    [("stage", ()), ("stage", ("ada",)), ("alias", ()), ("command line", ()), ("command line", ("ada",))],
)
def test_a_person_who_moves_it_alone_is_obeyed_and_it_is_said(ws, caplog, by, before):
    write(ws, TWO)
    for who in before:
        approve(ws, NAME, 2, who)
    reconcile(ws, NAME)
    if by == "command line":
        promote(ws, NAME, 2, by)
    elif by == "stage":
        ws.registry.transition(NAME, 2, "Production")
    else:
        ws.registry.store.set_alias(NAME, "champion", 2)
    assert reconcile(ws, NAME).alarm is (by != "command line")
    assert ws.registry.production(NAME) == [2]
    change = ws.table.journal(NAME)[-1].intent["change"]
    assert "1 of 2 approvals (release.approvers)" in change["reason"] and change["alarm"]
    assert len([r for r in caplog.records if "1 of 2 approvals" in r.message]) == 1
    assert "1 of 2 approvals" in troubles(ws, NAME)["approvals"]
    assert any("1 of 2 approvals" in text for text in status(ws, NAME)["health"])
    assert approve(ws, NAME, 3, "ada").approvals.lack == 1
    assert approve(ws, NAME, 3, "bob").promoted and troubles(ws, NAME) == {}


def test_an_approval_is_void_once_what_serves_has_changed(ws):
    write(ws, TWO)
    approve(ws, NAME, 2, "ada")
    promote(ws, NAME, 3, "ann")
    promote(ws, NAME, 1, "ann")
    assert approve(ws, NAME, 2, "bob").approvals.names == ("bob",)
    assert stages(ws)[2] == "Staging"


def test_people_approve_during_a_freeze_and_against_a_quarantine(ws):
    write(ws, TWO)
    promote(ws, NAME, 2, "ann")
    rollback(ws, NAME, "watch", reason="worse")
    freeze(ws, NAME, "ann", "an incident")
    approve(ws, NAME, 2, "ada")
    assert approve(ws, NAME, 2, "bob").promoted and last_look(ws, NAME).quarantined == set()


def test_approvals_at_once_and_a_crash_after_the_last_one(ws, home):
    write(ws, TWO)
    reconcile(ws, NAME)
    with pytest.raises(CrashError):
        approve(replace(ws, checkpoint=Point(0)), NAME, 2, "ada")
    with pytest.raises(CrashError):
        approve(replace(ws, checkpoint=Point(0)), NAME, 2, "bob")
    assert ws.registry.production(NAME) == [1]
    assert approve(ws, NAME, 2, "bob").promoted, "once more, by the same name"

    def approved(who: str) -> bool:
        own = workspace_at(home)
        done = approve(own, NAME, 3, who)
        own.table.close()
        return done.promoted

    with ThreadPoolExecutor(2) as pool:
        assert any(pool.map(approved, ("ada", "bob")))
    assert ws.registry.production(NAME) == [3] and kinds(ws).count("promote") == 2


@pytest.mark.parametrize("who", [" ", "flow", "watch", "reconciler", "audit"])
def test_an_approval_needs_a_persons_name(ws, who):
    with pytest.raises(InputError, match="--as NAME"):
        approve(ws, NAME, 2, who)
    with pytest.raises(NotFoundError, match="no version 9"):
        approve(ws, NAME, 9, "ada")
    assert "approval" not in kinds(ws)
