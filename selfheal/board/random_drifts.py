"""Random drifts: a random world, a random mechanism, a random size. What a hand-made list would leave out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.board.synthetic import (
    AUDIT,
    KEEP,
    MEASURED,
    PROMOTE,
    REFUSE,
    changed,
    prior_offset,
    right,
)  # fmt: skip
from selfheal.board.trial import Floats, Scenario, Trial
from selfheal.board.worlds import COLUMNS, Linear, linear

WORLDS, EACH = 3, 26
"""Worlds a seed, and drifts in each: 78 a seed, of which about 66 are identifiable; five seeds give over 300."""

BIG_FACTORS = (10.0, 100.0, 1000.0, 25.4, 3.6, 2.54, 24.0, 60.0, 0.3048)


def affine(rng: np.random.Generator, world: Linear, most: int = 3) -> tuple[dict[str, tuple[float, float]], Adapter]:
    """One to ``most`` columns with a scale of 0.5-2 and an offset of 0.5-3 sd, and the adapter that undoes it."""
    chosen = rng.choice(COLUMNS, rng.integers(1, most + 1), replace=False)
    maps = {}
    for column in chosen:
        factor = float(np.exp(rng.uniform(-0.7, 0.7)))
        step = float(rng.choice([-1, 1]) * rng.uniform(0.5, 3) * world.spread[column])
        middle = float(world.model.reference[column].mean())
        maps[str(column)] = (factor, middle * (1 - factor) + step)
    return maps, undo(maps)


def undo(maps: dict[str, tuple[float, float]]) -> Adapter:
    """The exact inverse of maps column → (scale, offset)."""
    return Adapter(InputMap({c: ColumnMap(1 / s, -o / s) for c, (s, o) in maps.items()}))


def apply(maps: dict[str, tuple[float, float]], frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with every map done to it."""
    return frame.assign(**{c: frame[c] * s + o for c, (s, o) in maps.items()})


def sensor(rng: np.random.Generator, world: Linear, seed: int) -> Trial:
    """Declared columns, any affine map."""
    maps, exact = affine(rng, world)
    answer = right(PROMOTE | KEEP, "", "sensor")
    return changed(world, seed, answer, partial(apply, maps), oracle=exact, declare=MEASURED)


def conversion(rng: np.random.Generator, world: Linear, seed: int) -> Trial:
    """Listed factors, undeclared."""
    chosen = rng.choice(COLUMNS, rng.integers(1, 4), replace=False)
    factor = float(rng.choice(BIG_FACTORS)) ** int(rng.choice([-1, 1]))
    maps = {str(c): (factor, 0.0) for c in chosen}
    return changed(world, seed, right(PROMOTE | KEEP, "", "sensor"), partial(apply, maps), oracle=undo(maps))


def shares(rng: np.random.Generator, world: Linear, seed: int) -> Trial:
    """Another share of positives, within the undeclared band."""
    share = float(rng.uniform(0.05, 0.45))
    exact = prior_offset(world.model, 0.15, share)
    return changed(world, seed, right(PROMOTE | KEEP, "", "prior"), lambda f: f, prior=share, oracle=exact)


def both(rng: np.random.Generator, world: Linear, seed: int) -> Trial:
    """A declared sensor and another share of positives at once."""
    maps, exact = affine(rng, world, most=2)
    share = float(rng.uniform(0.25, 0.45))
    whole = Adapter(exact.input_map, logit_offset=prior_offset(world.model, 0.15, share).logit_offset)
    return changed(
        world, seed, right(PROMOTE | KEEP, "", "combined"), partial(apply, maps), prior=share, oracle=whole,
        declare=MEASURED,
    )  # fmt: skip


def ruled(rng: np.random.Generator, world: Linear, seed: int) -> Trial:
    """A new kind of positive in two random columns, and the right rule for it."""
    pair = [str(c) for c in rng.choice(COLUMNS, 2, replace=False)]
    share = float(rng.uniform(0.05, 0.15))
    side = rng.choice([-1.0, 1.0], 2)
    middle, spread = world.model.reference[pair].mean(), world.spread[pair]
    at = middle + 4 * side * spread
    edge = (middle + 3 * side * spread).round(3)

    def change(f: pd.DataFrame) -> pd.DataFrame:
        hit = np.random.default_rng([seed, len(f)]).random(len(f)) < share
        new = f.copy()
        new.loc[hit, pair] = at.to_numpy()
        new.loc[hit, "y"] = 1
        return new

    when = " AND ".join(f"{c} {'>' if s > 0 else '<'} {edge[c]}" for c, s in zip(pair, side, strict=True))
    rules = [{"name": "corner", "when": when, "vote": 1, "knowledge": "new"}]
    return changed(
        world, seed, right(PROMOTE | KEEP, "", "new rule"), change, declare={"prior_band": [0.01, 0.5]}, rules=rules
    )


def nothing(rng: np.random.Generator, world: Linear, seed: int) -> Trial:
    """A window like those before it, of 400 to 2,000 rows."""
    return changed(world, seed, right(KEEP), lambda f: f, oracle=Adapter(), rows=int(rng.integers(400, 2001)))


def elsewhere(rng: np.random.Generator, world: Linear, seed: int) -> Trial:
    """A concept that moved: one class walks in a random direction. Nothing identifies it; nothing may be promoted."""
    label = int(rng.integers(2))
    step = rng.normal(size=10) * rng.uniform(0.3, 1.2) * world.spread.to_numpy()
    walk = partial(walked, label, COLUMNS, step)
    return changed(world, seed, right(KEEP | REFUSE | AUDIT, "", "concept", known=False), walk)


def walked(label: int, columns: list[str], step: Floats, frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with one class's rows moved."""
    moved = frame.copy()
    moved.loc[frame["y"] == label, columns] += step
    return moved


MENU: tuple[tuple[Callable[..., Trial], float], ...] = (
    (sensor, 0.24), (conversion, 0.20), (shares, 0.16), (both, 0.10), (ruled, 0.08), (nothing, 0.07), (elsewhere, 0.15),
)  # fmt: skip
"""What may happen, and how often."""


def drift(seed: int, number: int) -> Trial:
    """The ``number``-th random drift of a seed."""
    rng = np.random.default_rng([seed, number])
    world = linear(10_000 + seed * WORLDS + number // EACH)
    happens: Any = MENU[int(rng.choice(len(MENU), p=[share for _, share in MENU]))][0]
    return happens(rng, world, seed * 1000 + number * 20)  # type: ignore[no-any-return]


SCENARIOS = tuple(
    Scenario(f"random {i:02d}", "random", "a random drift of a random world", partial(drift, number=i))
    for i in range(WORLDS * EACH)
)
