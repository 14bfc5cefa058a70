"""Each check of the gate, from both sides of its bound: a heal that passes all but one, by a hair."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from selfheal import Adapter
from selfheal.adapter import ColumnMap, InputMap
from selfheal.healing.case import Case, halved
from selfheal.healing.evidence import Evidence
from selfheal.healing.facts import Fact
from selfheal.healing.gate import Verdict, gate, held_out
from selfheal.healing.outcome import ByLabels
from tests.healing.candidates import (
    CHEAPER,
    COSTS,
    Floats,
    N,
    case_of,
    finding,
    proba,
    shift,
    sure,
    world,
    worth,
)


def asked(case: Case, adapter: Adapter, teacher: Floats | None, **more: Any) -> Verdict:
    return gate(case, finding(adapter, teacher, **more))


def solved(value: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a rising function has a value, by bisection."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if value(middle) < wanted else (low, middle)
    return low


# ------------------------------------------------------------------ what it is worth


@pytest.mark.parametrize(
    ("bound", "more", "passes"),
    [
        (0.008, {"diagnosis": "prior"}, "promote"),
        (0.001, {}, "promote"),
        (0.02, {"trusted": False}, "audit"),
        (0.001, {"proven": True}, "promote"),
        (0.001, {"decision": "recall", "recall": 1}, "recall"),
    ],
)
def test_a_heal_must_be_worth_it(bound: float, more: dict[str, Any], passes: str) -> None:
    case = case_of(np.zeros(N))
    enough, little = (asked(case, shift(0.2), worth(bound + hair, 0.2), **more) for hair in (1e-5, -1e-5))
    assert (enough.decision, enough.numbers["gain"]) == (passes, pytest.approx(bound + 1e-5, abs=1e-7))
    assert little.decision == "keep" and f"(bound {bound})" in little.reasons[0]


def test_without_an_explanation_nothing_speaks_for_a_change() -> None:
    assert asked(case_of(np.zeros(N)), shift(1.0), None).decision == "keep"


@pytest.mark.parametrize("decision", ["keep", "refuse"])
def test_what_proposes_no_change_stands(decision: Any) -> None:
    verdict = asked(case_of(np.zeros(N)), shift(1.0), sure(1.0), decision=decision)
    assert verdict == Verdict(decision, [])


def test_nothing_worse_than_the_constant() -> None:
    """The truth is a class share and nothing else: what a candidate loses to the constant is its divergence from it."""

    def lost(log_odds: float) -> float:
        q = 1 / (1 + np.exp(-log_odds))
        return float(0.3 * np.log(0.3 / q) + 0.7 * np.log(0.7 / (1 - q)))

    at = solved(lost, 0.02, np.log(0.3 / 0.7), 3.0)
    case = case_of(np.full(N, 3.0))
    assert asked(case, shift(at - 1e-3 - 3.0), sure(0.3)).decision == "promote"
    refused = asked(case, shift(at + 1e-3 - 3.0), sure(0.3))
    assert refused.decision == "refuse" and refused.reasons[0].startswith("worse than the constant")


# ------------------------------------------------------------------ sure of itself


def halves_that_differ(differ: int, flipped: int, zero: float = 0.0, **policy: Any) -> Verdict:
    """One half gives a shift of 1, the other of 1.2: they disagree on ``differ`` rows, and ``flipped`` others change.

    ``zero``: the log-odds at which decisions turn.
    """
    first, second = halved(N, 0)
    odds = np.full(N, 3.0) + zero
    odds[second[:differ]] = -1.1 + zero  # these are foretold by the first half's, so that they do not change
    odds[first[:flipped]] = -0.5 + zero
    case = case_of(odds, **policy)
    made, fitted = {0: shift(1.0), 1: shift(1.2)}, []

    def refit(rows: NDArray[np.int64]) -> Adapter:
        fitted.append(int(np.array_equal(rows, second)))
        return made[fitted[-1]]

    teacher = held_out(case, finding(shift(1.1), None, refit=refit))
    # The truth is what the candidate says, and surer: it is worth something whatever the halves say.
    teacher = sure((teacher[:, 1] >= 1 / (1 + np.exp(-zero))).astype(np.float64))
    fitted.clear()
    verdict = asked(case, shift(1.1), teacher, refit=refit)
    assert sorted(fitted) == [0, 1], "each half is fitted once, whoever asks"
    return verdict


@pytest.mark.parametrize(("bound", "flipped"), [(30, 0), (30, 50), (60, 100), (120, 200)])
def test_two_halves_must_give_the_same_adapter(bound: int, flipped: int) -> None:
    steady, torn = halves_that_differ(bound, flipped), halves_that_differ(bound + 1, flipped)
    assert (steady.decision, steady.numbers["changed_share"]) == ("promote", flipped / N)
    assert torn.decision == "refuse" and torn.reasons[0].startswith("unstable")


def test_with_costs_it_is_the_cheaper_decisions_that_must_agree() -> None:
    torn = halves_that_differ(121, 200, CHEAPER, cost=COSTS)
    assert torn.decision == "refuse" and torn.reasons[0].startswith("unstable: adapters from two halves disagree on 12")


def test_every_row_is_measured_by_an_adapter_that_was_fitted_without_it() -> None:
    case, (first, second) = case_of(np.zeros(N)), halved(N, 0)
    made = finding(shift(9.0), None, refit=lambda rows: shift(1.0 if np.array_equal(rows, first) else 2.0))
    said = held_out(case, made)
    assert said[second] == pytest.approx(proba(1.0, N // 2)) and said[first] == pytest.approx(proba(2.0, N // 2))
    assert held_out(case, finding(shift(3.0), None)) == pytest.approx(proba(3.0))


# ------------------------------------------------------------------ costs


def priced(groups: Sequence[tuple[int, float, int]], by: float, cost: dict[str, float] | None = COSTS) -> Verdict:
    odds, truth = world(*groups)
    return asked(case_of(odds, **({} if cost is None else {"cost": cost})), shift(by), truth)


@pytest.mark.parametrize(("gone", "decision"), [(50, "promote"), (49, "refuse")])
def test_with_costs_the_expected_cost_must_fall(gone: int, decision: str) -> None:
    """1,000 false alarms of 1; a few of them turn."""
    groups = [(gone, CHEAPER + 0.1, 0), (1000 - gone, CHEAPER + 0.9, 0), (300, -4.0, 0), (300, 4.0, 1)]
    assert priced(groups, -0.2).decision == decision
    assert priced(groups, -0.2, None).decision == "promote", "without costs nothing is asked"


@pytest.mark.parametrize(("alarms", "decision"), [(17, "promote"), (18, "refuse")])
def test_a_miss_costs_what_is_declared(alarms: int, decision: str) -> None:
    """4 misses of 5 and 40 alarms of 1 cost 60; without the misses 57 may be left."""
    groups = [(4, CHEAPER - 0.1, 1), (40, CHEAPER + 0.2, 0), (alarms, CHEAPER - 0.1, 0), (300, 0.5, 1), (300, -4.0, 0)]
    assert priced(groups, 0.2).decision == decision


@pytest.mark.parametrize(("lost", "decision"), [(0, "promote"), (1, "refuse")])
def test_whoever_calls_the_likelier_class_must_not_pay_for_it(lost: int, decision: str) -> None:
    """Nobody who calls the likelier class sees a change, but for one that would now be missed."""
    groups = [(90, CHEAPER + 0.1, 0), (100, -0.5, 0), (300, -4.0, 0), (300, 4.0, 1), (lost, 0.1, 1)]
    verdict = priced(groups, -0.2)
    assert verdict.decision == decision
    assert lost == 0 or "calling the likelier class" in verdict.reasons[0]


def test_what_costs_nothing_can_not_cost_less() -> None:
    groups = [(300, -1.8, 0), (300, 4.0, 1)]
    assert priced(groups, -0.5).decision == "refuse"
    assert priced(groups, -0.5, None).decision == "promote"


# ------------------------------------------------------------------ labels of the window


def vetoed(against: int, of: int) -> Verdict:
    """The verdict where ``against`` of ``of`` labels speak against a shift of 1, which the explanation is all for."""
    labels = np.r_[np.zeros(against), np.ones(of - against), np.full(N - of, np.nan)]
    return gate(case_of(np.zeros(N)), finding(shift(1.0), worth(0.05, 1.0)), labels)


def paired_z(against: int, of: int) -> float:
    """... and what these labels make of it."""
    up, down = np.log(proba(1.0, 1)[0, ::-1] / 0.5)
    gains = np.r_[np.full(against, down), np.full(of - against, up)]
    return float(gains.mean() / (gains.std(ddof=1) / np.sqrt(of)))


def test_labels_of_the_window_have_a_veto() -> None:
    last = next(k for k in range(1, 900) if paired_z(k + 1, 900) < -1.64)
    assert paired_z(last, 900) == pytest.approx(-1.64, abs=0.07)
    assert vetoed(last, 900).decision == "promote"
    stopped = vetoed(last + 1, 900)
    assert stopped.decision == "refuse" and stopped.reasons[0].startswith("900 labels speak against it")


@pytest.mark.parametrize(("of", "decision"), [(19, "promote"), (20, "refuse")])
def test_a_handful_of_labels_stops_nothing(of: int, decision: str) -> None:
    assert vetoed(of - 1, of).decision == decision


# ------------------------------------------------------------------ the policy


def flips(count: int, policy: dict[str, Any], **more: Any) -> Verdict:
    """A heal worth making that turns ``count`` of the window's decisions."""
    odds, truth = world((count, -0.5, 1), (N - 100 - count, 1.0, 1), (100, -3.0, 0))
    return asked(case_of(odds, **policy), shift(1.0), truth, **more)


