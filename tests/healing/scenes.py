"""Small windows to which one known thing has happened, with all that a mechanism may need: the laws are asked there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from selfheal import Adapter, MonitoredModel
from selfheal.adapter import ColumnMap, InputMap
from selfheal.drift.yardstick import Yardstick
from selfheal.healing.case import Case, Memory
from selfheal.healing.labels.rows import Earlier
from tests.healing.worlds import World, article, linear

ROWS = 500
HALVED = Adapter(InputMap({"x5": ColumnMap(0.5)}))
"""Of an earlier version: it undoes nothing that happens here."""

STICKS: dict[tuple[torch.nn.Module, int, int], Yardstick] = {}
"""Backbone, reference and rows of a window → the yardstick, in which policy and adapter have no part."""
TURNED: dict[tuple[torch.nn.Module, int], tuple[MonitoredModel, MonitoredModel]] = {}
"""Backbone and reference → a model of them, and the same with its columns the other way round."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A question to the mechanisms; ``healthy``: nothing happened, and labels say so."""

    model: MonitoredModel
    rows: pd.DataFrame
    memory: Memory = ()
    labelled_windows: Earlier = ()
    healthy: bool = False

    def case(self) -> Case:
        """A fresh one: nothing of it has been computed, and its rows are its own. The yardstick is its world's."""
        known = self.model.backbone, id(self.model.reference), len(self.rows)
        if known not in STICKS:
            STICKS[known] = Yardstick(self.model, None, len(self.rows))
        return Case(self.model, self.rows.copy(), STICKS[known], self.memory, labelled_windows=self.labelled_windows)

    def reordered(self) -> Scene:
        """The same with every frame's columns, and the model's, the other way round."""
        names = list(self.model.features)[::-1]
        known = self.model.backbone, id(self.model.reference)
        if known not in TURNED:
            TURNED[known] = self.model, reordered(self.model, names)
        adapter = replace(self.model.adapter, base_digest="")
        turned = TURNED[known][1].with_policy(self.model.policy).with_adapter(adapter)
        memory = [(v, adapter, None if kept is None else kept[names]) for v, adapter, kept in self.memory]
        labelled = [(rows[names], labels) for rows, labels in self.labelled_windows]
        return Scene(turned, self.rows[names], memory, labelled, self.healthy)

    def with_policy(self, **sections: Any) -> Scene:
        """Under a policy that has these sections otherwise."""
        policy = {**self.model.policy.model_dump(exclude_defaults=True), **sections}
        return replace(self, model=self.model.with_policy(policy))


def reordered(model: MonitoredModel, names: Sequence[str]) -> MonitoredModel:
    """The same model (a scaler and linear layers) of a table whose columns come in another order."""
    order = [model.features.index(name) for name in names]
    scaler, body = copy.deepcopy(model.preprocess), copy.deepcopy(model.backbone)
    for name in ("mean_", "scale_", "var_", "feature_names_in_"):
        setattr(scaler, name, getattr(scaler, name)[order])
    with torch.no_grad():
        body[0].weight.copy_(body[0].weight[:, order])
    reference = model.reference[list(names)].assign(**{model.target: model.reference_labels})
    return MonitoredModel(body, model.head, reference, model.target, scaler, model.policy)


def furnished(world: World, window: pd.DataFrame, **policy: Any) -> Scene:
    """The scene of a window that has all there is: a new rule, declarations, an earlier version, labels."""
    names = [c for c in window.columns if c != "y"]
    first, second = names[-3:-1]
    usual = world.model.reference
    rule = " AND ".join(f"{c} > {usual[c].mean() + 3 * usual[c].std():.3f}" for c in (first, second))
    model = world.with_policy(**{
        "rules": [{"name": "new_pattern", "when": rule, "vote": 1, "knowledge": "new"}],
        "declare": {"measurement": [names[0]], "stable_class": 1},
        **policy,
    })  # fmt: skip
    windows = [world.draw(200, 50), world.draw(200, 51), window]
    labelled = [(rows[names], rows["y"].astype(float)) for rows in windows]
    adapter = replace(HALVED, input_map=InputMap({names[5]: ColumnMap(0.5)}))
    return Scene(model, window[names], [(1, adapter, None)], labelled)


def clean(seed: int = 100) -> Scene:
    """Nothing happened."""
    return replace(furnished(linear(20), linear(20).draw(ROWS, seed)), healthy=True)


def changed(change: Callable[[pd.DataFrame], pd.DataFrame], seed: int = 100, prior: float = 0.15) -> Scene:
    """A window of the linear world, changed."""
    return furnished(linear(20), change(linear(20).draw(ROWS, seed, prior)))


def moved(rows: pd.DataFrame) -> pd.DataFrame:
    """The first column by two of its standard deviations."""
    return rows.assign(x0=rows["x0"] + 2 * linear(20).model.reference["x0"].std())


