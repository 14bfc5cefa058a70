"""A small model, rows for it, and what tests of the loop do with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from torch import nn

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.model import MonitoredModel
from selfheal.settings import Settings
from selfheal.steering.models import serving_model
from selfheal.steering.workspace import Workspace, open_workspace

NAME = "toy"
START = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = """
model: toy
target: y
rules:
  - {name: warm, when: temperature > 70, vote: 1}
monitor: {window: 200 rows, min_rows: 100, lateness: 0s}
heal: {patience: [2, 3], cooldown: 1m, max_changed: 0.9}
release: {watch_windows: 2, bake_windows: 1}
"""


def rows(n: int, seed: int) -> pd.DataFrame:
    """Features and label: warm and humid is 1; temperature in °F, the columns correlated."""
    rng = np.random.default_rng(seed)
    temperature = rng.normal(60, 15, n)
    dew = temperature - rng.gamma(2, 5, n)
    wind = rng.gamma(3, 3, n)
    y = ((temperature - 60) / 15 + (dew - 50) / 15 + rng.normal(0, 0.3, n) > 0).astype(int)
    return pd.DataFrame({"temperature": temperature, "dew": dew, "wind": wind, "y": y})


def toy() -> MonitoredModel:
    """A classifier whose weights are written down: no training, the same everywhere."""
    body, head = nn.Sequential(nn.Linear(3, 2), nn.ReLU()), nn.Linear(2, 1)
    with torch.no_grad():
        weight = torch.tensor([[1 / 15, 1 / 15, 0.0], [-1 / 15, -1 / 15, 0.0]])
        body[0].weight.copy_(weight)
        body[0].bias.copy_(torch.tensor([-(60 + 50) / 15, (60 + 50) / 15]))
        head.weight.copy_(torch.tensor([[4.0, -4.0]]))
        head.bias.zero_()
    return MonitoredModel(body, head, rows(2400, 0), policy=yaml.safe_load(POLICY), name=NAME)


def celsius(*columns: str) -> Adapter:
    """The map °C → °F on some columns."""
    return Adapter(InputMap({c: ColumnMap(1.8, 32.0, "°C → °F") for c in columns}))


#: Versions 2 to 4 of the template; version 1 is the identity.
HEALS = (celsius("temperature", "dew"), celsius("temperature"), celsius("dew"))


@dataclass
class Point:
    """A place to stop at: raises (or calls ``then``) at the n-th act."""

    at: int = -1
    seen: list[str] = field(default_factory=list)
    then: Callable[[], None] | None = None

    def __call__(self, step: str) -> None:
        self.seen.append(step)
        if len(self.seen) - 1 == self.at:
            if self.then:
                self.then()
            else:
                raise CrashError(step)


class CrashError(Exception):
    """Stands for a process that died."""


@cache
def files_read_once() -> None:
    """MLflow reads the files of all its migrations whenever it opens a store, in half of the time that it takes.

    And those of eight packages for their versions, whenever it stores a model: 50 ms of 100.
    """
    from mlflow.store.db import utils
    from mlflow.utils import requirements_utils

    utils._get_latest_schema_revision = cache(utils._get_latest_schema_revision)
    requirements_utils._get_installed_version = cache(requirements_utils._get_installed_version)


def workspace_at(home: Path) -> Workspace:
    files_read_once()
    settings = Settings.from_env({"SELFHEAL_HOME": str(home), "SELFHEAL_RULES": str(home / "rules")})
    settings.rules.mkdir(parents=True, exist_ok=True)
    return open_workspace(settings)


def stages(ws: Workspace) -> dict[int, str]:
    return {v.version: v.stage for v in ws.registry.versions(NAME)}


def kinds(ws: Workspace) -> list[str]:
    return [e.kind for e in ws.table.journal(NAME)]


def crashing(ws: Workspace, at: int) -> tuple[Workspace, Point]:
    point = Point(at)
    return replace(ws, checkpoint=point), point


def send(ws: Workspace, frame: pd.DataFrame, first: int, *, every: timedelta = timedelta(seconds=1)) -> list[str]:
    """Log rows as if the serving version had answered them; ids are ``r<number>``."""
    model, version = serving_model(ws, NAME)
    features = frame[list(model.features)].reset_index(drop=True)
    ids = [f"r{first + i}" for i in range(len(frame))]
    ws.table.append(
        NAME,
        frame=features,
        probabilities=model.predict_proba(features),
        prediction_ids=ids,
        event_times=[START + every * (first + i) for i in range(len(frame))],
        version=version,
        latency_ms=1.0,
    )
    return ids


def in_celsius(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return frame.assign(**{c: (frame[c] - 32) / 1.8 for c in columns})
