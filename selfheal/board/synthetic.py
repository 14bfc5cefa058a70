"""Scenarios on worlds whose truth is known: one for each thing that can happen to a model's inputs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.board.trial import HELD_BACK, Mechanism, Right, Scenario, Trial, without
from selfheal.board.worlds import COLUMNS, Linear, article, article_rows, in_words, linear, under_policy
from selfheal.model import MonitoredModel

ROWS, UNSEEN, LABELLED = 1000, 5000, 5500
"""Rows of the window, of what is scored, and with labels for the oracle. All differ: a draw is seeded by its length."""

PROMOTE, KEEP, REFUSE, AUDIT = (frozenset({d}) for d in ("promote", "keep", "refuse", "audit"))
Change = Callable[[pd.DataFrame], pd.DataFrame]
MEASURED = {"measurement": COLUMNS}


def right(
    decisions: frozenset[str], diagnoses: str = "", mechanism: Mechanism = "none", *, known: bool = True
) -> Right:
    """A :class:`Right` in one line; ``diagnoses`` separated by blanks."""
    return Right(decisions, frozenset(diagnoses.split()), mechanism, known)


def changed(
    world: Linear, seed: int, answer: Right, change: Change, *, prior: float = 0.15, oracle: Adapter | None = None,
    declare: dict[str, Any] | None = None, rows: int = ROWS, **policy: Any,
) -> Trial:  # fmt: skip
    """A trial in which ``change`` happens to the rows (labels and all), and the classes come in another share."""
    declare = declare or {}
    clean = world.draw(UNSEEN, seed + 11, prior)
    window, unseen = change(world.draw(rows, seed + 10, prior)), change(clean)
    exact = oracle if oracle is not None else change(world.draw(LABELLED, seed + 12, prior))
    return Trial(
        under_policy(world.model, declare=declare, **policy), without(window, "y"), window["y"].to_numpy(),
        without(unseen, "y"), unseen["y"].to_numpy(), answer, oracle=exact,
        undrifted=without(clean, "y") if len(unseen) == len(clean) else None, declared=in_words(declare),
    )  # fmt: skip


def prior_offset(model: MonitoredModel, then: float, now: float) -> Adapter:
    """The exact adapter for a class share of two classes that moved."""
    step = np.log(now / (1 - now)) - np.log(then / (1 - then))
    return Adapter(logit_offset=np.array([-step / 2, step / 2]))


def mapped(column: str, scale: float = 1.0, offset: float = 0.0) -> tuple[Change, Adapter]:
    """A column that arrives as ``scale · x + offset``, and the adapter that undoes it."""
    inverse = Adapter(InputMap({column: ColumnMap(1 / scale, -offset / scale)}))
    return lambda f: f.assign(**{column: f[column] * scale + offset}), inverse


# ------------------------------------------------------------------ nothing to heal


def clean(seed: int, rows: int = ROWS) -> Trial:
    """A window like those before it."""
    return changed(linear(seed), seed, right(KEEP, "stable"), lambda f: f, oracle=Adapter(), rows=rows)


def benign(seed: int) -> Trial:
    """Columns that nothing depends on move."""
    world = linear(seed, aside=True)
    noise = COLUMNS[7:]
    return changed(
        world, seed, right(KEEP, "benign population stable"),
        lambda f: f.assign(**{c: f[c] + world.spread[c] for c in noise}), oracle=Adapter(),
    )  # fmt: skip


def poison(
    seed: int, change: Change | None = None, answer: Right | None = None, oracle: Adapter | None = None
) -> Trial:
    """One row in five of the window is gross nonsense; what is scored has none of it."""
    world = linear(seed)
    trial = changed(
        world, seed, answer or right(KEEP, "stable benign"), change or (lambda f: f), oracle=oracle or Adapter(),
        declare=MEASURED if change else None,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    hit = rng.random(len(trial.window)) < 0.2
    window = trial.window.copy()
    window.loc[hit] = rng.normal(size=(int(hit.sum()), 10)) * world.spread.to_numpy() * 1e3
    return Trial(**{**vars(trial), "window": window})


def poisoned_offset(seed: int) -> Trial:
    """The same on top of a declared sensor's offset: the nonsense must not cost the heal."""
    world = linear(seed)
    change, exact = mapped(world.telling[0], offset=2 * world.spread[world.telling[0]])
    return poison(seed, change, right(PROMOTE, "sensor", "sensor"), exact)


