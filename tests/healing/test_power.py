"""No verdict without the power for it: what so many rows cannot tell is asked, what was denied is not guessed at."""

from __future__ import annotations

import pandas as pd
import pytest

import selfheal
from selfheal.healing.outcome import Outcome
from tests.healing.worlds import now
from tests.steering.given import rows, toy


def heal(window: pd.DataFrame, n: int, seed: int, facts: object = ()) -> Outcome:
    recent = [rows(n, 1000 + 10 * seed + k).drop(columns="y") for k in range(6)]
    return selfheal.heal(toy(), window.drop(columns="y"), recent=recent, seed=seed, facts=facts)


@pytest.mark.parametrize("factor", now(1.5, 0.6, more=(1.6, 2.0, 2.2)))
def test_a_factor_near_many_listed_ones_is_asked_about(factor: float) -> None:
    window = rows(1000, 100)
    asked = heal(window.assign(temperature=window["temperature"] * factor), 1000, 3)
    assert (asked.decision, asked.asks) == ("audit", "fact"), asked.reasons
    assert "`temperature`" in asked.question


@pytest.mark.parametrize("line", [(1.4, 25.0), (0.7, -5.0)])
def test_a_line_passes_for_no_conversion_however_few_the_rows(line: tuple[float, float]) -> None:
    for n in (200, 1000):
        window = rows(n, 103)
        outcome = heal(window.assign(temperature=window["temperature"] * line[0] + line[1]), n, 3)
        assert outcome.decision != "promote", outcome.reasons


def test_degrees_are_told_by_scale_and_offset_at_once() -> None:
    window = rows(1000, 100)
    outcome = heal(window.assign(temperature=(window["temperature"] - 32) / 1.8), 1000, 3)
    assert outcome.decision == "promote" and outcome.adapter is not None, outcome.reasons
    assert outcome.adapter.describe() == ["temperature: °C → °F"]


def test_a_no_is_not_answered_with_the_neighbour() -> None:
    window = rows(1000, 100)
    window = window.assign(temperature=window["temperature"] / 0.45359237)
    asked = heal(window, 1000, 3)
    assert asked.asks == "fact"
    denied = heal(window, 1000, 3, facts=asked.answers["no"])
    assert denied.decision != "promote", denied.reasons
    confirmed = next(a for option, a in asked.answers.items() if option not in ("no", "unknown"))
    assert heal(window, 1000, 3, facts=confirmed).decision == "promote"


def test_two_hundred_rows_invent_no_class_shares() -> None:
    for seed in range(6):
        window = rows(200, 300 + seed)
        outcome = heal(window.assign(wind=window["wind"] * 2.0), 200, seed)
        assert (outcome.decision, outcome.diagnosis) != ("promote", "prior"), outcome.reasons
