"""A small model with an embedding among its columns, and rows that have it as lists or number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from selfheal.model import MonitoredModel

WIDTH = 16
FACTORS = np.random.default_rng(5).normal(size=(4, WIDTH))
NAMES = [f"embedding_{k}" for k in range(WIDTH)]


def rows(n: int, seed: int, *, gain: float = 1.0) -> pd.DataFrame:
    """An age, sixteen numbers of four factors as one array a row, a code; the first two factors decide the label."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 4))
    held = (z @ FACTORS + rng.normal(0, 0.1, (n, WIDTH)) + 3) * gain
    y = (z[:, 0] + z[:, 1] + rng.normal(0, 0.2, n) > 0).astype(int)
    lists = pd.Series(list(held.astype(np.float32)), dtype=object)
    return pd.DataFrame({"age": rng.normal(40, 9, n), "embedding": lists, "code": rng.integers(0, 9, n), "y": y})


def apart(frame: pd.DataFrame) -> pd.DataFrame:
    """The same rows with a column for each number, as one would write it."""
    made = pd.DataFrame(np.stack(frame["embedding"]).astype(float), frame.index, NAMES)
    place = list(frame).index("embedding")
    return pd.concat([frame.iloc[:, :place], made, frame.iloc[:, place + 1 :]], axis=1)


def put(frame: pd.DataFrame, row: int, value: Any) -> pd.DataFrame:
    """The rows with another value in place of one list."""
    cells = frame["embedding"].tolist()
    cells[row] = value
    return frame.assign(embedding=pd.Series(cells, frame.index, dtype=object))


def parts() -> dict[str, Any]:
    """Backbone and head with weights that are written down."""
    body, head = nn.Sequential(nn.Linear(WIDTH + 2, 2), nn.ReLU()), nn.Linear(2, 1)
    decides = np.linalg.pinv(FACTORS)[:, :2].sum(axis=1)
    weight = torch.tensor(np.concatenate([[0.0], decides, [0.0]]), dtype=torch.float32)
    with torch.no_grad():
        body[0].weight.copy_(torch.stack([weight, -weight]))
        body[0].bias.copy_(torch.tensor([-1.0, 1.0]) * float(3 * decides.sum()))
        head.weight.copy_(torch.tensor([[4.0, -4.0]]))
        head.bias.zero_()
    return {"backbone": body, "head": head}


def model(reference: pd.DataFrame | None = None, **more: Any) -> MonitoredModel:
    """It, of 1,500 rows unless others are given."""
    given = rows(1500, 1) if reference is None else reference
    return MonitoredModel(**parts(), reference=given, target="y", **more)
