"""``release.approval: observe``: heals run and are logged as runs, nothing is registered, recalled or released."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from flows import wording
from selfheal.loop import answer_question, open_question, settle_stages
from selfheal.steering import freeze, promote, release, unfreeze
from selfheal.steering.releases import recall
from tests.loop import test_questions as questions
from tests.steering.given import NAME, POLICY, stages
from tests.steering.test_release import write

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

OBSERVE = "release: {approval: observe, "


def test_a_heal_is_a_run_and_nothing_else(ws):
    before = stages(ws)
    write(ws, questions.LONG.replace("release: {", OBSERVE))
    frames = questions.recalibrated(50), questions.recalibrated(51)
    heal = questions.windows(ws, 0, *frames)[-1].heal
    assert (heal.decision, heal.version, heal.promoted, heal.failure) == ("audit", None, False, "")
    assert heal.note == "nothing is registered: release.approval is observe" and heal.words
    run = MlflowClient(ws.settings.tracking_uri).get_run(heal.run_id)
    assert (run.info.status, run.data.tags["verdict"]) == ("FINISHED", "audit")
    done = answer_question(ws, NAME, "yes", "ada")
    assert (done.healed.decision, done.healed.version, done.promoted) == ("promote", None, False)
    assert stages(ws) == before and open_question(ws, NAME) is None
    told = done.healed.to_json()
    assert wording.heal_state(told) == "Observed"
    assert wording.heal_message(told).endswith("nothing is registered: release.approval is observe")


def test_what_waited_before_and_recalls_wait_for_a_person(ws):
    promote(ws, NAME, 2, "ann")
    write(ws, POLICY.replace("release: {", OBSERVE))
    assert "a person: release.approval is observe" in release(ws, NAME, 3).note
    assert "a person: release.approval is observe" in recall(ws, NAME, 1, 2, "seen before").note
    assert stages(ws)[2] == "Production"


def test_what_a_freeze_held_is_not_released_where_the_policy_leaves_it_to_people_by_then(ws):
    promote(ws, NAME, 1, "ann")
    freeze(ws, NAME, "ann", "an incident")
    release(ws, NAME, 2)
    write(ws, POLICY.replace("release: {", "release: {approval: manual, "))
    unfreeze(ws, NAME, "ann")
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [1]
    assert ws.registry.version(NAME, 2).tags["waits"] == "a person: release.approval is manual"
