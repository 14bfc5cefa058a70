"""A look-up that was renumbered is named; a population that moves, and numbers with an order, are left alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OrdinalEncoder
from torch import nn

import selfheal
from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.drift.guards import guards
from selfheal.drift.recoded import recoded, renumbered
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
        for other in (moved / moved.sum(), crowd / crowd.sum()):
            assert recoded(regions(1000, seed + 3, other), natural) == ""
            assert renumbered(regions(1000, seed + 3, other), natural) == ""
        assert recoded(regions(1000, seed + 3, shares(seed + 1)), natural) == ""


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("levels", [6, 12, 40])
def test_codes_in_any_other_order_are_named(levels: int, words: bool) -> None:
    rng = np.random.default_rng(levels)
    share = np.arange(1, levels + 1) ** 2.0
    share = rng.permutation(share / share.sum())

    def rows(n: int, mapping: Sequence[int] = range(levels), of: np.ndarray = share) -> pd.Series:
        codes = pd.Series(rng.choice(np.asarray(mapping), n, p=of))
        return codes.map(lambda code: f"k{code}").astype("str") if words else codes

    natural = [rows(4000), *(rows(1000) for _ in range(3))]
    assert renumbered(rows(1000), natural) == ""
    order = np.r_[levels // 2 : levels, : levels // 2]
    order[[0, 1]] = order[[1, 0]]
    said = renumbered(rows(1000, order), natural)
    biggest = share.argmax()
    k = "k" if words else ""
    assert said if levels > 12 else f"{k}{order[biggest]} as {k}{biggest} did" in said
    two = np.arange(levels)
    two[[biggest, share.argmin()]] = two[[share.argmin(), biggest]]
    assert renumbered(rows(1000, two), natural) == "", "two that changed places may be two crowds"
    new = np.where(np.arange(levels) == biggest, levels + 3, order)
    assert renumbered(rows(1000, new), natural) == "", "codes that were never seen are no order of the known ones"
    for power in (1.0, 4.0):  # the same ranks, and other shares
        other = share**power / (share**power).sum() if power > 1 else np.roll(share, 1) * 0.7 + 0.3 / levels
        assert renumbered(rows(1000, order, other), natural) == ""
    wandering = [rows(1000, rng.permutation(levels)) for _ in range(3)]
    assert renumbered(rows(1000, order), [natural[0], *wandering]) == "", "healthy windows differ as much"


def test_a_measurement_that_moved_or_turned_is_no_renumbering() -> None:
    rng = np.random.default_rng(3)
    few = pd.Series(rng.binomial(10, 0.3, 5000))
    for now in (10 - few, (few + 2).clip(upper=10)):
        assert renumbered(now[:1000], [few]) == ""
    assert renumbered(few[:1000] / 3, [few]) == renumbered(few[:0], [few]) == renumbered(few, [few[:0]]) == ""
    days = pd.Series(rng.geometric(0.4, 6000).clip(max=5) - 1)  # mostly 0, and an order
    assert renumbered(3 * days[:1000], [days[1000:], 12 - days[:1000]]) == ""


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
    rng = np.random.default_rng(2)
    offices = rng.choice(list("abcdef"), 4000, p=np.array([1, 20, 5, 9, 2, 14]) / 51)
    frame = pd.DataFrame({"region": regions(4000, 1).astype(float), "office": offices})
    columns = ColumnTransformer([("n", "passthrough", ["region"]), ("w", OrdinalEncoder(), ["office"])]).fit(frame)
    model = MonitoredModel(
        nn.Linear(2, 3), nn.Linear(3, 2), frame.assign(y=np.arange(4000) % 2), target="y", preprocess=columns
    )
    window = frame.iloc[:1000].assign(region=frame["region"].iloc[:1000] + 7)
    said = "column 'region' holds codes that do not mean what they meant: its codes lie 7 too high"
    assert [told.startswith(said) for told in guards(window, model)] == [True]
    outcome = selfheal.heal(model, window)
    assert (outcome.decision, outcome.diagnosis, outcome.reasons[0].startswith(said)) == ("refuse", "data_fault", True)
    order = dict(enumerate("cadfbe"))
    outcome = selfheal.heal(
        model, frame.iloc[:1000].assign(office=frame["office"].iloc[:1000].map("abcdef".index).map(order))
    )
    assert outcome.diagnosis == "data_fault" and "but for one another" in outcome.reasons[0], outcome.reasons
    healed = model.with_adapter(Adapter(InputMap({"region": ColumnMap(1.0, -7.0, "code -7")})))
    assert guards(window, healed) == []
