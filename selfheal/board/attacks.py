"""Attacks: up to a fifth of a window's rows come from one who knows rules, policy and healer. The rest is honest.

The attacker owns no labels and no clock, only rows: drawn from what others sent (``a pool of honest rows``), moved,
repeated or made up. What is scored are honest rows that nobody fitted on: they may not lose a point of accuracy or
.02 nats by what a heal makes of the window, under the default policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.board.mixed import CALM, CONTINUOUS, HEALTHY, SCORED, WINDOW, Mixed, mixed
from selfheal.board.synthetic import PROMOTE, UNSEEN, right
from selfheal.board.trial import HELD_BACK, Floats, Scenario, Trial, without
from selfheal.board.worlds import in_words
from selfheal.healing.case import Memory

ROWS = 1000
"""Rows of a window, the attacker's among them."""

MOST = 0.2
"""Share of the rows that an attacker sends at most."""

FACTORS = (25.4, 1 / 25.4, 1.609344, 60.0, 1000.0, 0.001, 0.45359237, 24.0)


@dataclass(frozen=True)
class Ground:
    """What an attacker has: the world's columns and spreads, honest rows, the model itself, a source of chance."""

    world: Mixed
    pool: pd.DataFrame
    count: int
    rng: np.random.Generator

    @property
    def numbers(self) -> list[str]:
        """Columns that are measured."""
        return self.world.columns(*CONTINUOUS)

    def honest(self, weights: Floats | None = None, n: int | None = None) -> pd.DataFrame:
        """Rows [n] of the pool with their labels, in proportion to ``weights``."""
        p = None if weights is None else weights / weights.sum()
        chosen = self.rng.choice(len(self.pool), n or self.count, p=p)
        return self.pool.iloc[chosen].reset_index(drop=True)

    def posterior(self, label: int) -> Floats:
        """The model's P(label | x) of the pool [m]."""
        return np.asarray(self.world.model.predict_proba(without(self.pool, "y"))[:, label])

    def label(self) -> int:
        """A class by chance."""
        return int(self.rng.integers(len(self.world.shares)))

    def spread(self, column: str) -> float:
        """Standard deviation of a column."""
        return float(self.world.rows[column].std())

    def columns(self, most: int) -> list[str]:
        """One to ``most`` measured columns by chance."""
        names = self.numbers
        return [str(c) for c in self.rng.choice(names, int(self.rng.integers(1, min(most, len(names)) + 1)), False)]


@dataclass(frozen=True)
class Attack:
    """The attacker's rows; and what the owner had declared, a rule, or a version in memory that they count on."""

    rows: pd.DataFrame
    policy: dict[str, Any] = field(default_factory=dict)
    memory: Memory = ()
    before: bool = False
    """Whether the healthy windows hold attacker's rows too, ever more of them."""


def surest(on: Ground) -> Attack:
    """The surest rows of one answer, each with a little noise: other class shares, as it seems."""
    label = on.label()
    weights = on.posterior(label) ** 8
    return Attack(_jittered(on, on.honest(weights), 0.05))


def tilted(on: Ground) -> Attack:
    """Honest rows in proportion to the model's own posterior of one class: the very signature of class shares."""
    return Attack(on.honest(on.posterior(on.label())))


def tilted_by_rule(on: Ground) -> Attack:
    """The same under a prior band that its owner declared wide."""
    return Attack(on.honest(on.posterior(on.label())), {"declare": {"prior_band": [0.01, 0.99]}})


def undecided(on: Ground) -> Attack:
    """Rows about which the model is least sure."""
    proba = np.sort(on.world.model.predict_proba(without(on.pool, "y")), axis=1)
    return Attack(on.honest(np.exp(-20 * (proba[:, -1] - proba[:, -2]))))


def repeated(on: Ground) -> Attack:
    """A handful of rows again and again, under other ids, some with the last digit changed."""
    few = on.honest(n=int(on.rng.integers(1, 12)))
    rows = few.iloc[on.rng.integers(len(few), size=on.count)].reset_index(drop=True)
    return Attack(_jittered(on, rows, float(on.rng.choice([0.0, 1e-6, 0.01]))))


