"""A look-up that was renumbered is named; a population that moves, and numbers with an order, are left alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import selfheal
from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.drift.guards import guards
from selfheal.drift.recoded import recoded
from selfheal.model import MonitoredModel

CODES = 200


def shares(seed: int, codes: int = CODES) -> np.ndarray:
    """Some regions are large and most are small, in no order."""
    rng = np.random.default_rng(seed)
    return rng.permutation(1 / np.sqrt(np.arange(1, codes + 1))) / (1 / np.sqrt(np.arange(1, codes + 1))).sum()


def regions(n: int, seed: int, of: np.ndarray | None = None) -> pd.Series:
    return pd.Series(np.random.default_rng(seed).choice(CODES, n, p=shares(0) if of is None else of) + 1)


@pytest.mark.parametrize("rows", [500, 2000])
@pytest.mark.parametrize("recent", [0, 4])
def test_codes_that_went_on_by_a_number_are_named(rows: int, recent: int) -> None:
    natural = [regions(4000, 1), *(regions(rows, 10 + k) for k in range(recent))]
    now = regions(rows, 2)
    assert recoded(now, natural) == ""
    assert "lie 7 too high" in recoded((now - 1 + 7) % CODES + 1, natural), "around the end"
    assert "lie 7 too high" in recoded(now + 7, natural), "or beyond it"
    assert "lie 1 too low" in recoded(now - 1, natural)


def test_another_population_is_no_other_numbering() -> None:
    natural = [regions(6000, 1)]
    rng = np.random.default_rng(0)
    for seed in range(20):
        moved = shares(0) * np.exp(rng.normal(0, 1.5, CODES)) * (rng.random(CODES) < 0.5)
        crowd = 0.2 * shares(0)
        crowd[rng.integers(CODES)] += 0.2  # one sender is loud
        for other in (moved / moved.sum(), shares(seed + 1), crowd / crowd.sum()):
            assert recoded(regions(1000, seed + 3, other), natural) == ""


def test_numbers_with_an_order_are_a_population_that_moves() -> None:
    rng = np.random.default_rng(0)
    visits, mmol = rng.poisson(9, 10_000), rng.lognormal(1.7, 0.3, 10_000).round(1)
    # The second has gaps: it was converted and rounded.
    for values, step in ((visits, 3), ((mmol * 18.016).round(), 36)):
        assert recoded(pd.Series(values[:4000] + step), [pd.Series(values[4000:])]) == ""


def test_without_a_number_to_compare_nothing_is_said() -> None:
    gone, now = pd.Series([np.nan] * 500), regions(500, 2)
    assert recoded(now, [gone]) == recoded(gone, [now]) == recoded(now[:0], [now]) == ""


def test_the_guard_names_the_column_and_the_healer_refuses_unless_it_is_mapped() -> None:
    torch.manual_seed(0)
    frame = pd.DataFrame({"region": regions(4000, 1).astype(float), "x": np.random.default_rng(2).normal(size=4000)})
    model = MonitoredModel(nn.Linear(2, 3), nn.Linear(3, 2), frame.assign(y=np.arange(4000) % 2), target="y")
    window = frame.iloc[:1000].assign(region=frame["region"].iloc[:1000] + 7)
    said = "column 'region' holds codes that do not mean what they meant: its codes lie 7 too high"
    assert [told.startswith(said) for told in guards(window, model)] == [True]
    outcome = selfheal.heal(model, window)
    assert (outcome.decision, outcome.diagnosis, outcome.reasons[0].startswith(said)) == ("refuse", "data_fault", True)
    healed = model.with_adapter(Adapter(InputMap({"region": ColumnMap(1.0, -7.0, "code -7")})))
    assert guards(window, healed) == []
