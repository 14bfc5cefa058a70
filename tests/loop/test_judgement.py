"""Labels that come later judge what was decided: the diagnosis, the promotion, the refusal and what it cost."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from selfheal.cli.standing import standing
from selfheal.loop import load, pending, settle_stages, status
from selfheal.loop.judgement import LEAST, counted, judge_decisions, judged, score
from selfheal.steering import reconcile
from selfheal.table import InferenceTable
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send

FAR = START.replace(year=2027)
HEAL = {"decision": "promote", "diagnosis": "sensor", "version": 2, "promoted": True, "run_id": "", "words": []}
CELSIUS = ("temperature", "dew")


def decided(ws, frames: list[pd.DataFrame], versions: list[int], **heal: Any) -> list[list[str]]:
    """Windows that were looked at, of which the first was healed so; the ids of their rows."""
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    reconcile(ws, NAME)
    ids = [send(ws, frame, 200 * k) for k, frame in enumerate(frames)]
    for ref in pending(ws, NAME, FAR):
        told = {"decision": "drift", "health": "waiting", "data_fault": [], "swap": 0, "version": versions[ref.index]}
        ws.table.record_cycle(NAME, ref.index, told | ({"heal": HEAL | heal} if ref.index == 0 else {}))
    return ids


def labelled(ws, ids: list[list[str]], frames: list[pd.DataFrame], most: int = 200) -> None:
    for own, frame in zip(ids, frames, strict=True):
        ws.table.add_labels(NAME, own[:most], frame["y"].tolist()[:most], ws.clock())


def said(ws) -> dict[str, Any]:
    return ws.table.cycles(NAME)[0]["judged"]


def test_a_promotion_that_helped_is_judged_on_windows_after_it(ws):
    frames = [in_celsius(rows(200, 50 + k), *CELSIUS) for k in range(4)]
    ids = decided(ws, frames, [1, 2, 2, 1])
    labelled(ws, ids[1:2], frames[1:2], LEAST - 1)
    assert judged(load(ws, NAME)).cycles[0].get("judged") is None, "too few labels say nothing"
    labelled(ws, ids, frames)
    settle_stages(ws, NAME)
    told = said(ws)
    assert told["windows"] == [1, 2] and told["labelled"] == 400, "its own window it has seen; the last one it left"
    assert (told["right"], told["helped"], told["cost"]) == (True, True, 0)
    assert told["with"] > 0.9 > told["without"] and told["level"] > 0.9
    before = ws.table.cycles(NAME)
    settle_stages(ws, NAME)
    assert ws.table.cycles(NAME) == before, "nothing new was said"
    assert [c["realised"]["labelled"] for c in before] == [200] * 4
    run = ws.registry._door.asked
    with run("read a run") as client:
        found = client.search_runs([ws.registry.runs.experiment(NAME)], "tags.`selfheal.kind` = 'watch'")
    assert found[0].data.metrics["score/promotions good"] == 1.0
    state = status(ws, NAME)
    assert state["score"]["promotions"] == {"judged": 1, "good": 1, "bad": 0, "cost": 0}
    assert "  score     right by labels: diagnoses 1 of 1, promotions 1 of 1" in standing(state)


@pytest.mark.parametrize(
    ("celsius", "versions", "heal", "right", "helped", "costs"),
    [
        (False, [1, 2, 2], {}, False, False, True),
        (True, [1, 1, 1], {"decision": "audit", "promoted": False}, True, False, True),
        (False, [1, 1, 1], {"decision": "audit", "promoted": False}, False, True, False),
        (False, [1, 1, 1], {"decision": "keep", "diagnosis": "benign", "version": None}, True, True, False),
        (True, [1, 1, 1], {"decision": "keep", "diagnosis": "benign", "version": None}, False, False, True),
        (True, [1, 1, 1], {"decision": "refuse", "diagnosis": "data_fault", "version": None}, True, None, False),
        (True, [1, 1, 1], {"decision": "refuse", "diagnosis": "unknown", "version": None}, None, None, True),
    ],
    ids=["harmful", "held too long", "rightly held", "rightly kept", "wrongly kept", "a fault", "nobody knows"],
)
def test_each_decision(ws, celsius, versions, heal, right, helped, costs):
    frames = [in_celsius(rows(200, 50 + k), *(CELSIUS if celsius else ())) for k in range(3)]
    ids = decided(ws, frames, versions, **heal)
    labelled(ws, ids, frames)
    judged(load(ws, NAME))
    told = said(ws)
    assert (told["right"], told["helped"], told["cost"] > 0) == (right, helped, costs), told
    lines = counted(score(ws.table.cycles(NAME)))
    assert any("answers were wrong that need not have been" in line for line in lines) == costs


def test_what_cannot_be_read_is_left(ws, caplog):
    frames = [rows(200, k) for k in range(2)]
    ids = decided(ws, frames, [1, 77], version=77)
    labelled(ws, ids, frames)
    assert judged(load(ws, NAME)).cycles[0].get("judged") is None
    assert "its decision was not judged" in caplog.text and "has no version 77" in caplog.text


def test_without_new_labels_or_windows_none_are_counted(ws, monkeypatch):
    frames = [in_celsius(rows(200, 50 + k), *CELSIUS) for k in range(2)]
    ids = decided(ws, frames, [1, 2])
    labelled(ws, ids[1:], frames[1:], 100)
    judge_decisions(load(ws, NAME))
    assert said(ws)["labelled"] == 100
    serving = load(ws, NAME)
    with monkeypatch.context() as patched:
        patched.setattr(InferenceTable, "labelled_windows", lambda *_: pytest.fail("asked again"))
        assert judge_decisions(serving) is serving
    labelled(ws, ids[1:], frames[1:])
    judge_decisions(load(ws, NAME))
    assert said(ws)["labelled"] == 200