def pushed(on: Ground) -> Attack:
    """Declared columns are pushed in the attacker's rows, so that the line through all of them bends."""
    chosen, step = on.columns(3), float(on.rng.choice([-1, 1]) * on.rng.uniform(0.5, 8))
    rows = on.honest()
    moved = rows.assign(**{c: rows[c] + step * on.spread(c) for c in chosen})
    return Attack(moved, {"declare": {"measurement": list(on.numbers)}})


def stretched(on: Ground) -> Attack:
    """Outer rows moved further out (or inner ones in), so that the quantiles of all rows fit a factor."""
    chosen, factor = on.columns(3), float(np.exp(on.rng.choice([-1, 1]) * on.rng.uniform(0.2, 1.5)))
    ranks = on.pool[chosen].rank(pct=True).to_numpy()
    rows = on.honest(np.abs(ranks - 0.5).max(axis=1) ** 2)
    declared = {"declare": {"measurement": list(on.numbers)}} if on.rng.random() < 0.5 else {}
    return Attack(rows.assign(**{c: rows[c] * factor for c in chosen}), declared)


def other_unit(on: Ground) -> Attack:
    """Rows in another unit, as if an upstream job had changed."""
    chosen, factor = on.columns(3), float(on.rng.choice(FACTORS))
    rows = on.honest()
    return Attack(rows.assign(**{c: rows[c] * factor for c in chosen}))


def new_pattern(on: Ground) -> Attack:
    """Rows that a new rule covers, right about honest rows, sent by one who read it and is of any class."""
    column = on.columns(1)[0]
    edge = round(float(on.pool[column].quantile(0.995)), 4)
    label = int(on.pool["y"][on.pool[column] > edge].mode()[0])
    rows = on.honest().assign(**{column: edge + on.spread(column) * np.abs(on.rng.normal(0.5, 0.3, on.count))})
    rule = {"name": "pattern", "when": f"{column} > {edge}", "vote": label, "knowledge": "new"}
    return Attack(rows, {"rules": [rule]})


def against_rules(on: Ground) -> Attack:
    """Rows on which two old rules vote against each other and against the model."""
    column = on.columns(1)[0]
    edge = round(float(on.pool[column].quantile(0.9)), 4)
    votes = on.rng.permutation(len(on.world.shares))[:2]
    rules = [
        {"name": f"rule_{i}", "when": f"{column} > {edge * (1 + 1e-6 * i)}", "vote": int(vote)}
        for i, vote in enumerate(votes)
    ]
    return Attack(on.honest(np.where(on.pool[column] > edge, 1.0, 1e-3)), {"rules": rules})


def like_class(on: Ground) -> Attack:
    """One class is declared stable: rows of the others come close to it."""
    label = on.label()
    theirs, ours = (on.honest((on.pool["y"] == label).to_numpy() == same) for same in (True, False))
    share = float(on.rng.uniform(0.3, 1.0))
    numbers = list(on.numbers)
    mixed_rows = ours.assign(**{c: (1 - share) * ours[c] + share * theirs[c] for c in numbers})
    return Attack(mixed_rows, {"declare": {"stable_class": label}})


def remembered(on: Ground) -> Attack:
    """Rows like those of a version in memory, which undid a change of columns that are now as ever."""
    chosen, factor = on.columns(2), float(on.rng.choice(FACTORS))
    then = on.honest(n=ROWS)
    then = then.assign(**{c: then[c] * factor for c in chosen})
    adapter = Adapter(InputMap({c: ColumnMap(1 / factor) for c in chosen}))
    rows = then.iloc[: on.count].reset_index(drop=True)
    return Attack(rows, memory=((7, adapter, without(then, "y")),))


def gross(on: Ground) -> Attack:
    """Numbers far outside, zeros, nothing at all."""
    rows = on.honest()
    for column in on.columns(4):
        far = on.spread(column) * 10.0 ** on.rng.uniform(1, 9)
        rows[column] = on.rng.choice([far, -far, 0.0, np.nan], size=on.count)
    return Attack(rows)


def narrow(on: Ground) -> Attack:
    """Rows in the middle, by which honest outer ones look wild."""
    chosen = list(on.numbers)
    middle = on.pool[chosen].median()
    rows = on.honest()
    return Attack(rows.assign(**{c: middle[c] + 0.02 * (rows[c] - middle[c]) for c in chosen}))


