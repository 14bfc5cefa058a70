"""Worlds of another make than the linear ones: clusters, skewed and heavy-tailed columns, counts, words, 2-4 classes.

Nothing in the healer was built on them; they ask whether what was learned on Gaussian columns holds elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import make_classification
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from selfheal.adapter import Adapter, InputMap
from selfheal.board.random_drifts import BIG_FACTORS, apply, undo, walked
from selfheal.board.synthetic import AUDIT, KEEP, PROMOTE, REFUSE, UNSEEN, Change, right
from selfheal.board.trial import Floats, Right, Scenario, Trial, without
from selfheal.board.worlds import in_words, trained, under_policy
from selfheal.model import MonitoredModel

ROWS, TRAINED_ON, FIRST_UNSEEN = 60_000, 8_000, 15_000
WINDOW, SCORED, CALM = slice(0, 8_000), slice(8_000, 33_000), slice(33_000, 45_000)
"""Of the rows that the model never saw: where the window, what is scored and the healthy windows come from."""

KINDS = ("plain", "plain", "skewed", "cubed", "heavy", "tenths", "counts", "flag")
HEALTHY = 6
"""Healthy windows before the one that is asked about, in every second case; else the reference alone."""

Weights = Callable[[pd.DataFrame], Floats]
HELD = KEEP | REFUSE | AUDIT


@dataclass(frozen=True, eq=False)
class Mixed:
    """A model and rows that it never saw; ``kinds`` says how each numeric column is distributed."""

    model: MonitoredModel
    rows: pd.DataFrame
    kinds: dict[str, str]

    def columns(self, *kinds: str) -> list[str]:
        """Numeric columns of these kinds, or all of them if there are none."""
        return [c for c, kind in self.kinds.items() if kind in kinds] or list(self.kinds)

    @property
    def shares(self) -> Floats:
        """Class shares, float [k]."""
        return np.asarray(self.rows["y"].value_counts(normalize=True).sort_index())

    def draw(self, part: slice, n: int, seed: list[int], weights: Floats | None = None) -> pd.DataFrame:
        """Rows [n] of a part without replacement, in proportion to ``weights`` [m]."""
        rows = self.rows.iloc[part]
        p = None if weights is None else weights[part] / weights[part].sum()
        return rows.iloc[np.random.default_rng(seed).choice(len(rows), n, replace=False, p=p)].reset_index(drop=True)


@lru_cache(maxsize=2)
def mixed(seed: int) -> Mixed:
    """A seeded world of 6 to 18 numeric columns, in half of the worlds with one of words beside them."""
    rng = np.random.default_rng([77, seed])
    classes, d = int(rng.choice([2, 2, 2, 3, 4])), int(rng.integers(6, 19))
    telling = int(rng.integers(3, max(4, d // 2) + 1))
    shares = rng.dirichlet(np.full(classes, 4.0)) if rng.random() < 0.7 else np.full(classes, 1 / classes)
    values, y = make_classification(
        ROWS, n_features=d, n_informative=telling, n_redundant=int(rng.integers(0, max(1, (d - telling) // 2) + 1)),
        n_classes=classes, n_clusters_per_class=2 if telling >= 4 else 1, weights=list(shares),
        class_sep=float(rng.uniform(0.8, 2)), flip_y=float(rng.choice([0, 0.02, 0.1])), random_state=seed,
    )  # fmt: skip
    kinds = {f"f{j}": str(rng.choice(KINDS)) for j in range(d)}
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    rows = pd.DataFrame({c: _shaped(z[:, j], kind, rng) for j, (c, kind) in enumerate(kinds.items())})
    if rng.random() < 0.5:
        rows["word"] = np.array(list("abcd"))[np.clip((z[:, 0] > 0) + rng.integers(0, 3, ROWS), 0, 3)]
    rows = rows.assign(y=y).sample(frac=1, random_state=seed).reset_index(drop=True)
    words = [c for c in rows if c == "word"]
    parts = [("numbers", StandardScaler(), list(kinds)), ("words", OneHotEncoder(sparse_output=False), words)]
    reference = rows.iloc[TRAINED_ON : TRAINED_ON + int(rng.choice([1500, 4000, 6000]))].reset_index(drop=True)
    model = trained(rows.iloc[:TRAINED_ON], reference, "y", seed, preprocess=ColumnTransformer(parts))
    return Mixed(model, rows.iloc[FIRST_UNSEEN:].reset_index(drop=True), kinds)


def _shaped(z: Floats, kind: str, rng: np.random.Generator) -> Floats:
    scale, offset = float(np.exp(rng.normal(0, 1.5))), float(rng.normal(0, 4))
    made: dict[str, Callable[[], Floats]] = {
        "plain": lambda: z * scale + offset,
        "skewed": lambda: np.exp(0.8 * z) * scale,
        "cubed": lambda: (z**3 + z) * scale,
        "heavy": lambda: (z + 0.3 * rng.standard_t(3, len(z))) * scale,
        "tenths": lambda: np.round(z * 8 + 20, 1),
        "counts": lambda: np.round(z * 12 + rng.integers(0, 100)),
        "flag": lambda: (z > rng.normal(0, 0.7)).astype(float),
    }
    return np.asarray(made[kind](), dtype=np.float64)


CONTINUOUS = ("plain", "skewed", "cubed", "heavy")


@dataclass(frozen=True)
class _Drift:
    """What happens: to the rows, to which of them come, and what its owner said."""

    answer: Right
    change: Change = lambda rows: rows
    weights: Floats | None = None
    oracle: Adapter | None = None
    declared: tuple[str, ...] = ()


def trial(seed: int, name: str) -> Trial:
    """The trial of one of :data:`DRIFTS` in the seed's world."""
    world, place = mixed(seed), list(DRIFTS).index(name)
    rng = np.random.default_rng([78, seed, place])
    n = int(rng.choice([500, 1000, 2000]))
    drift = DRIFTS[name](world, rng)
    window = world.draw(WINDOW, n, [79, seed, place], drift.weights)
    clean = world.draw(SCORED, UNSEEN, [80, seed, place], drift.weights)
    calm = world.draw(CALM, HEALTHY * n, [81, seed, place])
    declare: dict[str, Any] = {"measurement": list(drift.declared)} if drift.declared else {}
    changed, unseen = drift.change(window), drift.change(clean)
    return Trial(
        under_policy(world.model, declare=declare), without(changed, "y"),
        changed["y"].to_numpy(), without(unseen, "y"),
        unseen["y"].to_numpy(), drift.answer, recent=without(calm, "y") if (seed + place) % 2 else None,
        oracle=drift.oracle, undrifted=without(clean, "y"), declared=in_words(declare),
    )  # fmt: skip