def label_flip(seed: int) -> Trial:
    """Labels turn over in a region while p(x) stays: invisible without labels, and no one may pretend otherwise."""
    world = linear(seed)

    def change(f: pd.DataFrame) -> pd.DataFrame:
        high = f[world.telling[1]] > world.model.reference[world.telling[1]].quantile(0.8)
        return f.assign(y=np.where(high, 1 - f["y"], f["y"]))

    return changed(world, seed, right(KEEP, "stable", "concept", known=False), change)


# ------------------------------------------------------------------ measurement


def offset(seed: int, declare: bool = True) -> Trial:
    """The most telling column arrives two standard deviations too high."""
    world = linear(seed)
    change, exact = mapped(world.telling[0], offset=2 * world.spread[world.telling[0]])
    answer = right(PROMOTE if declare else AUDIT | REFUSE, "sensor" if declare else "", "sensor", known=declare)
    return changed(world, seed, answer, change, oracle=exact, declare=MEASURED if declare else None)


def unit(seed: int, scale: float, shift: float = 0.0) -> Trial:
    """A listed conversion hits the most telling column, undeclared: the table alone identifies it."""
    world = linear(seed)
    change, exact = mapped(world.telling[0], scale, shift)
    return changed(world, seed, right(PROMOTE, "sensor", "sensor"), change, oracle=exact)


def scale(seed: int) -> Trial:
    """A declared column arrives 1.7 times too large."""
    world = linear(seed)
    column = world.telling[0]
    middle = float(world.model.reference[column].mean())
    change, exact = mapped(column, 1.7, -0.7 * middle + float(world.spread[column]))
    return changed(world, seed, right(PROMOTE, "sensor", "sensor"), change, oracle=exact, declare=MEASURED)


def monotone(seed: int) -> Trial:
    """A declared column arrives bent: squared on one side of its middle, flattened on the other."""
    world = linear(seed)
    column = world.telling[0]
    middle, spread = float(world.model.reference[column].mean()), float(world.spread[column])

    def change(f: pd.DataFrame) -> pd.DataFrame:
        z = (f[column] - middle) / spread
        return f.assign(**{column: middle + spread * (np.where(z > 0, z + z**2, np.expm1(z)) + 0.5)})

    trial = changed(world, seed, right(PROMOTE, "sensor", "sensor"), change, declare=MEASURED)
    return Trial(**{**vars(trial), "oracle": "undrifted"})


def clipped(seed: int) -> Trial:
    """A sensor saturates at its 60 % quantile: what was above is gone."""
    world = linear(seed)
    column = world.telling[0]
    limit = float(world.model.reference[column].quantile(0.6))
    answer = right(REFUSE | KEEP | AUDIT, "data_fault", "fault", known=False)
    return changed(world, seed, answer, lambda f: f.assign(**{column: f[column].clip(upper=limit)}))


