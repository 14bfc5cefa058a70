"""A frozen loop: windows, heals, answers, audits and labels go on; what they would change waits and is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows import wording
from selfheal.cli.standing import standing
from selfheal.loop import Inspection, answer, answer_question, load, monitor, open_audit, pending, settle_stages, status
from selfheal.loop.watch import watched_over
from selfheal.steering import freeze, promote, unfreeze
from selfheal.steering.look import last_look
from tests.loop import test_audit as audits
from tests.loop import test_questions as questions
from tests.steering.given import NAME, POLICY, START, kinds, rows, send, stages

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

FAR = START.replace(year=2027)
N = 200


def alerts(ws) -> list[str]:
    return [e.intent["what"] for e in ws.table.journal(NAME, kind="alert")]


def test_worse_is_an_alarm_and_the_roll_back_comes_after_the_freeze(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY.replace("[2, 3]", "[9, 9]"))  # no heal: the watch alone
    promote(ws, NAME, 2, "flow", over=1)  # °C to °F, on data that are in °F
    freeze(ws, NAME, "ann", "an incident")
    for k in range(4):  # more than watch_windows
        send(ws, rows(N, k), N * k)
    cycles = monitor(ws, NAME, FAR)
    assert {(c.watch.verdict, c.watch.rolled_back, c.watch.held) for c in cycles} == {("worse", False, True)}
    assert stages(ws)[2] == "Production" and "rollback" not in kinds(ws)
    assert alerts(ws).count("version 2 is worse than 1, and the loop is frozen") == 4
    assert "waits for the end of the freeze by ann" in cycles[-1].watch.reasons[-1]
    record = {**cycles[-1].record, "index": 3}
    assert wording.state(record) == "Worse, frozen" and not wording.healthy(record)
    assert wording.message(record).startswith("v2 is worse than v1: the roll-back waits for")
    told = status(ws, NAME)
    assert any(text.startswith("window 3: version 2 is worse than 1, not rolled back") for text in told["health"])
    assert any(line.startswith("  frozen    by ann since 20") and line.endswith("incident") for line in standing(told))
    unfreeze(ws, NAME, "ann")
    send(ws, rows(N, 9), N * 4)
    (cycle,) = monitor(ws, NAME, FAR)
    assert cycle.watch.rolled_back and last_look(ws, NAME).settled == 1


def test_late_labels_roll_nothing_back_either(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    promote(ws, NAME, 2, "flow", over=1)
    freeze(ws, NAME, "ann", "an incident")
    frame = rows(N, 1)
    ws.table.add_labels(NAME, send(ws, frame, 0), frame["y"].tolist(), ws.clock())
    ctx = load(ws, NAME).at(pending(ws, NAME, FAR)[-1])
    verdict = watched_over(replace(ctx, seen=Inspection()))
    assert (verdict.verdict, verdict.by, verdict.held) == ("worse", "labels", True)


def test_an_answer_is_taken_and_its_version_waits(ws):
    question = questions.asked(ws)
    freeze(ws, NAME, "ann", "an incident")
    done = answer_question(ws, NAME, "yes", "ada")
    assert not done.promoted and "waits for the end of the freeze by ann" in done.note
    assert stages(ws)[question.version] == "Staging" and ws.registry.production(NAME) == [1]
    unfreeze(ws, NAME, "ann")
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [question.version]


def test_an_audit_that_passed_waits(ws):
    truth = audits.windows(ws)
    version = audits.register(ws)
    freeze(ws, NAME, "ann", "an incident")
    audit = open_audit(ws, NAME)
    while not audit.verdict:
        key = audit.asked.open_rows.index[0]
        audit = answer(ws, audit, {key: str(truth[key])})
    assert (audit.verdict, audit.promoted) == ("passed", False) and "end of the freeze by ann" in audit.note
    assert ws.registry.production(NAME) == [1]
    unfreeze(ws, NAME, "ann")
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [version] and last_look(ws, NAME).actor == "audit"


def test_labels_that_prove_what_waits_do_not_release_it(ws):
    truth = audits.windows(ws)
    version = audits.register(ws)
    freeze(ws, NAME, "ann", "an incident")
    ws.table.add_labels(NAME, list(truth.index), truth.tolist(), ws.clock())
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [1]
    assert audits.tag(ws, version, "waits").startswith("the end of the freeze by ann")
    unfreeze(ws, NAME, "ann")
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [version]
