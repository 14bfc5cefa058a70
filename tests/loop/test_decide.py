"""Patience, cooldown, baking and the yardstick: pure decisions on made-up histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfheal.drift.signals import JOINT, Signal
from selfheal.loop.context import YARDSTICK_WINDOWS, Context
from selfheal.loop.decide import bakes, decided, nominal
from selfheal.loop.health import CLEARED_AT_MOST, health_of, released
from selfheal.loop.records import Decision, HealRecord, Inspection
from selfheal.policy import Policy
from selfheal.steering.look import Look
from selfheal.steering.policies import PolicyOfRecord
from selfheal.table import WindowRef
from tests.steering.given import START

HOUR = timedelta(hours=1)
LOOK = Look(settled=2, lineage=(1,), stages={1: "Archived", 2: "Production"}, swap=7, actor="flow")


def policy(**heal: Any) -> Policy:
    return Policy.load({"heal": {"patience": [2, 3], "cooldown": "2h", **heal}, "monitor": {"window": "1h"}})


def ref(index: int, *, joined: int = 1, too_few: bool = False) -> WindowRef:
    return WindowRef("toy", index, START + index * HOUR, START + (index + 1) * HOUR, 600, joined, too_few)


def looked(
    index: int, alarm: bool, past: Sequence[dict[str, Any]] = (), *, rule: Policy | None = None,
    newest: bool = True, problems: tuple[str, ...] = (),
) -> Context:  # fmt: skip
    """An inspected window. No decision asks a store for anything, or for the model."""
    signals = (Signal("data", alarm, "score", 2.0 if alarm else 0.5, 1.0, "why"), Signal("rules", False, "", 0, 1, ""))
    return Context(
        ws=None, name="toy", look=LOOK, version=2, model=None, of_record=PolicyOfRecord(rule or policy()),
        cycles=tuple(past), versions=None, ref=ref(index), newest=newest,
        seen=Inspection(problems, signals=signals, own_share=1.0),
    )  # fmt: skip


def cycle(index: int, alarm: bool, **more: Any) -> dict[str, Any]:
    window = ref(index)
    return {
        "index": index, "start": window.start.isoformat(), "end": window.end.isoformat(), "swap": 7, "alarm": alarm,
        "confirmed": False, "decision": "drift" if alarm else "stable", "own_share": 1.0, "heal": None, "watch": None,
        "health": "waiting" if alarm else "healthy", **more,
    }  # fmt: skip


def history(*alarms: bool, first: int = 0) -> list[dict[str, Any]]:
    return [cycle(first + i, alarm) for i, alarm in enumerate(alarms)]


def test_a_window_that_was_closed_early_and_its_rest_are_one():
    early = cycle(1, True, early="data: x", end=(START + 1.5 * HOUR).isoformat())
    assert decided(looked(2, True, [cycle(0, False), early])).count == 1
    assert decided(looked(3, True, [early, cycle(2, True)])).kind == "heal"
    assert decided(looked(4, True, [cycle(0, True), early, cycle(2, False), cycle(3, False)])).count == 2
    after = [cycle(0, True), cycle(1, True, early="x", heal={"failure": ""}, end=(START + 1.5 * HOUR).isoformat())]
    rule = policy(cooldown="61m")
    assert "cooldown" in decided(looked(2, True, after, rule=rule)).reasons[-1], (
        "an hour, by the clock of whole windows"
    )
    assert decided(looked(2, True, after, rule=policy(cooldown="60m"))).kind == "heal"
    rule = Policy.load({"release": {"bake_windows": 1}})
    assert "0 of 1" in bakes(LOOK, [early], rule, 2), "the rest of a window does not make it another"
    assert bakes(LOOK, [early, cycle(2, False)], rule, 3) == bakes(LOOK, [early], rule, 4) == ""
    assert [len(one) for one in nominal([cycle(0, False), early, cycle(2, True), cycle(3, True)])] == [1, 2, 1]


@pytest.mark.parametrize(
    ("before", "now", "kind"),
    [
        ([], True, "drift"),
        ([False], False, "stable"),
        ([False, True], True, "heal"),
        ([True, False], True, "heal"),
        ([True, False, False], True, "drift"),
        ([True, True], False, "stable"),
    ],
)
def test_patience(before, now, kind):
    assert decided(looked(len(before), now, history(*before))).kind == kind


def test_patience_of_one():
    assert decided(looked(1, True, history(True), rule=policy(patience=[1, 1]))).kind == "heal"


def test_alarms_under_another_version_do_not_count():
    assert decided(looked(1, True, [cycle(0, True, swap=3)])).kind == "drift"


def test_alarms_long_ago_in_event_time_do_not_count():
    assert decided(looked(30, True, history(True))).kind == "drift"


def test_windows_at_fault_or_too_small_are_passed_over():
    between = [cycle(1, False, decision="data_fault"), cycle(2, False, decision="too_few")]
    assert decided(looked(3, True, [cycle(0, True), *between])).kind == "heal"


CONFIRMED = {"confirmed": True, "health": "unhealthy", "decision": "heal", "rows": 600}


def loud(value: float, measure: str = "the model's score") -> dict[str, Any]:
    return {**CONFIRMED, "signals": [{"alarm": True, "value": value, "measure": measure}]}


@pytest.mark.parametrize(
    ("before", "rows", "kind"),
    [
        (cycle(1, True, **loud(3.0)), 26, "too_few"),
        (cycle(1, True, **loud(6.0)), 26, "stable"),
        (cycle(1, True, **loud(6.0, JOINT)), 26, "too_few"),
        (cycle(1, True, **loud(3.0)), 151, "stable"),
        (cycle(1, True, **(loud(3.0) | {"health": "cleared"})), 26, "stable"),
        (cycle(1, True, **loud(3.0), swap=3), 26, "stable"),
        (cycle(1, False, **(CONFIRMED | {"confirmed": False, "data_fault": ["x"]})), 26, "too_few"),
        (cycle(1, False, **(CONFIRMED | {"confirmed": False, "data_fault": ["x"]})), 120, "stable"),
        (cycle(1, False, rows=600), 26, "stable"),
    ],
)
def test_so_few_rows_that_what_was_wrong_would_not_show_change_nothing(before, rows, kind):
    few = looked(2, False, [cycle(0, True), before])
    few = replace(few, ref=replace(few.ref, rows=rows))
    found = decided(few)
    assert found.kind == kind
    assert health_of(found, None, few.cycles, off=False) == ("none" if kind == "too_few" else "healthy")
    if kind == "too_few":
        assert f"{rows} rows say nothing against what was wrong in window 1 with 600" in found.reasons[0]
        again = replace(few, cycles=(*few.cycles, cycle(2, False, decision="too_few", health="none", rows=rows)))
        assert decided(again).kind == kind, "nor does another"


def test_only_the_newest_window_heals():
    late = decided(looked(1, True, history(True), newest=False))
    assert (late.kind, late.confirmed) == ("alarm", True)


@pytest.mark.parametrize(("ago", "kind"), [(1, "alarm"), (2, "heal"), (3, "heal")])
def test_cooldown_counts_event_time(ago, kind):
    healed = [cycle(10 - ago, True, confirmed=True, heal={"failure": ""}, swap=7 if ago == 1 else 6)]
    more = [cycle(9, True)] if ago > 1 else []
    assert decided(looked(10, True, healed + more)).kind == kind


def test_a_failed_heal_starts_no_cooldown():
    failed = [cycle(0, True), cycle(1, True, confirmed=True, heal={"failure": "the heal's process died"})]
    assert decided(looked(2, True, failed)).kind == "heal"


def test_the_guards_come_first():
    fault = decided(looked(1, False, history(True), problems=("column 'wind' is missing",)))
    assert (fault.kind, fault.reasons) == ("data_fault", ("column 'wind' is missing",))


def test_a_new_version_bakes_and_a_persons_choice_is_watched_to_the_end():
    rule = Policy.load({"release": {"bake_windows": 1, "watch_windows": 3}})
    by_flow, by_person = (
        LOOK,
        Look(settled=2, lineage=(1,), stages={1: "Archived", 2: "Production"}, swap=7, actor="ann"),
    )
    assert "0 of 1" in bakes(by_flow, [], rule, 5)
    assert bakes(by_flow, history(False), rule, 5) == ""
    assert "put there by ann, has served 2 of 3" in bakes(by_person, history(False, True), rule, 5)
    proven = [cycle(0, False, watch={"verdict": "better"})]
    assert bakes(by_person, proven, rule, 5) == ""
    assert bakes(Look(settled=1, swap=1), [], rule, 5) == "", "the first version has nothing to be compared with"
    answered_by_the_one_before = [cycle(0, False, own_share=0.2)]
    assert "0 of 1" in bakes(by_flow, answered_by_the_one_before, rule, 5)


def heal(decision: str, diagnosis: str) -> HealRecord:
    return HealRecord(0, decision, diagnosis)


def test_health():
    quiet, first = Decision("stable", ()), Decision("drift", (), alarm=True)
    confirmed = Decision("heal", (), alarm=True, confirmed=True)
    assert health_of(quiet, None, [], off=False) == "healthy"
    assert health_of(quiet, None, [], off=True) == "unhealthy"
    assert health_of(first, None, [], off=False) == "waiting"
    assert health_of(confirmed, heal("promote", "sensor"), [], off=False) == "unhealthy"
    assert health_of(confirmed, heal("keep", "benign"), [], off=False) == "cleared"
    assert health_of(confirmed, heal("keep", "benign"), [], off=True) == "unhealthy", "seen through a wrong map"
    assert health_of(confirmed, heal("refuse", "unknown"), [], off=False) == "unhealthy"
    assert health_of(Decision("data_fault", ()), None, [], off=False) == "unhealthy"
    assert health_of(Decision("too_few", ()), None, [], off=False) == "none"


@given(st.lists(st.booleans(), max_size=40))
def test_cleared_windows_never_outnumber_the_others_in_the_yardstick(alarms):
    confirmed = Decision("heal", (), alarm=True, confirmed=True)
    past: list[dict[str, Any]] = []
    for index, alarm in enumerate(alarms):
        decision = confirmed if alarm else Decision("stable", ())
        health = health_of(decision, heal("keep", "benign"), past, off=False)
        past.append(cycle(index, alarm, health=health))
        used = [c["health"] for c in past if c["health"] in ("healthy", "cleared")][-YARDSTICK_WINDOWS:]
        assert used.count("cleared") <= CLEARED_AT_MOST


def test_an_unconfirmed_alarm_is_cleared_once_it_can_not_be_confirmed_any_more():
    past = history(False, True, False)
    quiet = Decision("stable", (), needed=2, of=3)
    assert released(looked(2, False, past[:2]), quiet) == []
    assert released(looked(3, False, past), quiet) == [1]
    assert released(looked(4, False, [*past, cycle(3, False)]), quiet) == [], "once"


def test_an_alarm_that_was_confirmed_is_not():
    past = [cycle(1, True), cycle(2, True, confirmed=True)]
    assert released(looked(3, False, past), Decision("stable", (), needed=2, of=3)) == []


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_every_alarm_ends_up_confirmed_or_released_exactly_once(alarms):
    past: list[dict[str, Any]] = []
    out: list[int] = []
    for index, alarm in enumerate([*alarms, False, False, False]):
        ctx = looked(index, alarm, past, newest=False)
        decision = decided(ctx)
        out += released(ctx, decision)
        past.append(
            cycle(index, alarm, confirmed=decision.confirmed, health=health_of(decision, None, past, off=False))
        )
    assert len(out) == len(set(out))
    for index, alarm in enumerate(alarms):
        near = any(c["confirmed"] for c in past[index : index + 3])
        waited = past[index]["health"] == "waiting"
        assert (index in out) == (alarm and waited and not near)