def half_and_half(seed: int) -> Trial:
    """The change came in the middle of the window; what is scored lies after it."""
    world = linear(seed)
    change, exact = mapped(world.telling[0], offset=2 * world.spread[world.telling[0]])
    trial = changed(
        world, seed, right(PROMOTE | AUDIT | REFUSE, "", "sensor", known=False), change, oracle=exact, declare=MEASURED
    )
    half = without(world.draw(ROWS, seed + 10), "y").iloc[: ROWS // 2]
    return Trial(**{**vars(trial), "window": pd.concat([half, trial.window.iloc[ROWS // 2 :]])})


def gradual(seed: int) -> Trial:
    """A declared sensor drifts away through the window; what is scored lies at the end of the drift."""
    world = linear(seed)
    column = world.telling[0]
    step = 2 * float(world.spread[column])
    change, exact = mapped(column, offset=step)
    trial = changed(
        world, seed, right(PROMOTE | HELD_BACK, "", "sensor", known=False), change, oracle=exact, declare=MEASURED
    )
    ramp = np.linspace(-step, 0, len(trial.window))
    return Trial(**{**vars(trial), "window": trial.window.assign(**{column: trial.window[column] + ramp})})


# ------------------------------------------------------------------ the classes' shares


def prior(seed: int, share: float) -> Trial:
    """The positive class comes in another share."""
    world = linear(seed)
    exact = prior_offset(world.model, 0.15, share)
    return changed(world, seed, right(PROMOTE, "prior", "prior"), lambda f: f, prior=share, oracle=exact)


def combined(seed: int) -> Trial:
    """A declared sensor's offset, while the positive class rises to 35 %."""
    world = linear(seed)
    change, undo = mapped(world.telling[0], offset=2 * world.spread[world.telling[0]])
    exact = Adapter(undo.input_map, logit_offset=prior_offset(world.model, 0.15, 0.35).logit_offset)
    answer = right(PROMOTE, "sensor prior", "combined")
    return changed(world, seed, answer, change, prior=0.35, oracle=exact, declare=MEASURED)


def evasion(seed: int) -> Trial:
    """The positives move half of the way to the negatives: it looks like fewer of them, and is not."""
    world = linear(seed)
    step = -0.5 * world.shift * world.scale

    def change(f: pd.DataFrame) -> pd.DataFrame:
        moved = f.copy()
        moved.loc[f["y"] == 1, COLUMNS] += step
        return moved

    return changed(world, seed, right(REFUSE | KEEP | AUDIT, "", "concept", known=False), change)


# ------------------------------------------------------------------ population and concept


def population(seed: int) -> Trial:
    """Other rows of the same world come more often (a tilt along two columns): what the model knows still holds."""
    world = linear(seed)

    def change(f: pd.DataFrame) -> pd.DataFrame:
        many = pd.concat([f, world.draw(4 * len(f), seed + len(f))], ignore_index=True)
        z = (many[COLUMNS] - world.model.reference.mean()) / world.spread
        weight = np.exp(0.7 * z[world.telling[0]] - 0.5 * z[world.telling[2]])
        return many.sample(len(f), weights=weight, random_state=seed).reset_index(drop=True)

    answer = right(KEEP | REFUSE | AUDIT, "population unknown benign sensor", "population", known=False)
    return changed(world, seed, answer, change)


def new_normals(seed: int) -> Trial:
    """A fifth of the rows is a kind of negative that the model never saw."""
    world = linear(seed)

    def change(f: pd.DataFrame) -> pd.DataFrame:
        hit = np.random.default_rng([seed, len(f)]).random(len(f)) < 0.2
        moved = f.copy()
        moved.loc[hit, COLUMNS[:2]] += 4 * world.spread[COLUMNS[:2]].to_numpy()
        moved.loc[hit, "y"] = 0
        return moved

    return changed(world, seed, right(KEEP | REFUSE | AUDIT, "", "concept", known=False), change)


def pattern(seed: int, rule: str = "right") -> Trial:
    """One row in ten becomes positive where two columns are high, as no reference row is.

    ``rule`` says what the owner knows: ``right``; ``none``; ``wrong``: the pattern is there, but it is harmless and the
    rule says otherwise.
    """
    world = linear(seed)
    pair = ["x7", "x8"]
    middle, spread = world.model.reference[pair].mean(), world.spread[pair]

    def change(f: pd.DataFrame) -> pd.DataFrame:
        hit = np.random.default_rng([seed, len(f)]).random(len(f)) < 0.10
        new = f.copy()
        new.loc[hit, pair] = (middle + 4 * spread).to_numpy()
        if rule != "wrong":
            new.loc[hit, "y"] = 1
        else:
            new.loc[hit, "y"] = 0
        return new

    bounds = (middle + 3 * spread).round(3)
    when = f"x7 > {bounds.x7} AND x8 > {bounds.x8}"
    entry = {"name": "both_high", "when": when, "vote": 1, "knowledge": "new"}
    answer = {
        "right": right(PROMOTE, "concept", "new rule"),
        "none": right(REFUSE | KEEP | AUDIT, "", "concept", known=False),
        "wrong": right(REFUSE | KEEP | AUDIT, "", "concept", known=False),
    }[rule]
    rules = [] if rule == "none" else [entry]
    trial = changed(world, seed, answer, change, declare={"prior_band": [0.01, 0.5]}, rules=rules)
    words = {"right": "; a rule marked new", "none": "", "wrong": "; a rule marked new, which is wrong"}[rule]
    return Trial(**{**vars(trial), "declared": trial.declared + words, "undrifted": None})


def published(seed: int, declare: bool, cost: bool = False) -> Trial:
    """The published case: normals move onto the fraud, and the rule loses its meaning."""
    rules = [{"name": "deep_v14", "when": "v14 < -1.5", "vote": 1}]
    declared = {"stable_class": 1} if declare else {}
    price = {"cost": {"false_positive": 1, "false_negative": 5}} if cost else {}
    window, unseen = article_rows(ROWS, seed + 10, True), article_rows(UNSEEN, seed + 11, True)
    promotes = declare and not cost
    answer = right(PROMOTE if promotes else REFUSE | AUDIT, "", "concept", known=promotes)
    words = in_words(declared) + ("; costs 1 : 5" if cost else "")
    return Trial(
        under_policy(article(seed), rules=rules, declare=declared, **price), without(window, "y"),
        window["y"].to_numpy(),
        without(unseen, "y"), unseen["y"].to_numpy(), answer, oracle=article_rows(LABELLED, seed + 12, True),
        declared=words,
    )  # fmt: skip


# ------------------------------------------------------------------ memory


def recurring(seed: int, back: bool = False) -> Trial:
    """A sensor's unit comes and goes: an earlier version fits, and nothing needs to be learned.

    ``back``: the healed version serves and the old unit returns; else the base serves and the other unit returns.
    """
    world = linear(seed)
    change, exact = mapped(world.telling[0], offset=2 * world.spread[world.telling[0]])
    answer = right(frozenset({"recall"}), "", "recurring")
    trial = changed(world, seed, answer, (lambda f: f) if back else change, oracle=Adapter() if back else exact)
    before = without(world.draw(ROWS, seed + 20), "y")
    memory = [(1, Adapter(), before), (2, exact, without(change(world.draw(ROWS, seed + 21)), "y"))]
    model = trial.model.with_adapter(exact) if back else trial.model
    return Trial(**{**vars(trial), "model": model, "memory": memory})


def _named(name: str, about: str, build: Callable[[int], Trial], group: str = "synthetic", **facts: float) -> Scenario:
    return Scenario(name, group, about, build, facts=facts)


CONVERSIONS = {
    "°F → °C": (1 / 1.8, -32 / 1.8), "×1000": (1000.0, 0.0), "÷100": (0.01, 0.0), "inches → mm": (25.4, 0.0),
    "sign flipped": (-1.0, 0.0), "days → hours": (24.0, 0.0),
}  # fmt: skip
"""What happens to the column in the scenarios of listed conversions: (scale, offset)."""

SCENARIOS: tuple[Scenario, ...] = (
    _named("clean", "a window like those before it", clean),
    _named("clean, 400 rows", "the same with few rows", partial(clean, rows=400)),
    _named("benign", "noise columns move", benign),
    _named("poison", "20 % gross rows in the window", poison),
    _named("poisoned offset", "20 % gross rows on top of a declared offset", poisoned_offset),
    _named("label flip", "labels turn over where p(x) stays", label_flip),
    _named("offset", "the most telling column + 2 sd, declared", offset),
    _named("offset, undeclared", "the same, with nobody's word for it", partial(offset, declare=False)),
    _named("scale", "the most telling column × 1.7, declared", scale),
    *(
        _named(f"conversion {name}", "a listed conversion, undeclared", partial(unit, scale=s, shift=c))
        for name, (s, c) in CONVERSIONS.items()
    ),
    _named("monotone", "a declared column is bent", monotone),
    _named("clipped", "a sensor saturates", clipped),
    _named("half and half", "the change came in mid-window", half_and_half),
    _named("gradual", "a declared sensor walks away within the window", gradual),
    _named("prior down", "positives 15 → 5 %", partial(prior, share=0.05)),
    _named("prior up", "positives 15 → 40 %", partial(prior, share=0.40)),
    _named("combined", "declared offset, positives 15 → 35 %", combined),
    _named("evasion", "positives move towards negatives", evasion),
    _named("population", "a tilt: other rows of the same world", population),
    _named("new normals", "a new kind of negative", new_normals),
    _named("new pattern, rule", "a new kind of positive, and a rule for it", pattern),
    _named("new pattern, no rule", "the same without the rule", partial(pattern, rule="none")),
    _named(
        "new pattern, wrong rule", "a new kind of negative; a rule calls it positive", partial(pattern, rule="wrong")
    ),
    _named("article, declared", "the published case with stable_class", partial(published, declare=True)),
    _named("article, undeclared", "the published case as it is", partial(published, declare=False)),
    _named("article, with cost", "stable_class and costs 1 : 5", partial(published, declare=True, cost=True)),
    _named("recurring", "a unit seen before comes again", recurring),
    _named("recurring, back", "the old unit returns", partial(recurring, back=True)),
)
