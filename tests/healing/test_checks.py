"""Every check of the gate keeps the laws of :mod:`tests.healing.check_laws`; a new one is asked without being named."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest

import selfheal
from selfheal import Adapter, Outcome
from selfheal.adapter import ColumnMap, InputMap
from selfheal.healing import checks
from selfheal.healing.check import Candidate, Check, Refusal
from selfheal.healing.gate import gate
from selfheal.healing.outcome import Decision
from tests.healing import check_laws as laws
from tests.healing.candidates import RIGHT, STOPPED, N, case_of, finding, little_gained, shift, worth
from tests.healing.worlds import linear

MADE = {**STOPPED, **RIGHT}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("check", checks.every(), ids=lambda check: check.name)
def test_every_law_holds(check: Check, name: str) -> None:
    for law in laws.LAWS:
        law(check, MADE[name])


@pytest.mark.parametrize("name", STOPPED)
def test_what_fails_one_check_is_stopped_by_it(name: str) -> None:
    candidate = STOPPED[name]()
    assert next(check.name for check in checks.every() if check.ask(candidate)) == name


def test_every_check_stops_a_candidate() -> None:
    """Else the laws would say little of it: add what it stops to the candidates."""
    assert [check.name for check in checks.every()] == list(STOPPED)


def test_only_what_proposes_a_change_is_brought_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Candidate] = []
    monkeypatch.setattr(checks, "every", lambda: (Check("witness", 1, seen.append),))
    proposals: dict[Decision, int] = {"keep": 0, "refuse": 0, "promote": 1, "recall": 1, "audit": 1}
    for decision, times in proposals.items():
        seen.clear()
        gate(case_of(np.zeros(N)), finding(shift(1.0), worth(0.05, 1.0), decision=decision))
        assert len(seen) == times, decision


NEVER = Check("never", 0, lambda candidate: Refusal("refuse", "a figure of 2 lies beyond its bound of 1"))
MOVED = InputMap({"x5": ColumnMap(2.0)})


def from_some_row_on() -> Outcome:
    window = linear(10).draw(1000, 61)
    window.loc[400:, "x1"] *= 1000
    return selfheal.heal(linear(10).with_policy(), window)


def a_version_from_memory() -> Outcome:
    serving = linear(10).with_policy().with_adapter(Adapter(MOVED))
    return selfheal.heal(serving, linear(10).draw(1000, 61), memory=[(1, Adapter(), None)])


def labels_alone() -> Outcome:
    world = linear(3)
    drawn = [world.draw(200, seed) for seed in (21, 40, 41)]
    now, *before = [(rows.drop(columns="y"), (1.0 - rows["y"]).where(rows.index < 60)) for rows in drawn]
    return selfheal.heal(world.with_policy(), now[0], labels=now[1], earlier=before)


@pytest.mark.parametrize("way", [from_some_row_on, a_version_from_memory, labels_alone])
def test_whatever_found_it_nothing_goes_out_but_by_the_gate(way: Callable[[], Outcome], monkeypatch) -> None:
    monkeypatch.setattr(checks, "every", lambda: (NEVER,))
    stopped = way()
    assert "a figure of 2 lies beyond its bound of 1" in stopped.reasons, "it came before the gate"
    assert stopped.decision in ("keep", "refuse") and (stopped.adapter, stopped.recall) == (None, None)


# ------------------------------------------------------------------ what breaks a law

tries = itertools.count()
SPOILT = Refusal("refuse", "a figure of 2 lies beyond its bound of 1")
PRAISE = Refusal(cast("Any", "promote"), "a figure of 1 lies within its bound of 2")


def overwrites(candidate: Candidate) -> None:
    candidate.proba[0] = np.nan


BREAKERS: dict[Callable[[Check, laws.Made], None], Callable[[Candidate], Any]] = {
    laws.it_speaks_against_a_candidate_and_never_for_it: lambda candidate: Refusal(
        cast("Any", "promote"), "it is fine"
    ),
    laws.what_is_right_it_leaves_alone: lambda candidate: SPOILT if candidate.finding.recall else None,
    laws.the_same_question_gets_the_same_answer: lambda candidate: SPOILT if next(tries) % 3 == 0 else None,
    laws.people_can_read_it: lambda candidate: Refusal("refuse", "it lies beyond its bound of 1"),
    laws.nothing_is_changed: overwrites,
}
"""Law → what a check that breaks it says."""


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_every_law_can_be_broken(law: Callable[[Check, laws.Made], None]) -> None:
    made = RIGHT["a version that comes back"] if law is laws.what_is_right_it_leaves_alone else little_gained
    with pytest.raises(AssertionError):
        law(Check("toy", 1, BREAKERS[law]), made)