def pattern(rows: pd.DataFrame) -> pd.DataFrame:
    """One row in ten becomes positive where x7 and x8 are both high."""
    hit = np.random.default_rng(7).random(len(rows)) < 0.10
    new = rows.copy()
    new.loc[hit, ["x7", "x8"]] = new[["x7", "x8"]].mean().to_numpy() + 4 * new[["x7", "x8"]].std().to_numpy()
    new.loc[hit, "y"] = 1
    return new


def two_senders(rows: pd.DataFrame) -> pd.DataFrame:
    """x1 in another unit where x9 is high."""
    return rows.assign(x1=rows["x1"].where(rows["x9"] <= rows["x9"].median(), rows["x1"] * 1000))


def misplaced(rows: pd.DataFrame) -> pd.DataFrame:
    """A fifth of the rows have two columns of other ranges in each other's place."""
    hit = rows["x4"] > rows["x4"].quantile(0.8)
    return rows.assign(x6=rows["x6"].where(~hit, rows["x9"]), x9=rows["x9"].where(~hit, rows["x6"]))


def back() -> Scene:
    """What a map served for is over, and the version before it fits again."""
    scene = clean()
    served = scene.model.with_adapter(Adapter(InputMap({"x1": ColumnMap(1.8, 32.0)})))
    return replace(scene, model=served, memory=[(1, Adapter(), None)], healthy=False)


def normals_moved() -> Scene:
    """The published drift: one class moves onto the other, which looks as it did."""
    return furnished(article(0), article(0).draw(ROWS, 100, True))


def labels_turned() -> Scene:
    """Inputs as ever, and every label the other one."""
    scene = clean()
    turned = [(rows, 1.0 - labels) for rows, labels in scene.labelled_windows]
    return replace(scene, labelled_windows=turned, healthy=False)


def half_turned() -> Scene:
    """Inputs as ever, and every label of rows up to the middle of x0 the other one."""
    scene = clean()
    middle = scene.rows["x0"].median()
    turned = [(rows, labels.where(rows["x0"] > middle, 1.0 - labels)) for rows, labels in scene.labelled_windows]
    return replace(scene, labelled_windows=turned, healthy=False)


def coded(rows: pd.DataFrame) -> pd.DataFrame:
    """x9 as seven codes."""
    usual = linear(20).model.reference["x9"]
    return rows.assign(x9=((rows["x9"] - usual.mean()) / usual.std() * 1.5).round().clip(-3, 3))


def of_codes(rows: pd.DataFrame) -> Scene:
    """Rows of a world whose x9 holds codes."""
    world = linear(20)
    model, reference = world.model, coded(world.model.reference)
    reference = reference.assign(**{world.model.target: world.model.reference_labels})
    told = MonitoredModel(model.backbone, model.head, reference, model.target, model.preprocess, model.policy)
    return furnished(World(told, lambda *a: coded(world.draw(*a))), rows)


def newcomers() -> Scene:
    """A quarter of the rows come with a code that nobody had seen."""
    rows = coded(linear(20).draw(ROWS, 100))
    rows.loc[np.random.default_rng(3).random(ROWS) < 0.25, "x9"] = 9.0
    return of_codes(rows)


def segment() -> Scene:
    """All rows with one code send x1 in another unit."""
    rows = coded(linear(20).draw(ROWS, 100))
    return of_codes(rows.assign(x1=rows["x1"].where(rows["x9"] != 1, rows["x1"] * 1000)))


BUILT: dict[str, Callable[[], Scene]] = {
    "clean": clean,
    "clean again": lambda: clean(101),
    "offset": lambda: changed(moved),
    "unit": lambda: changed(lambda f: f.assign(x1=(f["x1"] - 32) / 1.8)),
    "prior": lambda: changed(lambda f: f, prior=0.4),
    "offset and prior": lambda: changed(moved, prior=0.4),
    "inches": lambda: changed(lambda f: f.assign(x1=f["x1"] * 25.4)),
    "misplaced": lambda: changed(misplaced),
    "swapped": lambda: changed(lambda f: f.assign(x2=f["x6"], x6=f["x2"])),
    "two senders": lambda: changed(two_senders),
    "piled": lambda: changed(lambda f: f.assign(x3=f["x3"].where(f["x6"] > f["x6"].quantile(0.2), 1.5))),
    "newcomers": newcomers,
    "segment": segment,
    "cut off": lambda: changed(lambda f: f.assign(x3=f["x3"].clip(upper=f["x3"].quantile(0.8)))),
    "new pattern": lambda: changed(pattern),
    "back": back,
    "normals moved": normals_moved,
    "labels turned": labels_turned,
    "half turned": half_turned,
}
"""What happened → what builds the scene of it."""


@cache
def scene(name: str) -> Scene:
    """The scene of what happened."""
    return BUILT[name]()
