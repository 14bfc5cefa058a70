"""A concept that turned for a part of the rows: found by a column, carried by a layer, proven before it serves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import selfheal
from selfheal.healing.fits.turned import Cut, Turned, cuts_of, fit_turned, sides_of
from tests.healing.worlds import linear

COLUMNS = [f"x{i}" for i in range(10)]


def probabilities(n: int, k: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a calibrated model says of n rows, and the truth."""
    proba = np.random.default_rng(seed).dirichlet(np.full(k, 0.3), n)
    return proba, np.array([np.random.default_rng([seed, i]).choice(k, p=row) for i, row in enumerate(proba)])


def fitted(proba: np.ndarray, truth: np.ndarray, units: pd.DataFrame, measured: list[str]) -> Turned:
    cuts = cuts_of(units, measured)
    return fit_turned(proba, truth, sides_of(units, cuts), cuts)


def part(seed: int, column: str, labels: int, n: int = 600) -> tuple[pd.DataFrame, pd.Series]:
    """A window whose labels are turned up to the middle of a column, some of them known."""
    rows = linear(3).draw(n, seed)
    truth = rows["y"].where(rows[column] > rows[column].median(), 1 - rows["y"]).astype(float)
    known = np.random.default_rng(seed).permutation(n) < labels
    return rows[COLUMNS], truth.where(known)


def test_the_column_that_tells_is_found_and_few_labels_hedge() -> None:
    proba, truth = probabilities(400, 2, 1)
    units = pd.DataFrame({"a": np.random.default_rng(2).normal(size=400), "kind": ["u", "v"] * 200})
    turned = np.where(units["kind"] == "v", 1 - truth, truth)
    found = fitted(proba, turned, units, ["a"])
    assert found.cuts[0].column == "kind" and found.weights[0] > 0.4
    now = found.apply(proba, units).argmax(axis=1)
    assert (now == turned).mean() > (proba.argmax(axis=1) == truth).mean() - 0.02
    few = fitted(proba[:4], turned[:4], units[:4], ["a"])
    assert np.abs(few.apply(proba, units) - proba).max() < 0.75 and len(few.weights) > 1
    assert few.whole[0, 0] > few.whole[0, 1], "with next to no labels most of it stays as it was"


def test_two_of_many_classes_that_changed_places_are_told_from_all_rows() -> None:
    proba, truth = probabilities(150, 5, 3)
    swapped = np.array([0, 2, 1, 3, 4])[truth]
    units = pd.DataFrame({"a": np.arange(150.0)})
    now = fitted(proba, swapped, units, ["a"]).apply(proba, units)
    assert (now.argmax(axis=1) == swapped).mean() > (proba.argmax(axis=1) == swapped).mean() + 0.2
    assert now.sum(axis=1) == pytest.approx(np.ones(150)) and (now >= 0).all()
    uncut = fitted(proba, swapped, pd.DataFrame({"a": np.ones(150)}), ["a"])
    assert uncut.cuts == () and (uncut.apply(proba, units).argmax(axis=1) == swapped).mean() > 0.5


def test_where_nothing_turned_it_stays_as_it_was() -> None:
    proba, truth = probabilities(400, 3, 5)
    units = pd.DataFrame({c: np.random.default_rng(i).normal(size=400) for i, c in enumerate("abcd")})
    found = fitted(proba[:200], truth[:200], units[:200], list("abcd"))
    assert (found.apply(proba, units).argmax(axis=1) == proba.argmax(axis=1)).mean() > 0.9


def test_what_is_missing_lies_on_the_other_side() -> None:
    rows = pd.DataFrame({"a": [1.0, np.nan, 3.0], "s": pd.Series(["u", None, "v"], dtype=object)})
    assert Cut("a", 2.0, level=False).side(rows).tolist() == [True, False, False]
    assert Cut("s", "u", level=True).side(rows).tolist() == [True, False, False]
    assert cuts_of(pd.DataFrame({"a": [np.nan] * 3, "b": [1.0] * 3}), ["a", "b"]) == []


@pytest.mark.parametrize(("seed", "column"), [(936, "x4"), (932, "x4")])
def test_a_half_turned_concept_is_healed_at_once(seed: int, column: str) -> None:
    """The model answers half of the rows wrongly; 200 labels in one window bring most of it back."""
    model = linear(3).model
    rows, labels = part(seed, column, 200)
    outcome = selfheal.heal(model, rows, labels=labels, seed=seed)
    assert outcome.decision == "promote" and outcome.reasons[0].startswith("turned: 200 labels"), outcome.reasons
    assert f"`{column}` ≤" in outcome.reasons[0] and outcome.diagnosis == "concept" and outcome.adapter is not None
    unseen, truth = part(seed + 1000, column, 2000, 2000)
    served, healed = (float((m.predict(unseen) == truth).mean()) for m in (model, model.with_adapter(outcome.adapter)))
    assert served < 0.65 and healed > served + 0.2


def test_what_a_few_labels_say_and_what_did_not_turn_is_left_to_the_patch() -> None:
    rows, labels = part(941, "x0", 39)
    as_ever = linear(3).draw(600, 942)
    known = as_ever["y"].astype(float).where(as_ever.index < 200)
    for window, told in ((rows, labels), (as_ever[COLUMNS], known)):
        outcome = selfheal.heal(linear(3).model, window, labels=told, seed=1)
        assert outcome.decision != "promote"
        assert outcome.candidates["name"].tolist()[-1] == "late_labels", "turned was silent"
