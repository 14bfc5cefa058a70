"""Worlds with known truth, small and seeded: a linear one, the published fraud case, and years of weather."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

import selfheal
from selfheal import MonitoredModel

WEATHER = Path(selfheal.__file__).parent / "demo" / "data" / "weather_nebraska.parquet"
OF_THE_RUN = "selfheal-tests-"
"""Begins the name of a temporary folder that goes with the run, see ``tests/conftest.py``."""
TEMPERATURES = ["temperature", "dew_point", "maximum_temperature", "minimum_temperature"]


def trained(
    train: pd.DataFrame, reference: pd.DataFrame, target: str, seed: int, epochs: int = 12, width: int = 32
) -> MonitoredModel:
    """An MLP of two hidden layers on standardised columns; a narrow one is taught in a third of the time."""
    columns = [c for c in train.columns if c != target]
    scaler = StandardScaler().fit(train[columns])
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(len(columns), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    head = nn.Linear(width, 2)
    x = torch.tensor(scaler.transform(train[columns]), dtype=torch.float32)
    y = torch.tensor(train[target].to_numpy())
    teach(nn.Sequential(body, head), x, y, epochs)
    return MonitoredModel(body, head, reference, target=target, preprocess=scaler)


def teach(net: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int) -> None:
    """Train it in place, or read what another process of this run has made of the same start and rows."""
    start = [np.ascontiguousarray(part.detach()) for part in (*net.parameters(), x, y)]
    known = Path(tempfile.gettempdir()) / f"taught-{sha256(b''.join([*start, b'%d' % epochs])).hexdigest()}"
    if known.exists():
        net.load_state_dict(torch.load(known, weights_only=True))
        return
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(256):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    if known.parent.name.startswith(OF_THE_RUN):
        made = known.with_suffix(f".{os.getpid()}")
        torch.save(net.state_dict(), made)
        made.rename(known)


@dataclass(frozen=True)
class World:
    """A model and the source of its rows: ``draw(n, seed, prior)`` gives features and ``y``."""

    model: MonitoredModel
    draw: Callable[..., pd.DataFrame]

    def with_policy(self, **policy: Any) -> MonitoredModel:
        """The model under a policy that lets any share of predictions change."""
        return self.model.with_policy({"heal": {"max_changed": 1.0}, **policy})


@cache
def linear(seed: int) -> World:
    """Ten correlated columns of odd scales, five informative, 15 % positive."""
    rng = np.random.default_rng(seed)
    mixing = np.eye(10) + 0.35 * rng.normal(size=(10, 10))
    shift = np.r_[rng.normal(size=5), np.zeros(5)]
    shift *= 3.0 / np.linalg.norm(np.linalg.solve(mixing, shift))
    offset, scale = rng.normal(0, 3, 10), np.exp(rng.normal(size=10))

    def draw(n: int, seed: int, prior: float = 0.15) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        y = (rng.random(n) < prior).astype(int)
        x = (rng.normal(size=(n, 10)) @ mixing.T + shift * y[:, None]) * scale + offset
        return pd.DataFrame(x, columns=[f"x{i}" for i in range(10)]).assign(y=y)

    return World(trained(draw(6000, seed + 1), draw(4000, seed + 2), "y", seed), draw)


@cache
def article(seed: int) -> World:
    """The published case: only v14 informs, normals N(0, 1), fraud N(-2.5, 0.8); drifted normals N(-2.2, 1)."""

    def draw(n: int, seed: int, drifted: bool = False) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        y = (rng.random(n) < 0.15).astype(int)
        rows = pd.DataFrame(rng.normal(size=(n, 9)), columns=[f"v{i}" for i in range(5, 14)])
        normal = rng.normal(-2.2 if drifted else 0.0, 1.0, n)
        return rows.assign(v14=np.where(y == 1, rng.normal(-2.5, 0.8, n), normal), y=y)

    return World(trained(draw(6000, seed + 1), draw(4000, seed + 2), "y", seed), draw)


@cache
def weather() -> tuple[MonitoredModel, pd.DataFrame]:
    """Rain from eight columns, trained on the first quarter; all days in time order with ``target``."""
    days = pd.read_parquet(WEATHER).drop(columns="time")
    held = np.arange(4540) // 365 % 4 == 3
    first = days.iloc[:4540]
    return trained(first[~held], first[held], "target", 0, epochs=25, width=64), days


def celsius(frame: pd.DataFrame, columns: list[str] = TEMPERATURES) -> pd.DataFrame:
    """°F → °C, as a station that was switched would send it."""
    return frame.assign(**{c: (frame[c] - 32) / 1.8 for c in columns})


def now(*cases: object, more: Iterable[object]) -> list[object]:
    """Cases of one kind: these now, and ``more`` of it in `make prove`."""
    return [*cases, *(pytest.param(case, marks=pytest.mark.prove) for case in more)]
