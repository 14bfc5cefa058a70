"""The share of harmful heals is held over a deployment's life, and a healer made bad on purpose is noticed soon."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selfheal.healing.false_heals import BOUND, EXCESSES, false_heals

LIFE = 2_000
"""Judged heals of a deployment: one a day for five years."""


@given(st.lists(st.booleans(), max_size=30), st.floats(1e-4, 0.5), st.floats(0, 1))
def test_no_bet_is_expected_to_win(harmed, share, part) -> None:
    """The step of the supermartingale, exactly, whatever came before and for any true share up to the allowed one."""
    true = part * share
    now, bad, good = (false_heals([*harmed, *more], share).e_value for more in ([], [True], [False]))
    assert true * bad + (1 - true) * good <= now * (1 + 1e-9)


def crossed(share: float, true: float, deployments: int, seed: int, life: int = LIFE) -> np.ndarray:
    """After how many judged heals each deployment exceeds the share; 0 where it never does. As the function has it."""
    rng = np.random.default_rng(seed)
    logs, first = np.zeros((deployments, len(EXCESSES))), np.zeros(deployments, dtype=int)
    excess = np.array(EXCESSES)
    won, lost = np.log1p(excess * (1 - share) / share), np.log1p(-excess)
    for heal in range(1, life + 1):
        logs += np.where((rng.random(deployments) < true)[:, None], won, lost)
        first[(first == 0) & (np.exp(np.minimum(logs, 700)).mean(axis=1) >= BOUND)] = heal
    return first


def test_the_simulated_wealth_is_the_functions() -> None:
    first = crossed(0.05, 0.3, 20, 3, 60)
    rng = np.random.default_rng(3)
    harmed = np.array([rng.random(20) < 0.3 for _ in range(60)]).T
    told = [next((n for n in range(1, 61) if false_heals(row[:n].tolist(), 0.05).exceeded), 0) for row in harmed]
    assert first.tolist() == told


@pytest.mark.parametrize("share", [1 / 1000, 1 / 50, 1 / 5])
def test_the_level_is_held(share: float) -> None:
    """400 deployments whose heals harm as often as allowed, looked at after each of 500 heals."""
    wrong = (crossed(share, share, 400, 1, 500) > 0).mean()
    assert wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.prove
@pytest.mark.parametrize("share", [1 / 1000, 1 / 50, 1 / 5])
def test_the_level_is_held_over_ten_thousand_deployments(share: float, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = (crossed(share, share, 10_000, 2) > 0).mean()
    with capsys.disabled():
        print(f"\nallowed and true share {share:g}: {wrong:.2%} of 10,000 deployments exceed it in {LIFE} heals")
    assert wrong <= 0.05


@pytest.mark.parametrize(("share", "true", "soon"), [(1 / 1000, 0.1, 25), (1 / 1000, 0.02, 200), (1 / 50, 0.2, 60)])
def test_a_healer_made_bad_is_noticed(share: float, true: float, soon: int) -> None:
    """The median deployment notices within so many judged heals, and nine in ten within five times as many."""
    first = crossed(share, true, 200, 4, 5 * soon)
    noticed = np.where(first, first, 5 * soon + 1)
    assert np.median(noticed) <= soon, np.median(noticed)
    assert (first > 0).mean() >= 0.9


@pytest.mark.prove
def test_how_soon_a_healer_made_bad_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    """1,000 deployments each: after how many judged heals half of them notice, and nine in ten.

    Half within twice what the best test of these two shares would need (Wald 1945): ln 20 over their divergence.
    """
    with capsys.disabled():
        for share, bad in ((1 / 1000, (0.5, 0.1, 0.02, 0.005)), (1 / 50, (0.5, 0.2, 0.1)), (1 / 5, (0.5, 0.3))):
            for true in bad:
                first = crossed(share, true, 1000, 5)
                half, most = np.quantile(np.where(first, first, LIFE + 1), [0.5, 0.9])
                print(
                    f"\nallowed {share:g}, true {true:g}: half notice within {half:.0f} judged heals, nine in ten "
                    f"within {most:.0f}, {(first > 0).mean():.1%} within {LIFE}",
                    end="",
                )
                divergence = true * np.log(true / share) + (1 - true) * np.log((1 - true) / (1 - share))
                assert half <= 2 * np.log(20) / divergence


def test_a_share_that_is_none() -> None:
    for share in (0.0, 1.0, -0.1):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            false_heals([], share)
