"""What operators report, on worlds of clusters, skewed columns, counts and words: recorders, logs, parts of the rows.

A value is written more finely or more coarsely; a log keeps what the model accepted; a client retries; a look-up misses
in a part of the rows; one sender changes its unit; nonsense comes in between. None of it is a matter of distributions
alone, and none was tuned on these worlds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from selfheal.adapter import Adapter
from selfheal.board.mixed import CALM, CONTINUOUS, HEALTHY, SCORED, WINDOW, Mixed, mixed
from selfheal.board.random_drifts import apply, undo
from selfheal.board.synthetic import AUDIT, KEEP, PROMOTE, REFUSE, UNSEEN, right
from selfheal.board.trial import Right, Scenario, Trial, without
from selfheal.board.worlds import in_words, under_policy

Change = Callable[[pd.DataFrame, np.random.Generator], pd.DataFrame]

ROWS = 2000
"""Rows of a window before anything happens to it."""


@dataclass(frozen=True)
class _Kind:
    """What happens to the rows that are logged, what to those that are served, and what its owner said."""

    answer: Right
    change: Change
    served: Change | None = None
    oracle: Adapter | None = None
    declared: tuple[str, ...] = ()


def trial(seed: int, name: str) -> Trial:
    """The trial of one of :data:`KINDS` in the seed's world."""
    world, place = mixed(seed), list(KINDS).index(name)
    rng = np.random.default_rng([83, seed, place])
    kind = KINDS[name](world, rng)
    window, clean = (world.draw(part, n, [84, seed, place]) for part, n in ((WINDOW, ROWS), (SCORED, UNSEEN)))
    calm = world.draw(CALM, HEALTHY * ROWS, [85, seed, place])
    logged = kind.change(window, np.random.default_rng([86, seed, place]))
    unseen = (kind.served or kind.change)(clean, np.random.default_rng([87, seed, place]))
    declare: dict[str, Any] = {"measurement": list(kind.declared)} if kind.declared else {}
    return Trial(
        under_policy(world.model, declare=declare), without(logged, "y"), logged["y"].to_numpy(), without(unseen, "y"),
        unseen["y"].to_numpy(), kind.answer, recent=without(calm, "y"), oracle=kind.oracle,
        undrifted=without(clean, "y") if len(unseen) == len(clean) else None, declared=in_words(declare),
    )  # fmt: skip


