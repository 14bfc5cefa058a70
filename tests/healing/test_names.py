"""A unit in a column's name chooses among conversions that rows cannot tell; one of another quantity is asked about."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal import MonitoredModel
from selfheal.healing.outcome import Outcome
from tests.healing.worlds import now, trained

GALLONS, FEET, SPEED, DAY = 3.785412, 0.3048, 3.6, 24.0


@cache
def world(seed: int, skewed: bool) -> tuple[MonitoredModel, Callable[[int, int], pd.DataFrame]]:
    """Six columns that depend on each other, the first skewed or normal, and four sites that say nothing."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(6) + 0.35 * rng.normal(size=(6, 6))
    shift = np.r_[rng.normal(size=3), np.zeros(3)]
    shift *= 3.0 / np.linalg.norm(np.linalg.solve(mixing, shift))

    def draw(n: int, seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        y = (rng.random(n) < 0.3).astype(int)
        x = rng.normal(size=(n, 6)) @ mixing.T + shift * y[:, None]
        x[:, 0] = np.exp(0.8 * x[:, 0]) * 20 if skewed else 20 + 8 * x[:, 0]
        columns = [f"x{i}" for i in range(6)]
        return pd.DataFrame(x, columns=columns).assign(site=rng.integers(0, 4, n), y=y)

    return trained(draw(3000, seed + 1), draw(2000, seed + 2), "y", seed, epochs=6, width=16), draw


def called(model: MonitoredModel, name: str) -> MonitoredModel:
    """The same model, its first column under another name."""
    reference = model.reference.rename(columns={"x0": name}).assign(y=model.reference_labels)
    scaler = copy.copy(model.preprocess)
    scaler.feature_names_in_ = np.array(reference.columns[:-1], dtype=object)
    policy = {"heal": {"max_changed": 1.0}}
    return MonitoredModel(model.backbone, model.head, reference, target="y", preprocess=scaler, policy=policy)


def healed(name: str, factor: float, *, seed: int = 0, n: int = 300, skewed: bool = True, site: int = -1) -> Outcome:
    """What is made of a window in which the column is smaller by a factor, everywhere or at one site."""
    model, draw = world(seed, skewed)
    rows = draw(n, 9000 + 10 * seed).drop(columns="y").rename(columns={"x0": name})
    rows.loc[(rows["site"] == site) | (site < 0), name] /= factor
    return selfheal.heal(called(model, name), rows)


def told(outcome: Outcome, name: str) -> str:
    assert outcome.adapter is not None, outcome.reasons
    return outcome.adapter.input_map.columns[name].words


def test_a_neighbour_of_the_true_conversion_is_named_unless_the_columns_name_says_which() -> None:
    unnamed, outcome = (healed(name, GALLONS) for name in ("x0", "volume_l"))
    assert (unnamed.decision, told(unnamed, "x0")) == ("promote", "m/s → km/h"), "the scene: rows cannot tell"
    assert (outcome.decision, told(outcome, "volume_l")) == ("promote", "gallons → litres"), outcome.reasons


def test_a_question_between_units_is_none_or_asks_first_for_the_one_that_the_name_says() -> None:
    unnamed, outcome = (healed(name, SPEED, seed=4, n=200, skewed=False) for name in ("x0", "speed_kmh"))
    assert (unnamed.decision, len(unnamed.options)) == ("audit", 5), unnamed.options
    assert (outcome.decision, told(outcome, "speed_kmh")) == ("promote", "m/s → km/h"), outcome.reasons
    # A name alone settles nothing: where the rows say as little, it is still asked.
    unnamed, outcome = (healed(name, DAY, seed=4, n=200, skewed=False) for name in ("x0", "elapsed_hours"))
    assert unnamed.options[:2] == ("inches → millimetres", "days → hours")
    assert (outcome.decision, outcome.options[:2]) == ("audit", ("days → hours", "inches → millimetres"))


@pytest.mark.parametrize("name", now("min_m", more=["weight_kg"]))
def test_a_name_that_says_nothing_or_no_unit_of_what_fits_changes_nothing(name: str) -> None:
    unnamed, outcome = (healed(c, FEET, seed=4, n=200, skewed=False) for c in ("x0", name))
    assert (outcome.decision, outcome.options) == (unnamed.decision, unnamed.options)
    assert told(outcome, name) == told(unnamed, "x0")


def test_a_name_makes_no_other_conversion_of_one_that_fits_clearly_better() -> None:
    outcome = healed("height_m", SPEED, n=600, skewed=False)
    assert (outcome.decision, told(outcome, "height_m")) == ("audit", "m/s → km/h"), outcome.reasons
    assert "height_m: no unit of what its name says" in outcome.reasons[0]


def test_a_converted_part_of_the_rows_is_called_as_the_name_says() -> None:
    unnamed, outcome = (healed(name, GALLONS, seed=1, n=600, site=2) for name in ("x0", "volume_l"))
    assert "'x0' is calories → joules in the rows where site = 2" in unnamed.reasons[0]
    assert "'volume_l' is gallons → litres in the rows where site = 2" in outcome.reasons[0]


@pytest.mark.parametrize(("column", "scale", "offset"), [("speed_rpm", 1.0, -270.0), ("weight_kg", 33.863889, 0.0)])
def test_a_population_that_moved_by_a_listed_number_is_asked_about(column: str, scale: float, offset: float) -> None:
    """An offset of a spread or two is no kelvin, and no unit of mass is the 34th part of another's of pressure."""
    rng = np.random.default_rng(3)
    f = pd.DataFrame({"speed_rpm": rng.normal(1500, 180, 9000), "weight_kg": rng.gamma(3.0, 4.0, 9000)})
    f["load"] = f["speed_rpm"] / 180 + rng.normal(0, 1, 9000)
    z = (f["speed_rpm"] - 1500) / 180 + (f["weight_kg"] - 12) / 7
    f["y"] = (rng.random(9000) < 1 / (1 + np.exp(-2 * z))).astype(int)
    made, window = trained(f[:3000], f[3000:5000], "y", 0, epochs=4), f[8000:].drop(columns="y")
    outcome = selfheal.heal(made, window.assign(**{column: window[column] * scale + offset}), f[5000:8000])
    assert outcome.decision != "promote", outcome.reasons
