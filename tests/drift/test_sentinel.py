"""Counts of what is served, against healthy windows and their beginnings."""

from __future__ import annotations

import math

import numpy as np
import pytest

from selfheal.drift.sentinel import HEALTHY, Block, Plan, Tally, make_plan

RULES = [("high", "x > 1.5", 1), ("never", "x > 99", 0)]


def block(seed: int, n: int = 1_000, scale: float = 1.0, level: float = 0.0, kind: str = "abc") -> Block:
    """A window of a day: its level walks up and down again, as it always does."""
    rng = np.random.default_rng(seed)
    x = rng.normal(np.sin(np.linspace(0, 2 * np.pi, n)), 1.0) * scale + level
    gap = np.where(rng.random(n) < 0.1, math.nan, rng.normal(0, 1, n))
    p = 1 / (1 + np.exp(-x))
    words = rng.choice(list(kind), n).astype(object)
    return Block({"x": x, "gap": gap, "word": words}, np.column_stack([1 - p, p]), np.column_stack([x > 1.5, x > 99]))


@pytest.fixture(scope="module")
def plan() -> Plan:
    made = make_plan(3, 3_600, 100, [block(seed) for seed in range(HEALTHY)], RULES)
    assert made is not None
    return made


def told(plan: Plan, rows: Block, n: int = 1_000, step: int = 100) -> tuple[float, str]:
    tally = Tally(plan)
    for at in range(0, n, step):
        part = slice(at, min(at + step, n))
        tally.add({name: values[part] for name, values in rows.columns.items()}, rows.proba[part])
        tally.add_votes(rows.fired[part], rows.proba[part])
    return tally.worst()


def test_a_morning_is_no_drift_and_a_changed_unit_is_by_name(plan):
    for seed in range(40, 52):
        assert told(plan, block(seed), n=150)[0] < 1.0, "a beginning like other beginnings"
        assert told(plan, block(seed))[0] < 1.0
    value, words = told(plan, block(60, scale=1.8, level=32.0), n=200)
    assert value > 1.0 and "after 200 rows" in words
    value, words = told(plan, block(61, kind="xyz"))
    assert value > 1.0 and words.startswith("data: word: ")
    empty = block(62)
    value, words = told(plan, empty._replace(columns={**empty.columns, "gap": np.full(1_000, math.nan)}))
    assert value > 1.0 and words.startswith("data: gap: ")


def test_rules_are_counted_too_and_a_conflict_is_told(plan):
    rows = block(70)
    fired = rows.fired.copy()
    fired[:, 1] = np.arange(1_000) % 9 == 0
    value, words = told(plan, rows._replace(fired=fired))
    assert value > 1.0 and words.startswith("rules: firing rate of never")
    turned = Tally(plan)
    turned.add_votes(rows.fired, rows.proba[:, ::-1])
    assert turned.worst()[1].startswith("rules: conflict with high")


def test_what_is_counted_does_not_depend_on_how_it_comes_and_a_plan_survives_its_text(plan):
    again = Plan.from_json(plan.to_json())
    assert again.gauges == plan.gauges and again.rules[0] == plan.rules[0] and math.isnan(again.rules[1].conflict)
    rows = block(80)
    assert told(plan, rows, step=1_000) == told(plan, rows, step=7) == told(again, rows)
    assert make_plan(3, 3_600, 100, [block(seed) for seed in range(HEALTHY - 1)], RULES) is None
    assert Tally(plan).worst()[0] == 0.0
