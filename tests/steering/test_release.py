"""Who may put a healed version into Production: the policy, the quarantine, a person."""

from __future__ import annotations

import pytest
import yaml

from selfheal.errors import InputError
from selfheal.loop import add_labels
from selfheal.model import MonitoredModel
from selfheal.policy import Policy
from selfheal.registry.adoption import adopt_model
from selfheal.steering import archive, promote, reconcile, release, rollback
from selfheal.steering.models import serving_pointer
from selfheal.steering.policies import policy_fault, policy_of_record
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


def test_a_declaration_that_cannot_be_meant_is_refused_unless_it_is_in_force(ws):
    ours = {"model": "fahrenheit", "target": "y"}
    part, frame = toy(), rows(2400, 0).rename(columns={"temperature": "temp_f"})
    model = MonitoredModel(part.backbone, part.head, frame, policy=ours, name="fahrenheit")
    wrong = ours | {"declare": {"units": {"temp_f": "km"}}}
    with pytest.raises(InputError, match=r"temp_f is 'km', a unit of length, .* in '°F'"):
        model.with_policy(wrong)
    with pytest.raises(InputError, match="temp_f is 'km'"):
        adopt_model("fahrenheit", model.with_policy(Policy.load(wrong)), ws.registry, ws.table)
    adopt_model("fahrenheit", model, ws.registry, ws.table)
    reconcile(ws, "fahrenheit")
    path = ws.settings.rules / "fahrenheit.yaml"
    path.write_text(yaml.safe_dump(wrong))
    held = policy_of_record(ws, "fahrenheit")
    assert "temp_f is 'km'" in held.fault and held.policy == model.policy, "the adopted one stays"
    assert policy_fault(ws, "fahrenheit") == held.fault

    # What an earlier release adopted with it goes on, until the next change of the file.
    ws.table.keep_policy("fahrenheit", serving_pointer(ws, "fahrenheit").base_manifest, Policy.load(wrong).to_yaml())
    held = policy_of_record(ws, "fahrenheit")
    assert (held.fault, policy_fault(ws, "fahrenheit")) == ("", "")
    assert held.policy.declare.units == {"temp_f": "km"}
    path.write_text(yaml.safe_dump(wrong | {"monitor": {"min_rows": 100}}))
    assert "temp_f is 'km'" in policy_fault(ws, "fahrenheit")
    assert policy_of_record(ws, "fahrenheit").policy == held.policy


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
