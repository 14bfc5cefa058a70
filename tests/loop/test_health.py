"""What the healer found harmless enters the yardstick only where it would not blind it to harm."""

from __future__ import annotations

import pandas as pd

import selfheal
from selfheal.alerts.conditions import ills
from selfheal.drift.signals import signals
from selfheal.loop.health import far, health_of
from selfheal.loop.records import Decision, HealRecord, Inspection
from selfheal.table.samples import HEALTHY
from tests.steering.given import rows, toy

CONFIRMED = Decision("heal", ("data: 90 of the bound",), alarm=True, confirmed=True)


def window(seed: int, wind: float = 1.0, warmer: float = 0.0) -> pd.DataFrame:
    """Of `wind` the model makes nothing; of the temperature it does."""
    made = rows(1000, seed).drop(columns="y")
    return made.assign(wind=made["wind"] * wind, temperature=made["temperature"] + warmer)


def test_a_column_twice_as_large_is_harmless_and_no_yardstick() -> None:
    model, calm = toy(), [window(100 + k) for k in range(6)]
    doubled = window(300, wind=2.0)
    found = selfheal.heal(model, doubled, calm)
    assert (found.decision, found.diagnosis) == ("keep", "benign")
    seen = Inspection(signals=signals(model, doubled, calm))
    assert seen.alarm and far(seen)
    health = health_of(CONFIRMED, HealRecord(7, found.decision, found.diagnosis), [], off=False, far=far(seen))
    assert health == "harmless" and health not in HEALTHY
    told = {"index": 7, "decision": "heal", "confirmed": True, "health": health, "reasons": [], "heal": None}
    assert ills(told) == {} and ills(told | {"health": "unhealthy"}) != {}, "nobody need look"

    harmful = window(505, wind=2.0, warmer=3.0)
    poisoned = [*calm[3:], *(window(400 + k, wind=2.0) for k in range(3))]
    assert not signals(model, harmful, poisoned)[0].alarm, "what letting it in would cost"
    assert signals(model, harmful, calm)[0].alarm


def test_natural_drift_is_followed() -> None:
    model, calm = toy(), [window(100 + k) for k in range(6)]
    drifted = window(300, wind=1.1)
    seen = Inspection(signals=signals(model, drifted, calm))
    assert seen.alarm and not far(seen)
    assert health_of(CONFIRMED, HealRecord(7, "keep", "benign"), [], off=False, far=far(seen)) == "cleared"
