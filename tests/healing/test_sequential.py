"""Looked at after every label, and still wrong no more often than stated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from selfheal.healing.sequential import BOUND, LEVEL, RIGHT, STAKES, Paired, audit, lead, paired, wealth

unit = st.floats(-1, 1, allow_nan=False)


@given(arrays(np.float64, st.integers(0, 60), elements=unit), st.randoms())
def test_the_wealth_is_positive_and_the_order_of_rows_does_not_count(x, random) -> None:
    shuffled = x.tolist()
    random.shuffle(shuffled)
    assert wealth(x) > 0
    assert wealth(np.array(shuffled)) == pytest.approx(wealth(x))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=2), st.floats(0, 1))
def test_a_fair_bet_keeps_its_wealth(ends, level) -> None:
    """On any two-point law with mean zero the expected wealth after one row is exactly 1: the martingale's step."""
    low, high = -max(ends[0], 1e-3), max(ends[1], 1e-3)
    up = -low / (high - low)
    before = np.array([level, -level])
    start = wealth(before)
    after = up * wealth(np.r_[before, high]) + (1 - up) * wealth(np.r_[before, low])
    assert after == pytest.approx(start)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.02, 0.3), st.floats(0.0, 0.9))
def test_more_of_a_gain_never_speaks_against_it(seed, gain, bias) -> None:
    x = np.random.default_rng(seed).normal(bias, 1.0, 50)
    assert paired(x + gain).better >= paired(x).better
    assert paired(x + gain).worse <= paired(x).worse


@pytest.mark.parametrize("law", ["even", "skewed", "rare", "worse"])
def test_the_error_under_optional_stopping(law: str) -> None:
    """1,000 streams without a gain, looked at after each of 400 rows: at most the stated share is ever let through."""
    rng = np.random.default_rng(7)
    draw = {
        "even": lambda: rng.choice([-1.0, 1.0], (1000, 400)),
        "skewed": lambda: np.where(rng.random((1000, 400)) < 0.1, -0.9, 0.1),
        "rare": lambda: np.where(rng.random((1000, 400)) < 0.05, rng.choice([-1.0, 1.0], (1000, 400)), 0.0),
        "worse": lambda: rng.normal(-0.05, 0.3, (1000, 400)).clip(-1, 1),
    }[law]
    logs = np.zeros((1000, len(STAKES)))
    highest = np.zeros(1000)
    for column in draw().T:  # wealth(), row by row for all streams at once
        logs += np.log1p(STAKES * column[:, None])
        highest = np.maximum(highest, np.exp(logs).mean(axis=1))
    assert (highest >= 1 / LEVEL).mean() <= LEVEL + 2 * np.sqrt(LEVEL / 1000)


def test_a_real_gain_is_found_and_a_real_loss_named() -> None:
    rng = np.random.default_rng(3)
    found = [paired(rng.normal(0.25, 0.6, 100)).says for _ in range(100)]
    assert found.count("better") >= 80
    assert [paired(rng.normal(-0.25, 0.6, 100)).says for _ in range(100)].count("worse") >= 80


def test_one_row_can_not_decide() -> None:
    assert paired(np.array([1e9])).says == "undecided"
    assert paired(np.array([np.log(1e12)] * 3)).gain == BOUND
    assert paired(np.array([])) == Paired("undecided", 0, 0.0, 1.0, 1.0, 1 / LEVEL)


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=40))
def test_an_audit_stops_where_it_decides(right) -> None:
    told = audit(right)
    assert told.candidate + told.incumbent <= told.answered <= len(right)
    assert abs(told.candidate - told.incumbent) <= told.lead
    if told.says == "undecided":
        assert told.answered == len(right)
    assert audit([*right, 1, 1, -1]) == told or told.says == "undecided"
    mirrored = audit([-r for r in right])
    assert (mirrored.says, mirrored.candidate) == (
        {"better": "worse", "worse": "better", "undecided": "undecided"}[told.says],
        told.incumbent,
    )


@pytest.mark.parametrize("truth", [RIGHT, 1 - RIGHT])
def test_an_audit_is_right_and_short(truth: float) -> None:
    rng = np.random.default_rng(5)
    told = [audit(np.where(rng.random(80) < truth, 1, -1).tolist()) for _ in range(4000)]
    wanted = "better" if truth > 0.5 else "worse"
    assert np.mean([t.says == wanted for t in told]) >= 0.98
    assert 7 <= np.mean([t.answered for t in told]) <= 11
    assert np.mean([t.answered <= 20 for t in told]) >= 0.95
    assert lead(RIGHT, 0.001) == 7
