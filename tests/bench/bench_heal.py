"""What a heal costs on one thread, diagnosis to gate, and how that grows with rows and columns.

Bounded by: the search works on 5,000 rows at most, drawn from a larger window (only cleaning reads them all); the
classifier leaves products of columns out beyond 24; of the orders of columns, whose number grows with the square of
the columns, 783 · 24 / columns are tried. The import of the parts is not counted.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

import selfheal
from selfheal import MonitoredModel
from tests.prove.rooms import COLUMNS, ROWS, Rooms, celsius

GROWTH = {(1_000, 10): 5.0, (10_000, 10): 5.0, (100_000, 10): 5.0, (1_000, 50): 5.0, (1_000, 200): 10.0,
          (100_000, 200): 15.0}  # fmt: skip
"""Rows and columns of a window → CPU seconds that its heal may take."""

COMBINED = 10.0


class Gaussian:
    """Correlated columns of odd scales, five informative; the model is the best classifier, in closed form."""

    def __init__(self, width: int) -> None:
        rng = np.random.default_rng(0)
        self.names = [f"x{j}" for j in range(width)]
        self.mixing = np.eye(width) + rng.normal(size=(width, width)) / np.sqrt(8 * width)
        shift = np.r_[rng.normal(size=5), np.zeros(width - 5)]
        self.shift = shift * 3.0 / np.linalg.norm(np.linalg.solve(self.mixing, shift))
        self.offset, self.scale = rng.normal(0, 3, width), np.exp(rng.normal(size=width))
        weights = np.linalg.solve(self.mixing @ self.mixing.T, self.shift) / self.scale
        head = nn.Linear(width, 1)
        with torch.no_grad():
            head.weight.copy_(torch.tensor(weights[None]))
            head.bias.fill_(float(np.log(0.15 / 0.85) - weights @ (self.offset + self.scale * self.shift / 2)))
        policy = {"declare": {"measurement": ["x1"]}, "heal": {"max_changed": 1.0}}
        self.model = MonitoredModel(nn.Identity(), head, self.rows(4000, 1), target="y", policy=policy)
        self.recent = [self.rows(2000, 2 + k)[self.names] for k in range(6)]

    def rows(self, n: int, seed: int, positive: float = 0.15) -> pd.DataFrame:
        """Rows [n] of the features and ``y``."""
        rng = np.random.default_rng(seed)
        y = (rng.random(n) < positive).astype(int)
        x = (rng.normal(size=(n, len(self.names))) @ self.mixing.T + self.shift * y[:, None]) * self.scale
        return pd.DataFrame(x + self.offset, columns=self.names).assign(y=y)


def spent(
    name: str, goal: float, model: MonitoredModel, window: pd.DataFrame, recent: Any, what: str
) -> dict[str, Any]:
    """CPU seconds of one heal, which must come to the diagnosis ``what``."""
    began = time.process_time()
    outcome = selfheal.heal(model, window, recent=recent)
    value = time.process_time() - began
    assert outcome.diagnosis == what, (name, outcome.reasons)
    return {"name": name, "value": value, "unit": "CPU s", "goal": ("max", goal)}


def run() -> list[dict[str, Any]]:
    """A unit change (a search that finds) and an ordinary window; a combined change; unit changes of growing size."""
    torch.set_num_threads(1)
    rooms = Rooms(0)
    selfheal.heal(rooms.model, rooms.rows(ROWS)[COLUMNS])
    found = [
        spent("heal of 1,000 rows: unit change", 5.0, rooms.model, celsius(rooms.rows(ROWS))[COLUMNS], rooms.recent,
              "sensor"),
        spent("the same: ordinary window", 5.0, rooms.model, rooms.rows(ROWS)[COLUMNS], rooms.recent, "stable"),
    ]  # fmt: skip
    world = Gaussian(10)
    window = world.rows(1000, 9, positive=0.4)[world.names]
    window["x1"] += 2 * window["x1"].std()
    name = "heal of 1,000 rows × 10: offset and prior at once"
    found.append(spent(name, COMBINED, world.model, window, world.recent, "sensor"))
    for (rows, width), goal in GROWTH.items():
        world = Gaussian(width)
        window = world.rows(rows, 9)[world.names]
        window["x0"] = (window["x0"] - 32) / 1.8
        name = f"heal of {rows:,} rows × {width}: unit change"
        found.append(spent(name, goal, world.model, window, world.recent, "sensor"))
    return found