@pytest.mark.parametrize(("count", "decision"), [(300, "promote"), (301, "audit")])
def test_more_than_max_changed_is_a_persons_decision(count: int, decision: str) -> None:
    capped = {"heal": {"max_changed": 0.3}}
    assert flips(count, capped).decision == decision
    assert flips(count, capped | {"release": {"ambiguous": "promote"}}, trusted=False).decision == decision
    assert flips(count, capped, decision="recall", recall=1).decision == "recall", "it was held to it when it was new"


@pytest.mark.parametrize(("beyond", "decision"), [(300, "promote"), (301, "audit")])
def test_what_changes_beside_what_was_answered_is_held_to_max_changed(beyond: int, decision: str) -> None:
    """The owner has said that x lost one; a shift of another one is put on top."""
    odds, truth = world((500, -0.5, 1), (beyond, -1.5, 1), (N - 600 - beyond, 1.0, 1), (100, -4.0, 0))
    told = {"x": ColumnMap(1.0, 1.0)}
    case = replace(case_of(odds, heal={"max_changed": 0.3}), facts=(Fact(told, holds=True),))
    both = Adapter(input_map=InputMap(told), logit_offset=np.array([-0.5, 0.5]))
    assert asked(case, both, truth, answered=True).decision == decision
    assert asked(case, both, truth).decision == "audit", "nobody was asked"


