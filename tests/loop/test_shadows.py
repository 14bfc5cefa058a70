"""A version that the gate accepted waits in Staging until its shadow answers say what the gate measured."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd
import pytest

from selfheal.errors import PolicyError
from selfheal.loop import monitor, settle_stages, status
from selfheal.policy import Policy
from selfheal.steering import promote, release
from selfheal.steering.models import load_version
from selfheal.steering.shadowing import Compared
from selfheal.table.shadows import ShadowRow
from tests.steering.given import HEALS, NAME, POLICY, START, celsius, kinds, rows, send, toy
from tests.steering.test_release import write

SHADOWED = POLICY.replace("release: {", "release: {shadow: 0.5, shadow_windows: 2, ").replace("[2, 3]", "[9, 9]")


def cold(seed: int) -> pd.DataFrame:
    """A window whose temperatures come in °C."""
    frame = rows(200, seed).drop(columns="y")
    frame[["temperature", "dew"]] = (frame[["temperature", "dew"]] - 32) / 1.8
    return frame


def staged(ws) -> int:
    """A version that was made from window 0, which has just been handled."""
    send(ws, cold(40), 0)
    monitor(ws, NAME, START + timedelta(seconds=200))
    tags = {"diagnosis": "sensor", "verdict": "promote", "parent": 1, "window": 0}
    return ws.registry.register(NAME, toy().with_adapter(HEALS[0]).adapter, tags=tags, sample=cold(40))


def window(ws, number: int, version: int, by, answers: int = 150, frame: pd.DataFrame | None = None) -> None:
    """A window is served by version 1, some of it scored beside by a model under the version's name, and handled."""
    frame = cold(40 + number) if frame is None else frame
    ids = send(ws, frame, 200 * number)
    times = [int((START.timestamp() + 200 * number + i) * 1e6) for i in range(200)]
    said, served = by.predict_proba(frame).tolist(), load_version(ws, NAME, 1).predict_proba(frame).tolist()
    told = [ShadowRow(ids[i], times[i], version, 1, said[i], served[i]) for i in range(answers)]
    ws.table.shadows.add(ws.table.schema(NAME), told)
    monitor(ws, NAME, START + timedelta(seconds=200 * (number + 1)))


def test_it_is_promoted_after_windows_that_agree_with_the_gate(ws):
    write(ws, SHADOWED)
    version = staged(ws)
    done = release(ws, NAME, version)
    assert not done.promoted and "2 windows of shadow answers" in done.note
    assert kinds(ws).count("held") == 1
    healed = load_version(ws, NAME, version)
    window(ws, 1, version, healed)
    assert version in ws.table.shadows.versions(NAME), "the services are told of it"
    window(ws, 2, version, healed)
    found = next(each for each in status(ws, NAME)["shadow"] if each["version"] == version)
    assert (found["answers"], found["agreeing"], found["of"], found["fault"]) == (300, 1, 2, "")
    assert abs(found["differs"] - found["promised"]) < 0.1 and found["promised"] > 0.2
    assert ws.registry.production(NAME) == [1] and kinds(ws).count("held") == 1, "said once, however far it has come"
    settle_stages(ws, NAME)
    assert ws.registry.production(NAME) == [version]


def test_one_that_does_something_else_or_sees_what_is_unusual_stays_and_a_person_may_promote_it(ws):
    write(ws, SHADOWED)
    version = staged(ws)
    release(ws, NAME, version)

    def waits() -> str:
        settle_stages(ws, NAME)
        return ws.registry.version(NAME, version).tags["waits"]

    window(ws, 1, version, toy().with_adapter(celsius("dew")))
    assert "0 so far" in waits() and "window 1" in waits() and "the gate saw" in waits()
    assert any("shadow answers" in text for text in status(ws, NAME)["health"])
    window(ws, 2, version, toy(), answers=20)
    assert "window 2 has 20 shadow answers (at least 100)" in waits()
    usual = rows(200, 43).drop(columns="y")  # of which the map makes what nobody ever saw, and half of it decided alike
    window(ws, 3, version, load_version(ws, NAME, version), frame=usual)
    assert "0 so far" in waits() and "window 3: data" in waits()
    assert ws.registry.production(NAME) == [1]
    assert promote(ws, NAME, version, "ann").settled == version


def test_windows_are_asked_for_only_where_there_are_answers_and_digests_of_before_stay():
    assert Compared.of({"shadow": "hello"}) == Compared.of({"shadow": "[1]"}) == Compared()
    with pytest.raises(PolicyError, match=r"shadow_windows 2 can never be met.*shadow: 0\.1"):
        Policy.load({"release": {"shadow_windows": 2}})
    plain = Policy.load({"release": {"approval": "manual"}})
    assert plain.digest == Policy.load({"release": {"approval": "manual", "shadow": 0.0, "shadow_windows": 0}}).digest
    assert plain.digest != Policy.load({"release": {"approval": "manual", "shadow": 0.1}}).digest