def finer(on: Ground) -> Attack:
    """More decimals, or fewer, and a line that only they would show."""
    rows, moved = on.honest(), {}
    for column in on.columns(3):
        step = on.spread(column) * 10.0 ** on.rng.uniform(-4, -1)
        moved[column] = (rows[column] / step).round() * step + on.rng.choice([0.0, 0.3, 1.0]) * on.spread(column)
    return Attack(rows.assign(**moved))


def made_up(on: Ground) -> Attack:
    """Every column from another row: each looks as ever, no two belong together."""
    rows = on.honest()
    return Attack(rows.assign(**{str(c): on.rng.permutation(rows[c].to_numpy()) for c in rows if c != "y"}))


def patient(on: Ground) -> Attack:
    """The attacker was there in healthy windows already, ever more of them, and walks away from the reference."""
    made = on.rng.choice(np.array([tilted, pushed, stretched, made_up], dtype=object))(on)
    return Attack(made.rows, made.policy, before=True)


KINDS: dict[str, Callable[[Ground], Attack]] = {
    "the surest of one answer": surest,
    "by the model's posterior": tilted,
    "by the model's posterior, wide band": tilted_by_rule,
    "near the decision": undecided,
    "a few rows repeated": repeated,
    "declared columns pushed": pushed,
    "outer rows stretched": stretched,
    "another unit": other_unit,
    "a new rule's pattern": new_pattern,
    "rules against each other": against_rules,
    "close to a stable class": like_class,
    "like a version in memory": remembered,
    "gross numbers": gross,
    "all in the middle": narrow,
    "finer or coarser, and moved": finer,
    "columns of other rows": made_up,
    "patient": patient,
}


ALIKE = frozenset(
    {
        "by the model's posterior",
        "by the model's posterior, wide band",
        "close to a stable class",
        "a new rule's pattern",
    }
)
"""Rows that are what they imitate: true rows of a class come more often, and a class that is declared to stay, or a
rule that is declared to know something new, is believed. No test of rows tells them; what they cost is shown;
``max_changed``, ``prior_band``, ``until_confirmed`` and labels bound it."""


def trial(seed: int, name: str) -> Trial:
    """The trial of one of :data:`KINDS` in the seed's world: a fifth, a tenth or a twentieth of the rows attack."""
    world, place = mixed(seed), list(KINDS).index(name)
    rng = np.random.default_rng([91, seed, place])
    attackers = int(ROWS * rng.choice([MOST, MOST, MOST / 2, MOST / 4]))
    pool = world.draw(CALM, 4 * ROWS, [92, seed, place])
    attack = KINDS[name](Ground(world, pool, attackers, rng))
    window = _joined(world.draw(WINDOW, ROWS - attackers, [93, seed, place]), attack.rows, rng)
    calm = world.draw(CALM, HEALTHY * ROWS, [94, seed, place])
    if attack.before:
        calm = _ever_more(calm, attack.rows, rng)
    honest = world.draw(SCORED, UNSEEN, [95, seed, place])
    answer = right(HELD_BACK | PROMOTE, "", "none", known=name not in ALIKE)
    return Trial(
        world.model.with_policy(attack.policy), without(window, "y"), window["y"].to_numpy(), without(honest, "y"),
        honest["y"].to_numpy(), answer, recent=without(calm, "y"), memory=attack.memory,
        declared=in_words(attack.policy.get("declare", {})),
    )  # fmt: skip


def _joined(honest: pd.DataFrame, attack: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    rows = pd.concat([honest, attack[honest.columns]], ignore_index=True)
    return rows.iloc[rng.permutation(len(rows))].reset_index(drop=True)


def _ever_more(calm: pd.DataFrame, attack: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Healthy windows of which the attacker holds nothing at first, and nearly as much as now in the last."""
    made = calm.copy()
    for k in range(HEALTHY):
        n = len(attack) * k // HEALTHY
        places = k * ROWS + rng.choice(ROWS, n, replace=False)
        made.iloc[places] = attack.iloc[rng.integers(len(attack), size=n)][made.columns].to_numpy()
    return made.astype(calm.dtypes.to_dict())


def _jittered(on: Ground, rows: pd.DataFrame, by: float) -> pd.DataFrame:
    return rows.assign(**{c: rows[c] + on.rng.normal(0, by * on.spread(c), len(rows)) for c in on.numbers})


SCENARIOS = tuple(
    Scenario(
        f"attack: {name}",
        "attacks",
        "up to a fifth of the rows attack; honest rows are scored",
        partial(trial, name=name),
    )
    for name in KINDS
)
