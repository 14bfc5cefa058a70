"""The sentinel between service and monitor: what is usual is told, and what was cut is handled as a window."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from selfheal.drift.sentinel import HEALTHY, Plan, Tally
from selfheal.errors import PolicyError
from selfheal.loop import monitor, status
from selfheal.loop.context import load
from selfheal.loop.sentinels import tell_sentinel
from selfheal.policy import Policy
from tests.steering.given import NAME, POLICY, START, rows, send, toy
from tests.steering.test_release import write

WATCHED = POLICY.replace("window: 200 rows", "window: 1h, sentinel: true")


def test_the_services_are_told_what_is_usual_and_nothing_where_nobody_asks(ws):
    for index in range(HEALTHY):
        sample = rows(500, 80 + index).drop(columns="y")
        ws.table.record_cycle(NAME, index, {"health": "healthy", "swap": 0}, sample=sample)
    tell_sentinel(load(ws, NAME))
    assert ws.table.sentinels.plan(NAME) == ""
    write(ws, WATCHED)
    tell_sentinel(load(ws, NAME))
    plan = Plan.from_json(ws.table.sentinels.plan(NAME))
    assert (plan.version, plan.window_us, plan.min_rows, plan.rows) == (1, 3_600_000_000, 100, 500 * HEALTHY)
    assert [gauge.name for gauge in plan.gauges] == ["temperature", "dew", "wind", "probability of class 1"]
    assert [(rule.name, rule.vote) for rule in plan.rules] == [("warm", 1)]
    tally, frame = Tally(plan), rows(500, 90).drop(columns="y")
    tally.add({name: frame[name].to_numpy() for name in frame}, toy().predict_proba(frame))
    tally.add_votes((frame["temperature"] > 70).to_numpy()[:, None], toy().predict_proba(frame))
    assert 0 < tally.worst()[0] < 1
    write(ws, POLICY)
    tell_sentinel(load(ws, NAME))
    assert ws.table.sentinels.plan(NAME) == ""


def test_a_window_that_was_cut_is_handled_and_says_so(ws):
    write(ws, WATCHED)
    send(ws, rows(300, 91), 0)
    cut = START + timedelta(seconds=200)
    start, end = (int(at.timestamp() * 1e6) for at in (START, cut))
    assert ws.table.sentinels.ask(ws.table.schema(NAME), start, end, 100, "data: temperature: 1.40 of its bound")
    done = monitor(ws, NAME, START + timedelta(minutes=30))
    assert [(c.ref.index, c.ref.end, c.ref.rows) for c in done] == [(0, cut, 200)]
    assert np.isfinite(done[0].record["signals"][0]["value"])
    assert status(ws, NAME)["cycles"][0]["early"].startswith("data: temperature")


def test_what_is_never_cut_is_not_watched_and_digests_of_before_stay():
    with pytest.raises(PolicyError, match="windows of 365 rows are never cut"):
        Policy.load({"monitor": {"window": "365 rows", "sentinel": True}})
    with pytest.raises(PolicyError, match=r"read from log\.from"):
        Policy.load({"monitor": {"sentinel": True}, "log": {"from": "/data/scored"}})
    assert Policy.load({"monitor": {"sentinel": False}}).digest == Policy.load({}).digest
    assert Policy.load({"monitor": {"sentinel": True}}).digest != Policy.load({}).digest