def _as_it_was(rows: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
    return rows


def _one(world: Mixed, rng: np.random.Generator, *kinds: str) -> str:
    return str(rng.choice(world.columns(*(kinds or CONTINUOUS))))


def finer(world: Mixed, rng: np.random.Generator) -> _Kind:
    """A column of whole numbers or of tenths gets two more decimals."""
    column = _one(world, rng, "counts", "tenths")
    step = float(np.min(np.diff(np.unique(world.rows[column].round(6)))))

    def change(rows: pd.DataFrame, draws: np.random.Generator) -> pd.DataFrame:
        return rows.assign(**{column: rows[column] + draws.uniform(-0.5, 0.5, len(rows)).round(2) * step})

    return _Kind(right(KEEP), change)


def coarser(world: Mixed, rng: np.random.Generator) -> _Kind:
    """A column is rounded to a fifth of its spread."""
    column = _one(world, rng, "plain", "tenths")
    step = float(world.rows[column].std()) / 5
    return _Kind(right(KEEP), lambda rows, _: rows.assign(**{column: (rows[column] / step).round() * step}))


def rounded_unit(world: Mixed, rng: np.random.Generator) -> _Kind:
    """A column comes in another unit, with as many digits as the recorder cares for."""
    column, factor = (
        _one(world, rng, "plain", "skewed", "tenths"),
        float(rng.choice([25.4, 2.54, 0.3048, 3.6, 0.45359237])),
    )
    spread = float(world.rows[column].std()) / factor
    digits = int(rng.integers(1, 4)) - int(np.floor(np.log10(spread)))
    return _Kind(
        right(PROMOTE | AUDIT | KEEP, "", "sensor"),
        lambda rows, _: rows.assign(**{column: (rows[column] / factor).round(digits)}),
        oracle=undo({column: (1 / factor, 0.0)}),
    )


def kept(world: Mixed, rng: np.random.Generator, share: float) -> _Kind:
    """The log keeps a share of what the model decides as its last class."""
    last = world.model.classes_[-1]

    def change(rows: pd.DataFrame, draws: np.random.Generator) -> pd.DataFrame:
        decided = world.model.predict(without(rows, "y"))
        return rows.iloc[np.flatnonzero((decided != last) | (draws.random(len(rows)) < share))].reset_index(drop=True)

    return _Kind(right(KEEP | REFUSE, "", "population", known=False), change, served=_as_it_was)


def retried(world: Mixed, rng: np.random.Generator) -> _Kind:
    """Some rows of one class come again and again, under other ids and a little later."""
    label, times = int(rng.integers(len(world.shares))), int(rng.integers(2, 7))

    def change(rows: pd.DataFrame, draws: np.random.Generator) -> pd.DataFrame:
        again = rows[rows["y"] == label].head(len(rows) // 30)
        return (
            pd.concat([rows, *[again] * times])
            .sample(frac=1, random_state=int(draws.integers(1_000_000)))
            .reset_index(drop=True)
        )

    return _Kind(right(KEEP | REFUSE, "", "population", known=False), change, served=_as_it_was)


def missed(world: Mixed, rng: np.random.Generator) -> _Kind:
    """A look-up misses: up to three columns are at one value in 15 to 40 % of rows, in the range or at zero."""
    columns = [c for c, kind in world.kinds.items() if kind in CONTINUOUS]
    if not columns:
        return _Kind(right(KEEP), _as_it_was)
    chosen = [str(c) for c in rng.choice(columns, min(len(columns), int(rng.integers(1, 4))), replace=False)]
    share = float(rng.uniform(0.15, 0.4))
    values = {c: 0.0 if rng.random() < 0.5 else float(world.rows[c].mean()) for c in chosen}

    def change(rows: pd.DataFrame, draws: np.random.Generator) -> pd.DataFrame:
        made, hit = rows.copy(), draws.random(len(rows)) < share
        for column, value in values.items():
            made.loc[hit, column] = value
        return made

    return _Kind(right(REFUSE, "data_fault", "fault"), change)


def sender(world: Mixed, rng: np.random.Generator) -> _Kind:
    """One word's rows come in hundredths: a country, a version of an app."""
    if "word" not in world.rows:
        return _Kind(right(KEEP), _as_it_was)
    column, word = _one(world, rng, "skewed", "cubed", "plain"), str(rng.choice(world.rows["word"].unique()))

    def change(rows: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
        return rows.assign(**{column: rows[column].where(rows["word"] != word, rows[column] * 100)})

    return _Kind(right(REFUSE | AUDIT, "", "fault"), change)


def nonsense(world: Mixed, rng: np.random.Generator) -> _Kind:
    """A declared sensor moves, and in a fifth of the rows every number is nonsense."""
    column = _one(world, rng, "plain")
    line = {column: (1.0, float(rng.choice([-1, 1]) * rng.uniform(1.0, 2.5) * world.rows[column].std()))}

    def change(rows: pd.DataFrame, draws: np.random.Generator) -> pd.DataFrame:
        made, hit = apply(line, rows), draws.random(len(rows)) < 0.2
        for c in world.kinds:
            noise = draws.normal(0, 30 * float(world.rows[c].std()), len(rows))
            made[c] = np.where(hit, noise, made[c].to_numpy(dtype=np.float64))
        return made

    answer = right(PROMOTE | KEEP | AUDIT | REFUSE, "", "sensor")
    return _Kind(answer, change, lambda rows, _: apply(line, rows), undo(line), (column,))


def odd_row(world: Mixed, rng: np.random.Generator) -> _Kind:
    """One row has a value that is impossible."""
    column, far = _one(world, rng), float(rng.choice([1e9, 0.0, -1e6]))

    def change(rows: pd.DataFrame, _: np.random.Generator) -> pd.DataFrame:
        made = rows.copy()
        made.loc[made.index[len(made) // 3], column] = far
        return made

    return _Kind(right(KEEP), change)


KINDS: dict[str, Callable[[Mixed, np.random.Generator], _Kind]] = {
    "recorded finer": finer,
    "recorded coarser": coarser,
    "another unit, rounded": rounded_unit,
    "half of one answer is logged": partial(kept, share=0.5),
    "a fifth of one answer is logged": partial(kept, share=0.2),
    "retried": retried,
    "a look-up misses": missed,
    "one sender in another unit": sender,
    "a fifth is nonsense": nonsense,
    "one odd row": odd_row,
}

SCENARIOS = tuple(
    Scenario(
        f"field: {name}", "field", "what operators report, on worlds of clusters and words", partial(trial, name=name)
    )
    for name in KINDS
)
