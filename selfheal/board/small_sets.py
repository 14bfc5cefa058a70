"""Two small public sets under shifts of their own: images that get noisy, turned or dim; biopsies in other units."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.board.synthetic import AUDIT, KEEP, PROMOTE, REFUSE, right
from selfheal.board.trial import Right, Scenario, Trial, without
from selfheal.board.worlds import Small, breast_cancer, digits, in_words, rotated_images, under_policy

Change = Callable[[pd.DataFrame, int], pd.DataFrame]

OPEN = right(PROMOTE | AUDIT | REFUSE | KEEP, "", "sensor", known=False)
"""Known to be open: alignment would gain, but nothing label-free identifies it."""


def shifted(
    small: Small, seed: int, answer: Right, change: Change, exact: Adapter | None = None, **declare: Any
) -> Trial:
    """Window and unseen rows, changed; without an exact adapter the oracle learns from changed training rows."""
    made = [_changed(part, change, seed + i) for i, part in enumerate((small.window, small.unseen, small.train))]
    window, unseen, train = made
    return Trial(
        under_policy(small.model, declare=declare), without(window, "y"), window["y"].to_numpy(), without(unseen, "y"),
        unseen["y"].to_numpy(), answer, oracle=exact if exact is not None else train,
        undrifted=without(small.unseen, "y"), declared=in_words(declare),
    )  # fmt: skip


def _changed(rows: pd.DataFrame, change: Change, seed: int) -> pd.DataFrame:
    return change(without(rows, "y"), seed).assign(y=rows["y"].to_numpy())


def noisy(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Grey values with Gaussian noise of 4, within 0-16."""
    noise = np.random.default_rng(seed).normal(0, 4, frame.shape)
    return (frame + noise).clip(0, 16)


def digits_trial(seed: int, change: Change, answer: Right, exact: Adapter | None = None) -> Trial:
    """Digits under a change of every grey value."""
    return shifted(digits(seed), seed, answer, change, exact)


def _every(columns: list[str], scale: float) -> Adapter:
    return Adapter(InputMap({c: ColumnMap(scale) for c in columns}))


def digits_unit(seed: int) -> Trial:
    """Grey values in percent of sixteen: every column × 100."""
    return digits_trial(
        seed, lambda f, s: f * 100, right(PROMOTE | AUDIT, "sensor", "sensor"),
        _every(list(digits(seed).model.features), 0.01),
    )  # fmt: skip


def cancer_unit(seed: int) -> Trial:
    """Lengths arrive ten times too large (mm for cm): the columns of mean radius and perimeter."""
    small = breast_cancer(seed)
    columns = ["mean radius", "mean perimeter", "worst radius", "worst perimeter"]
    return shifted(
        small, seed, right(PROMOTE | AUDIT, "sensor", "sensor"),
        lambda f, s: f.assign(**{c: f[c] * 10 for c in columns}), _every(columns, 0.1),
    )  # fmt: skip


def cancer_offset(seed: int) -> Trial:
    """Two declared columns arrive 2 sd too high."""
    small = breast_cancer(seed)
    columns = ["worst concave points", "worst texture"]
    step = 2 * small.model.reference[columns].std()
    exact = Adapter(InputMap({c: ColumnMap(1.0, -float(step[c])) for c in columns}))
    return shifted(
        small, seed, right(PROMOTE | AUDIT, "sensor", "sensor"),
        lambda f, s: f.assign(**{c: f[c] + step[c] for c in columns}), exact, measurement=columns,
    )  # fmt: skip


def clean(seed: int, of: Callable[[int], Small]) -> Trial:
    """Nothing happens."""
    return shifted(of(seed), seed, right(KEEP, "stable"), lambda f, s: f, Adapter())


SCENARIOS = (
    Scenario("digits clean", "digits", "nothing happens", partial(clean, of=digits)),
    Scenario("digits noise", "digits", "Gaussian noise of 4 on 0-16", partial(digits_trial, change=noisy, answer=OPEN)),
    Scenario(
        "digits rotation", "digits", "every image turned by 25 degrees",
        partial(digits_trial, change=lambda f, s: rotated_images(f, 25), answer=OPEN),
    ),
    Scenario(
        "digits brightness", "digits", "half as bright",
        partial(digits_trial, change=lambda f, s: f * 0.5, answer=OPEN),
    ),
    Scenario("digits unit", "digits", "every grey value × 100", digits_unit),
    Scenario("cancer clean", "breast cancer", "nothing happens", partial(clean, of=breast_cancer)),
    Scenario("cancer unit", "breast cancer", "four lengths × 10", cancer_unit),
    Scenario("cancer offset", "breast cancer", "two declared columns + 2 sd", cancer_offset),
)  # fmt: skip
