"""A dry run says what a run would do, and leaves no trace: no row, no run, no version, no tag, no file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from selfheal.loop import foresee, monitor, settle_stages
from selfheal.steering import freeze, promote, reconcile, release, unfreeze
from tests.loop import test_audit as audits
from tests.loop import test_questions as questions
from tests.steering.given import NAME, POLICY, START, rows, send
from tests.steering.test_release import write

pytestmark = pytest.mark.xdist_group("loop")  # Evidently and the fork server are loaded once

FAR = START.replace(year=2027)
N = 200


def everything(ws) -> dict[str, object]:
    """All that both databases hold, and the artifacts."""
    held: dict[str, object] = {}
    for name in ("selfheal.db", "mlflow.db"):
        with closing(sqlite3.connect(ws.settings.home / name)) as connection:
            held[name] = list(connection.iterdump())
    held["artifacts"] = sorted(map(str, ws.settings.artifacts.rglob("*")))
    return held


def foreseen(ws):
    """What a dry run says, having left no trace."""
    before = everything(ws)
    found = foresee(ws, NAME, FAR)
    assert everything(ws) == before
    return found


def would(found) -> list[str]:
    return [text for each in found for text in each.would]


def test_a_heal_and_its_question_are_foreseen_as_they_then_come(ws):
    write(ws, questions.LONG)  # a policy that was not journaled yet
    reconcile(ws, NAME)
    for k in (0, 1):
        send(ws, questions.recalibrated(50 + k), questions.WINDOW * k)
    found = foreseen(ws)
    assert [each.index for each in found] == [0, 1]
    first, second = (each.record for each in found)
    assert first["decision"] == "drift" and found[0].would == ()
    assert (second["decision"], second["heal"]["decision"], second["health"]) == ("heal", "audit", "unhealthy")
    assert found[1].would[0] == "register a version, which would wait for an answer or a person"
    assert found[1].would[1].startswith("ask: Did `temperature` change on 2026-01-01 00:00")
    real = monitor(ws, NAME, FAR)
    for cycle, each in zip(real, found, strict=True):
        same = ("decision", "reasons", "alarm", "confirmed", "patience", "signals", "swap", "policy", "health")
        assert {k: cycle.record[k] for k in same} == {k: each.record[k] for k in same}
    healed = ("decision", "diagnosis", "reasons", "words", "question")
    assert {k: real[1].record["heal"][k] for k in healed} == {k: second["heal"][k] for k in healed}
    assert foreseen(ws) == [], "a window is processed once"


@pytest.mark.parametrize(
    ("release", "says"),
    [
        ("approval: observe, ", "register nothing: release.approval is observe"),
        ("approval: manual, ", "register a version, which would wait for an answer or a person"),
    ],
)
def test_the_policy_has_its_say(ws, release, says):
    write(ws, questions.LONG.replace("release: {", f"release: {{{release}"))
    reconcile(ws, NAME)
    for k in (0, 1):
        send(ws, questions.recalibrated(50 + k), questions.WINDOW * k)
    assert says in would(foreseen(ws))


def test_a_roll_back_is_foreseen_and_nothing_after_it(ws):
    write(ws, POLICY.replace("[2, 3]", "[9, 9]"))
    promote(ws, NAME, 2, "flow", over=1)
    for k in (0, 1):
        send(ws, rows(N, k), N * k)
    found = foreseen(ws)
    assert [(each.index, each.would) for each in found] == [(0, ("roll version 2 back to 1",))]
    freeze(ws, NAME, "ann", "an incident")
    frozen = foreseen(ws)
    assert [each.index for each in frozen] == [0, 1]
    assert all("roll version 2 back to 1, were the loop not frozen by ann" in each.would[0] for each in frozen)
    unfreeze(ws, NAME, "ann")
    promote(ws, NAME, 2, "ann", pin=True)
    assert set(would(foreseen(ws))) == {"roll version 2 back to 1, were it not pinned"}


def test_stages_that_a_person_moved_are_foreseen(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 3, "Production")
    send(ws, rows(N, 1), 0)
    write(ws, POLICY)
    found = foreseen(ws)
    assert [each.index for each in found] == [None]
    assert found[0].would == ("settle the stages first: version 3 was moved to Production",)


def test_what_waits_in_staging_is_foreseen(ws):
    truth = audits.windows(ws)
    version = audits.register(ws)
    assert foreseen(ws) == []
    ws.table.add_labels(NAME, list(truth.index), truth.tolist(), ws.clock())
    (text,) = would(foreseen(ws))
    assert text.startswith(f"promote version {version}, by labels (400 labels: ") and "wait" not in text
    freeze(ws, NAME, "ann", "an incident", datetime.now(UTC) + timedelta(hours=1))
    settle_stages(ws, NAME)
    assert all("which would wait for the end of the freeze by ann" in text for text in would(foreseen(ws)))
    unfreeze(ws, NAME, "ann")
    assert f"promote version {version}, which was held back" in would(foreseen(ws))
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [version]


def test_what_a_freeze_held_back_is_foreseen(ws):
    write(ws, POLICY)
    reconcile(ws, NAME)
    freeze(ws, NAME, "ann", "an incident")
    release(ws, NAME, 2)
    unfreeze(ws, NAME, "ann")
    assert would(foreseen(ws)) == ["promote version 2, which was held back"]
    write(ws, POLICY.replace("release: {", "release: {approvers: 2, "))
    assert would(foreseen(ws)) == ["promote version 2, which was held back, which would wait for 2 approvals"]
