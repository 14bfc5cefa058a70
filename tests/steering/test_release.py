"""Who may put a healed version into Production: the policy, the quarantine, a person."""

from __future__ import annotations

import pytest

from selfheal.errors import InputError
from selfheal.loop import add_labels
from selfheal.steering import archive, promote, reconcile, release, rollback
from selfheal.steering.policies import policy_of_record
from selfheal.steering.releases import recall
from tests.steering.given import HEALS, NAME, POLICY, kinds, rows, send, stages, toy


def write(ws, text: str) -> None:
    (ws.settings.rules / "toy.yaml").write_text(text)


def register(ws, adapter, **tags: object) -> int:
    sample = rows(200, 9).drop(columns="y")
    tags = {"diagnosis": "sensor", "verdict": "promote", "parent": 1, **tags}
    return ws.registry.register(NAME, toy().with_adapter(adapter).adapter, tags=tags, sample=sample)


def test_auto_promotes_and_manual_waits(ws):
    write(ws, POLICY.replace("release: {", "release: {approval: manual, "))
    done = release(ws, NAME, 2)
    assert not done.promoted and "release.approval is manual" in done.note
    assert ws.registry.version(NAME, 2).tags["waits"].startswith("a person")
    write(ws, POLICY)
    assert release(ws, NAME, 2).promoted
    assert ws.registry.production(NAME) == [2]
    assert release(ws, NAME, 2).promoted, "again is no error"


@pytest.mark.parametrize("ambiguous", ["audit", "promote", "refuse"])
def test_what_the_gate_sends_to_audit_waits(ws, ambiguous):
    write(ws, POLICY.replace("release: {", f"release: {{ambiguous: {ambiguous}, "))
    version = register(ws, HEALS[0], verdict="audit")
    release(ws, NAME, version)
    assert stages(ws)[version] == "Staging"
    assert ws.registry.version(NAME, version).tags["waits"].startswith("an audit")


def test_the_like_of_a_version_that_was_rolled_back_waits(ws):
    promote(ws, NAME, 2, "flow", over=1)
    rollback(ws, NAME, "watch", reason="worse")
    same, other_reason, other = (
        register(ws, HEALS[0]), register(ws, HEALS[0], diagnosis="prior"), register(ws, HEALS[2])
    )  # fmt: skip
    done = release(ws, NAME, same)
    assert not done.promoted and "predicts like version 2" in done.note
    assert release(ws, NAME, other_reason).promoted
    promote(ws, NAME, 1, "ann")
    assert release(ws, NAME, other).promoted
    assert promote(ws, NAME, same, "ann").settled == same, "a person may"


def test_what_a_person_archived_is_not_released(ws):
    archive(ws, NAME, 2, "ann")
    assert "somebody took it out of Staging" in release(ws, NAME, 2).note


def test_a_version_compared_with_another_than_serves_now_waits(ws):
    promote(ws, NAME, 3, "ann")
    done = release(ws, NAME, 2)
    assert not done.promoted and "compared with version 1, but 3 serves" in done.note


def test_a_recall_that_was_compared_with_another_than_serves_now_waits(ws):
    promote(ws, NAME, 2, "ann")
    done = recall(ws, NAME, 1, 3, "seen before")
    assert not done.promoted and "compared with version 3, but 2 serves" in done.note
    assert recall(ws, NAME, 1, 2, "seen before").promoted


def test_the_policy_of_record(ws):
    model = toy()
    assert policy_of_record(ws, NAME, model).policy == model.policy, "no file: the copy at adoption"
    write(ws, POLICY.replace("[2, 3]", "[1, 2]"))
    first = policy_of_record(ws, NAME, model)
    assert (first.policy.heal.patience, first.fault) == ((1, 2), "")
    assert policy_of_record(ws, NAME, model) == first
    assert kinds(ws).count("policy") == 1, "journaled when it changes"
    write(ws, POLICY.replace("warm, when: temperature", "warm, when: temprature"))
    kept = policy_of_record(ws, NAME, model)
    assert kept.policy == first.policy, "the last valid one stays"
    assert "temprature" in kept.fault and "did you mean 'temperature'" in kept.fault
    reconcile(ws, NAME)
    assert kinds(ws).count("policy") == 1


def test_labels_from_a_file(ws, tmp_path):
    ids = send(ws, rows(5, 1), 0)
    file = tmp_path / "labels.csv"
    file.write_text("prediction_id,label\n" + "".join(f"{i},{k % 2}\n" for k, i in enumerate(ids)) + "later,1.0\n")
    report = add_labels(ws, NAME, file)
    assert (report.stored, report.pending, report.refused) == (5, 1, 0)
    file.write_text("prediction_id,label\nr0,rain\n")
    with pytest.raises(InputError, match="'rain'"):
        add_labels(ws, NAME, file)
    file.write_text("prediction,label\nr0,1\n")
    with pytest.raises(InputError, match="column 'prediction_id' is missing; did you mean 'prediction'"):
        add_labels(ws, NAME, file)
    with pytest.raises(InputError, match="cannot be read"):
        add_labels(ws, NAME, tmp_path / "none.csv")
