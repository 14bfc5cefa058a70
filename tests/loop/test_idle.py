"""A run that would find nothing is known to, and whatever comes makes it find something again."""

from __future__ import annotations

import pytest

from selfheal.loop import is_idle, settle_stages
from selfheal.steering import freeze, promote
from selfheal.table.heartbeat import STALE_S
from tests.steering.given import NAME, POLICY, START, rows, send
from tests.table.test_heartbeat import let_pass

FAR = START.replace(year=2027)


@pytest.fixture
def settled(ws):
    """Nothing is left to do, and somebody looks at the stages."""
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    settle_stages(ws, NAME)
    settle_stages(ws, NAME)
    ws.table.heartbeats.beat(NAME, "host:1", {})
    assert is_idle(ws, NAME, FAR)
    return ws


def label(ws) -> None:
    ws.table.add_labels(NAME, ["r1"], [1], ws.clock())


def window(ws) -> None:
    send(ws, rows(200, 1), 0)


def policy(ws) -> None:
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY.replace("0.9", "0.8"))


COMES = {
    "a window": window,
    "a label": label,
    "another policy": policy,
    "a person": lambda ws: promote(ws, NAME, 2, "ann"),
    "nobody at the stages": lambda ws: let_pass(ws.settings.database_url, STALE_S + 1),
    "a trouble": lambda ws: ws.table.heartbeats.beat(NAME, "host:1", {"production": "x"}),
}


@pytest.mark.parametrize("what", COMES)
def test_whatever_comes_is_something_to_do(settled, what):
    COMES[what](settled)
    assert not is_idle(settled, NAME, FAR)


def test_what_waits_for_an_hour_is_tried_at_every_run(settled):
    ws = settled
    freeze(ws, NAME, "ann", "an incident")
    from selfheal.steering.releases import release

    assert not release(ws, NAME, 2).promoted
    for _ in range(2):
        settle_stages(ws, NAME)
    assert not is_idle(ws, NAME, FAR)