@pytest.mark.parametrize("ambiguous", ["audit", "promote", "refuse"])
def test_what_data_cannot_decide_goes_as_the_policy_says(ambiguous: str) -> None:
    policy = {"release": {"ambiguous": ambiguous}}
    assert flips(100, policy, trusted=False).decision == ambiguous
    assert flips(100, policy).decision == "promote"


@pytest.mark.parametrize(("stays", "says"), [(0, True), (1, False)])
def test_decisions_that_equal_the_constants_are_said_to(stays: int, says: bool) -> None:
    odds = np.r_[np.full(N - stays, -0.5), np.full(stays, -3.0)]
    verdict = asked(case_of(odds), shift(1.0), proba(odds + 1.0))
    assert verdict.decision == "promote" and ("equal the constant's" in " ".join(verdict.reasons)) == says


# ------------------------------------------------------------------ what labels made


def patched(
    gains: Sequence[tuple[int, float, float, int]],
    *,
    proof: bool = True,
    flipped: int = 0,
    **policy: Any,
) -> Verdict:
    """A patch (a shift of 1) that turns ``flipped`` of the window's decisions, and what it foretold of labels.

    ``gains``: groups of labelled rows: how many, log-odds as served and foretold, class.
    """
    n = sum(count for count, *_ in gains)
    served, candidate, truth = (np.concatenate([np.full(g[0], float(g[i])) for g in gains]) for i in (1, 2, 3))
    by = ByLabels(60, Evidence(sure(truth, n), proba(served, n), proba(candidate, n)), proof)
    odds = np.r_[np.full(flipped, -0.5), np.full(N - flipped, 1.0)]
    return asked(case_of(odds, **policy), shift(1.0), None, labels=by)


