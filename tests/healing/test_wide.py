"""Wide tables: what is too much to try is bounded, and what matters is still found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from torch import nn

import selfheal
from selfheal import MonitoredModel
from selfheal.drift import stats
from selfheal.drift.stats import Floats
from selfheal.healing.mechanisms.permuted import swap_gains

WIDTH = 60


def columns(n: int, seed: int, d: int = WIDTH) -> Floats:
    """Correlated columns that each look alike by themselves, so that only the joint distribution tells them apart."""
    mixing = np.eye(d) + 0.15 * np.random.default_rng(d).normal(size=(d, d))
    return np.random.default_rng(seed).normal(size=(n, d)) @ (mixing / np.linalg.norm(mixing, axis=0))


def table(values: Floats) -> pd.DataFrame:
    return pd.DataFrame(values, columns=[f"x{j}" for j in range(values.shape[1])])


def test_two_columns_of_sixty_that_changed_places_are_named() -> None:
    reference = table(columns(4000, 1)).assign(y=lambda f: (f["x0"] > 0).astype(int))
    model = MonitoredModel(nn.Identity(), nn.Linear(WIDTH, 1), reference, target="y")
    window = columns(1000, 11)
    window[:, [7, 41]] = window[:, [41, 7]]
    outcome = selfheal.heal(model, table(window), recent=[table(columns(1000, 100 + k)) for k in range(6)])
    assert (outcome.decision, outcome.diagnosis) == ("refuse", "data_fault")
    assert "x7 holds the values of x41" in outcome.reasons[0]


def test_what_a_swap_gains_is_exact_for_columns_of_one_scale() -> None:
    scale, z = stats.Scale.of(columns(3000, 1, 6)), columns(500, 2, 6)

    def trace(rows: Floats) -> float:
        gap = rows - scale.mean
        return float(np.trace(scale.precision @ (gap.T @ gap) / len(rows)))

    swapped = z.copy()
    swapped[:, [1, 4]] = z[:, [4, 1]]
    scale.mean[[1, 4]] = scale.mean[[1, 4]].mean()  # of one scale: of one mean, too
    assert swap_gains(scale, z)[1, 4] == pytest.approx(trace(z) - trace(swapped))
