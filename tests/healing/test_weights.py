"""A log that samples says what its rows stand for, and is then no drift."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import selfheal
from selfheal.errors import InputError
from selfheal.healing.weights import MOST, capped, fair_draw
from tests.healing.worlds import linear


@given(st.lists(st.floats(1e-3, 1e6), min_size=1, max_size=400))
def test_no_row_stands_for_more_than_a_hundredth(values: list[float]) -> None:
    w = capped(np.array(values))
    assert (w > 0).all() and (w.max() <= MOST * w.sum() * (1 + 1e-9) or len(w) <= 1 / MOST)
    order = np.argsort(values, kind="stable")
    assert (np.diff(w[order]) >= -1e-9 * w.max()).all(), "heavier stays heavier"


@given(st.integers(0, 50), st.integers(200, 600))
def test_a_draw_takes_rows_by_their_weight_and_none_twice(seed: int, n: int) -> None:
    weights = pd.Series(np.where(np.arange(n) % 2, 1.0, 4.0))
    drawn = fair_draw(weights.to_frame(), weights, seed)
    assert len(set(drawn)) == len(drawn) and (np.diff(drawn) > 0).all()
    heavy = int((drawn % 2 == 0).sum())
    assert heavy == (n + 1) // 2 and abs((len(drawn) - heavy) - heavy / 4) <= 1.5
    assert (fair_draw(weights.to_frame(), weights, seed) == drawn).all()


def test_a_log_that_keeps_a_third_of_one_class_is_no_shift_once_it_says_so() -> None:
    world = linear(20)
    rows = world.draw(4000, 5)
    accepted = world.model.predict(rows) == world.model.classes_[0]
    kept = ~accepted | (np.random.default_rng(0).random(len(rows)) < 1 / 3)
    logged = rows[kept]
    weights = pd.Series(np.where(accepted[kept], 3.0, 1.0), index=logged.index)
    assert selfheal.heal(world.model, logged).diagnosis != "stable"
    said = selfheal.heal(world.model, logged, weights=weights)
    assert (said.decision, said.diagnosis) == ("keep", "stable"), said.reasons
    equal = selfheal.heal(world.model, rows, weights=pd.Series(2.0, index=rows.index))
    assert equal.reasons == selfheal.heal(world.model, rows).reasons, "equal weights say nothing"


@pytest.mark.parametrize(
    ("values", "index", "words"),
    [
        ([1.0, 0.0, 1.0], [0, 1, 2], "0 of row 1 is not a finite number above zero"),
        ([1.0, 1.0, float("nan")], [0, 1, 2], "nan of row 2 is not"),
        ([1.0, 1.0, 1.0], [0, 1, 3], "index is not the window's 3 rows"),
        ([1.0, 1.0], [0, 1], "2 values whose index"),
    ],
)
def test_what_is_no_weight_is_refused(values: list[float], index: list[int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        fair_draw(pd.DataFrame({"x": [1.0, 2.0, 3.0]}), pd.Series(values, index=index), 0)