def _lines(world: Mixed, rng: np.random.Generator, most: int = 2) -> dict[str, tuple[float, float]]:
    columns = world.columns(*CONTINUOUS)
    made = {}
    for c in rng.choice(columns, min(len(columns), int(rng.integers(1, most + 1))), replace=False):
        factor = float(np.exp(rng.uniform(-0.7, 0.7))) if rng.random() < 0.6 else 1.0
        step = float(rng.choice([-1, 1]) * rng.uniform(0.3, 3) * world.rows[c].std())
        made[str(c)] = (factor, float(world.rows[c].mean()) * (1 - factor) + step)
    return made


def _shares(world: Mixed, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """New class shares [k], and the weights [m] of rows that give them."""
    new = 0.5 * rng.dirichlet(np.full(len(world.shares), 3.0)) + 0.5 * world.shares
    return np.asarray(new), np.asarray((new / world.shares)[world.rows["y"].to_numpy()])


def sensor(world: Mixed, rng: np.random.Generator, declare: bool = True) -> _Drift:
    """One or two continuous columns arrive on another line."""
    maps = _lines(world, rng)
    answer = right(PROMOTE | KEEP if declare else HELD | PROMOTE, "", "sensor", known=declare)
    return _Drift(
        answer, partial(apply, maps), oracle=undo(maps), declared=tuple(world.columns(*CONTINUOUS)) if declare else ()
    )


def unit(world: Mixed, rng: np.random.Generator, celsius: bool = False) -> _Drift:
    """A listed conversion of up to three columns that are no flags, undeclared."""
    columns = [c for c, kind in world.kinds.items() if kind != "flag"]
    line = (1.8, 32.0) if celsius else (float(rng.choice(BIG_FACTORS)) ** int(rng.choice([-1, 1])), 0.0)
    maps = {str(c): line for c in rng.choice(columns, int(rng.integers(1, min(3, len(columns)) + 1)), replace=False)}
    return _Drift(right(PROMOTE | KEEP, "", "sensor"), partial(apply, maps), oracle=undo(maps))


def shares(world: Mixed, rng: np.random.Generator) -> _Drift:
    """The classes come in other shares."""
    new, weights = _shares(world, rng)
    offset = Adapter(logit_offset=np.log(new / world.shares))
    return _Drift(right(PROMOTE | KEEP, "", "prior"), weights=weights, oracle=offset)


def both(world: Mixed, rng: np.random.Generator) -> _Drift:
    """A declared sensor and other shares at once."""
    maps = _lines(world, rng, most=1)
    new, weights = _shares(world, rng)
    exact = Adapter(InputMap(undo(maps).input_map.columns), logit_offset=np.log(new / world.shares))
    return _Drift(
        right(PROMOTE | KEEP, "", "combined"), partial(apply, maps), weights, exact, tuple(world.columns(*CONTINUOUS))
    )


def tilt(world: Mixed, rng: np.random.Generator, declare: bool = False) -> _Drift:
    """Other rows of the same world come more often, by one column; ``declare``: and its owner suspects the sensors."""
    values = world.rows[str(rng.choice(list(world.kinds)))]
    steep = float(rng.choice([-1, 1]) * rng.uniform(0.4, 1.2))
    weights = np.exp(np.clip(steep * (values - values.mean()) / max(values.std(), 1e-9), -3, 3)).to_numpy()
    declared = tuple(world.columns(*CONTINUOUS)) if declare else ()
    return _Drift(right(HELD, "", "population", known=False), weights=weights, declared=declared)


def walk(world: Mixed, rng: np.random.Generator) -> _Drift:
    """One class walks away in a random direction."""
    label, columns = int(rng.integers(len(world.shares))), world.columns(*CONTINUOUS)
    step = rng.normal(size=len(columns)) * rng.uniform(0.2, 1.0) * world.rows[columns].std().to_numpy()
    return _Drift(right(HELD, "", "concept", known=False), partial(walked, label, columns, step))


def cluster(world: Mixed, rng: np.random.Generator) -> _Drift:
    """Rows of a kind never seen."""
    columns, label = [str(c) for c in rng.choice(world.columns(*CONTINUOUS), 2)], int(rng.integers(len(world.shares)))

    def change(rows: pd.DataFrame) -> pd.DataFrame:
        draws = np.random.default_rng(len(rows))
        hit = draws.random(len(rows)) < 0.15
        made = rows.copy()
        for c in columns:
            centre, spread = world.rows[c].mean(), world.rows[c].std()
            made.loc[hit, c] = centre + 4 * spread + 0.5 * spread * draws.normal(size=int(hit.sum()))
        made.loc[hit, "y"] = label
        return made

    return _Drift(right(HELD, "", "concept", known=False), change)


def blurred(world: Mixed, rng: np.random.Generator) -> _Drift:
    """Two columns lose what they knew in noise of their own spread."""
    columns = [str(c) for c in rng.choice(world.columns(*CONTINUOUS), 2)]

    def change(rows: pd.DataFrame) -> pd.DataFrame:
        draws = np.random.default_rng(len(rows))
        return rows.assign(**{c: rows[c] + draws.normal(0, world.rows[c].std(), len(rows)) for c in columns})

    return _Drift(right(HELD, "", "fault", known=False), change)


def nothing(world: Mixed, rng: np.random.Generator) -> _Drift:
    """A window like those before it."""
    return _Drift(right(KEEP), oracle=Adapter())


DRIFTS: dict[str, Callable[[Mixed, np.random.Generator], _Drift]] = {
    "clean": nothing,
    "sensor": sensor,
    "sensor, undeclared": partial(sensor, declare=False),
    "unit": unit,
    "°C → °F": partial(unit, celsius=True),
    "shares": shares,
    "sensor and shares": both,
    "tilt": tilt,
    "tilt, declared": partial(tilt, declare=True),
    "class walks": walk,
    "new cluster": cluster,
    "noise": blurred,
}

SCENARIOS = tuple(
    Scenario(
        f"mixed: {name}", "mixed", "a world of clusters, skewed columns, counts and words", partial(trial, name=name)
    )
    for name in DRIFTS
)
