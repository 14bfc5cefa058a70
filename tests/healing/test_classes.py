"""A class that the head knows and the reference has no row of: nothing is said of its share, and nothing breaks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.preprocessing import StandardScaler
from torch import nn

import selfheal
from selfheal import MonitoredModel

CENTRES = np.array([[0, 0, 0], [2, 1, 0], [-2, 2, 1]])
COLUMNS = ["a", "b", "c"]


def rows(n: int, shares: tuple[float, ...], seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    y = rng.choice(3, n, p=shares)
    return pd.DataFrame(CENTRES[y] + rng.normal(scale=0.7, size=(n, 3)), columns=COLUMNS).assign(y=y)


@pytest.fixture(scope="module")
def model() -> MonitoredModel:
    train = rows(3000, (1 / 3, 1 / 3, 1 / 3), 1)
    scaler = StandardScaler().fit(train[COLUMNS])
    x, y = torch.tensor(scaler.transform(train[COLUMNS]), dtype=torch.float32), torch.tensor(train["y"].to_numpy())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 3))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    policy = {"declare": {"measurement": ["a"], "stable_class": 2}}
    return MonitoredModel(
        module=net, head=-1, reference=rows(2400, (0.5, 0.5, 0.0), 2), target="y", preprocess=scaler,
        classes=[0, 1, 2], policy=policy,
    )  # fmt: skip


def test_a_unit_is_healed_as_ever(model: MonitoredModel) -> None:
    window = rows(1000, (0.5, 0.5, 0.0), 3).assign(a=lambda f: f["a"] * 1.8 + 32)
    outcome = selfheal.heal(model, window[COLUMNS])
    assert (outcome.decision, outcome.diagnosis) == ("promote", "sensor"), outcome.reasons


@pytest.mark.parametrize("shares", [(0.2, 0.8, 0.0), (0.3, 0.4, 0.3)], ids=["other shares", "the class comes"])
def test_a_share_that_nothing_tells_is_not_healed(model: MonitoredModel, shares: tuple[float, ...]) -> None:
    outcome = selfheal.heal(model, rows(1000, shares, 4)[COLUMNS])
    assert outcome.decision in ("refuse", "keep"), outcome.reasons
    assert not {"prior", "measurement and prior", "stable_class"} & set(outcome.candidates["name"])
