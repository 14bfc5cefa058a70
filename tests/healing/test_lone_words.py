"""Other class shares move words as their classes have them; one word that moved by itself is no shift of them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal.board.mixed import CALM, HEALTHY, WINDOW, Mixed, mixed
from selfheal.drift.yardstick import Yardstick
from selfheal.healing.case import Case
from selfheal.healing.fits.shares import estimate, lone, pool_weights

N = 1000


@cache
def world() -> Mixed:
    return mixed(705)


def rows(shares: tuple[float, float] | None = None, seed: int = 1) -> pd.DataFrame:
    """A window of the world, with other class shares where they are given; without labels."""
    held = world()
    weights = None if shares is None else (np.array(shares) / held.shares)[held.rows["y"].to_numpy()]
    return held.draw(WINDOW, N, [seed], weights).drop(columns="y")


def healthy() -> list[pd.DataFrame]:
    calm = world().draw(CALM, HEALTHY * N, [2]).drop(columns="y")
    return [calm.iloc[i : i + N] for i in range(0, len(calm), N)]


def said(window: pd.DataFrame, recent: list[pd.DataFrame]) -> str:
    case = Case(world().model, window, Yardstick(world().model, recent, len(window)))
    return lone(case, pool_weights(case, estimate(case, window)))


def moved(window: pd.DataFrame, share: float) -> pd.DataFrame:
    """Some of the rows come with one word, whatever they had."""
    return window.assign(word=window["word"].mask(np.random.default_rng(3).random(len(window)) < share, "a"))


@pytest.mark.parametrize("shares", [None, (0.2, 0.8), (0.7, 0.3)])
def test_words_follow_their_classes_or_one_went_its_own_way(shares: tuple[float, float] | None) -> None:
    window, recent = rows(shares), healthy()
    assert said(window, recent) == ""
    assert said(moved(window, 0.25), recent).startswith("word is 'a' more often than these shares explain (")
    restless = [moved(one, 0.5 * (k % 2)) for k, one in enumerate(recent)]
    assert said(moved(window, 0.15), restless) == "", "healthy windows have such a word too"


def test_a_shift_beside_a_word_that_moved_alone_does_not_go_out() -> None:
    shares = (0.75, 0.25)
    assert selfheal.heal(world().model, rows(shares), recent=healthy()).decision == "promote"
    outcome = selfheal.heal(world().model, moved(rows(shares), 0.12), recent=healthy())
    assert outcome.decision != "promote" and "did that alone change?" in outcome.reasons[0], outcome.reasons
