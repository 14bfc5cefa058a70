"""A small world with known truth: a building's sensors and whether its rooms are occupied."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import StandardScaler

import selfheal

COLUMNS = ["temperature", "co2", "humidity", "noise"]
ROWS = 1000


class Rooms:
    """A building's sensors, with the truth: is the room occupied? Everything follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.model = self._model(seed)
        self.recent = pd.concat([self.rows(ROWS) for _ in range(6)], ignore_index=True)[COLUMNS]

    def rows(self, n: int) -> pd.DataFrame:
        """Rows [n] of the four features and ``occupied``."""
        occupied = self.rng.random(n) < 0.4
        return pd.DataFrame(
            {
                "temperature": self.rng.normal(66 + 6 * occupied, 3),
                "co2": self.rng.normal(500 + 200 * occupied, 120),
                "humidity": self.rng.normal(40, 6, n),
                "noise": self.rng.gamma(2 + occupied, 6),
                "occupied": occupied.astype(int),
            }
        )

    def _model(self, seed: int) -> selfheal.MonitoredModel:
        train = self.rows(4000)
        scaler = StandardScaler().fit(train[COLUMNS])
        torch.manual_seed(seed)
        backbone = torch.nn.Sequential(torch.nn.Linear(4, 32), torch.nn.ReLU())
        head = torch.nn.Linear(32, 1)
        x = torch.tensor(scaler.transform(train[COLUMNS]), dtype=torch.float32)
        y = torch.tensor(train["occupied"].to_numpy(), dtype=torch.float32)
        optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=0.01)
        for _ in range(150):
            optimizer.zero_grad()
            torch.nn.functional.binary_cross_entropy_with_logits(head(backbone(x))[:, 0], y).backward()
            optimizer.step()
        # A broken thermometer turns about as many answers as there are occupied rooms.
        policy = {"target": "occupied", "heal": {"max_changed": 0.6}}
        return selfheal.MonitoredModel(backbone, head, self.rows(4000), preprocess=scaler, policy=policy)


def celsius(frame: pd.DataFrame) -> pd.DataFrame:
    """The thermometer is replaced by one that reads °C."""
    return frame.assign(temperature=(frame["temperature"] - 32) / 1.8)