def surer(n: int, to: float = 2.0) -> list[tuple[int, float, float, int]]:
    """Labels of both classes that show probabilities to be better, at the same decisions."""
    return [(n - n // 2, 1.0, to, 1), (n // 2, -1.0, -to, 0)]


NATS = surer(200)
TOLD_APART = [(40, 3.0, 1.0, 0), (40, 3.0, 6.0, 1)]
"""Rows of one score that a patch tells apart, at the same decisions: no other class shares would do that."""
TURNED = [(60, -0.5, 0.5, 1), (100, 1.0, 2.0, 1), *TOLD_APART]
"""Decisions that labels show to be better."""


def test_what_labels_foretold_window_by_window_is_promoted() -> None:
    verdict = patched(NATS)
    assert (verdict.decision, verdict.numbers["labels_fitted"]) == ("promote", 60)
    assert verdict.numbers["labels_held"] >= 20
    assert verdict.numbers["gain"] == pytest.approx(np.log((1 + np.exp(-1.0)) / (1 + np.exp(-2.0))))


def test_what_is_not_proven_waits_for_later_labels_whatever_the_policy() -> None:
    for ambiguous in ("audit", "promote", "refuse"):
        release = {"ambiguous": ambiguous}
        parts = patched(NATS, proof=False, release=release)
        assert (parts.decision, parts.numbers["labels_held"]) == ("audit", 1.0)
        few = patched(surer(10), release=release)
        assert few.decision == "audit" and 1 < few.numbers["labels_held"] < 20
        assert few.reasons[0].startswith("it waits for labels")


def test_the_bet_must_be_won() -> None:
    counts = [patched(surer(n)) for n in range(20, 80)]
    held = np.array([v.numbers["labels_held"] for v in counts])
    assert held.min() < 20 <= held.max()
    assert [v.decision for v in counts] == ["promote" if h >= 20 else "audit" for h in held]


@pytest.mark.parametrize(("flipped", "decision"), [(50, "promote"), (51, "audit")])
def test_labels_that_prove_no_decision_are_held_to_max_changed(flipped: int, decision: str) -> None:
    verdict = patched(NATS, flipped=flipped, heal={"max_changed": 0.05})
    assert (verdict.decision, verdict.numbers["changed_share"]) == (decision, flipped / N)
    assert patched(TURNED, flipped=flipped, heal={"max_changed": 0.05}).decision == "promote", "these are proven"


def test_decisions_are_proven_at_the_level_that_nats_are() -> None:
    beyond = {"flipped": 500, "heal": {"max_changed": 0.05}}
    turned = [patched([(n, -0.5, 0.5, 1), (200, 1.0, 2.0, 1), *TOLD_APART], **beyond) for n in range(40)]
    said = [v.decision for v in turned]
    first = said.index("promote")
    assert said == ["audit"] * first + ["promote"] * (40 - first)
    assert "e-value 1" in turned[first - 1].reasons[0] and 5 < first < 40


@pytest.mark.parametrize(("gone", "decision"), [(0, "refuse"), (3, "refuse"), (30, "promote")])
def test_with_costs_labels_must_show_that_decisions_cost_less(gone: int, decision: str) -> None:
    """What labels leave at the same cost was promoted once: nobody had computed it."""
    alarms = [(100 - gone, 0.5, 0.3, 0), (gone, CHEAPER + 0.1, CHEAPER - 0.1, 0), (400, 1.0, 2.0, 1)]
    alarms += TOLD_APART
    assert patched(alarms, cost=COSTS).decision == decision


@pytest.mark.parametrize(("gain", "decision"), [(0.0079, "keep"), (0.0081, "audit")])
def test_a_patch_must_be_worth_it_too(gain: float, decision: str) -> None:
    moved = solved(lambda to: np.log((1 + np.exp(-1.0)) / (1 + np.exp(-to))), gain, 1.0, 2.0)
    assert patched(surer(50, moved)).decision == decision


def test_a_patch_may_lie_above_the_constant_where_what_serves_lies_higher() -> None:
    assert patched([(150, -4.0, -2.0, 1), (150, 4.0, 2.0, 0)]).decision == "promote"


@pytest.mark.parametrize(("differ", "decision"), [(30, "promote"), (31, "refuse")])
def test_the_halves_of_the_labels_must_give_the_same_patch(differ: int, decision: str) -> None:
    odds = np.r_[np.full(differ, -1.1), np.full(N - differ, 1.0)]
    halves = halved(60, 0)

    def refit(rows: NDArray[np.int64]) -> Adapter:
        assert any(np.array_equal(rows, half) for half in halves), "halves of the labelled rows, not of the window's"
        return shift(1.0 if np.array_equal(rows, halves[0]) else 1.2)

    side = np.r_[np.ones(100), -np.ones(100)]
    by = ByLabels(60, Evidence(sure(side > 0, 200), proba(side, 200), proba(2 * side, 200)), proof=True)
    verdict = asked(case_of(odds), shift(1.0), None, labels=by, refit=refit)
    assert (verdict.decision, verdict.numbers["changed_share"]) == (decision, 0.0), "by the patch as it is"
