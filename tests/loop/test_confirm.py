"""A heal that rests on a new rule is on trial: eight labels confirm it or take it back, and its time is bounded."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from selfheal import Adapter
from selfheal.cli.standing import standing
from selfheal.loop import load, monitor, status
from selfheal.loop.confirm import CONFIRMED, ON_TRIAL, UNTIL, probation
from selfheal.policy import Policy
from selfheal.steering import promote
from tests.steering.given import NAME, POLICY, START, rows, send, stages, toy

FAR = START.replace(year=2028)
RULE = "{name: gale, when: wind > 15, vote: 1, knowledge: new, until_confirmed: {share: 0.3, for: 2d}}"
ON = POLICY.replace("rules:\n", f"rules:\n  - {RULE}\n").replace("[2, 3]", "[9, 9]")


@pytest.fixture
def serving(ws) -> int:
    """A version that rests on the rule, put into Production by the loop; its window is the first."""
    (ws.settings.rules / "toy.yaml").write_text(ON)
    send(ws, rows(200, 1), 0)
    monitor(ws, NAME, FAR)
    tags = {"diagnosis": "concept", "verdict": "promote", "parent": 1, "window": 0}
    tags |= probation(load(ws, NAME).policy, ["gale"], START)
    version = ws.registry.register(
        NAME, toy().with_adapter(Adapter(logit_offset=np.array([0.0, 0.1]))).adapter, tags=tags, description="a rule"
    )
    promote(ws, NAME, version, "flow", over=1)
    return version


def windy(seed: int) -> pd.DataFrame:
    return rows(400, seed).query("wind > 15").head(100)


def label(ws, frame: pd.DataFrame, first: int, vote: int, count: int) -> None:
    ids = send(ws, pd.concat([frame, rows(200 - len(frame), first)]), first)
    monitor(ws, NAME, FAR)
    ws.table.add_labels(NAME, ids[:count], [vote] * count, ws.clock())


def tags(ws, version: int) -> dict[str, str]:
    return ws.registry.version(NAME, version).tags


def told(ws) -> list[str]:
    return [
        e.intent["reasons"][0] for e in ws.table.journal(NAME, kind="alert") if e.intent["what"] == "a rule on trial"
    ]


def test_labels_confirm_it(ws, serving):
    assert tags(ws, serving)[ON_TRIAL] == "gale"
    assert datetime.fromisoformat(tags(ws, serving)[UNTIL]) == START + timedelta(days=2)
    (line,) = (text for text in standing(status(ws, NAME)) if text.startswith("  on trial"))
    assert line == "  on trial  `gale` until 2026-01-03 00:00: taken back unless labels of its rows confirm it"
    label(ws, windy(3), 200, 1, 8)
    monitor(ws, NAME, FAR)
    assert status(ws, NAME)["production"]["trial"] is None
    assert tags(ws, serving)[CONFIRMED] == "`gale` was right on 4 of 4 labelled rows"
    assert tags(ws, serving)[ON_TRIAL] == "" and stages(ws)[serving] == "Production"


def test_labels_refute_it_and_it_is_taken_back(ws, serving):
    label(ws, windy(3), 200, 0, 8)
    monitor(ws, NAME, FAR)
    assert ws.registry.production(NAME) == [1]
    assert told(ws) == ["labels refute its rule: `gale` was right on 0 of 4 labelled rows"]
    assert status(ws, NAME)["quarantine"] == [serving]


def test_its_time_ends_with_a_warning_a_day_before(ws, serving):
    def at(first: int, after: timedelta) -> None:
        """A window whose rows are of that time."""
        late = first + int(after.total_seconds())
        send(ws, rows(200, first), late)
        monitor(ws, NAME, FAR)
        monitor(ws, NAME, FAR)

    at(200, timedelta(hours=20))
    assert told(ws) == []
    at(400, timedelta(hours=25))
    (warning,) = told(ws)
    assert warning.startswith("`gale` was right on 0 of 0 labelled rows; unconfirmed, it is taken back at 2026-01-03")
    at(600, timedelta(hours=30))
    assert len(told(ws)) == 1, "warned once"
    at(800, timedelta(hours=49))
    assert ws.registry.production(NAME) == [1]
    assert told(ws)[-1].startswith("its rule was not confirmed by 2026-01-03 00:00")


def test_rules_without_a_trial_are_trusted_as_declared():
    policy = Policy.load({"rules": [{"name": "r", "when": "x > 1", "vote": 1, "knowledge": "new"}]})
    assert probation(policy, ["r"], START) == {}
