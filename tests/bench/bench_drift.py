"""What looking at a window of a million rows costs, beside Evidently's own preset on all of its rows."""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
import pandas as pd
import torch

from selfheal import MonitoredModel
from selfheal.drift.guards import guards
from selfheal.drift.report import report
from selfheal.drift.signals import signals

ROWS, COLUMNS = 1_000_000, 20
PEER_ROWS = 50_000
"""Its time grows at least in proportion to the rows, so that of a part of them, scaled, is a lower bound."""


def frame(rng: np.random.Generator, rows: int) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(rows, COLUMNS)), columns=[f"x{i}" for i in range(COLUMNS)])


def ours(model: MonitoredModel, window: pd.DataFrame, recent: list[pd.DataFrame]) -> float:
    """CPU seconds for guards, both signals on all rows, and the report on its sample."""
    began = time.process_time()
    assert not guards(window, model, recent)
    found = signals(model, window, recent)
    report(model.reference, window, found, dtypes=model.dtypes)
    return time.process_time() - began


def evidently_alone(reference: pd.DataFrame, window: pd.DataFrame) -> float:
    """CPU seconds of the preset with its default methods."""
    from evidently import Report
    from evidently.presets import DataDriftPreset

    began = time.process_time()
    Report([DataDriftPreset()]).run(window, reference)
    return time.process_time() - began


def run() -> list[dict[str, Any]]:
    """CPU seconds and memory."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    reference = frame(rng, 5000).assign(y=rng.integers(0, 2, 5000))
    backbone = torch.nn.Sequential(torch.nn.Linear(COLUMNS, 16), torch.nn.ReLU())
    model = MonitoredModel(backbone, torch.nn.Linear(16, 1), reference, target="y")
    recent = [frame(rng, 2000) for _ in range(6)]
    ours(model, frame(rng, 2000), recent)  # imports are not what is measured
    window = frame(rng, ROWS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spent = ours(model, window, recent)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    peer = evidently_alone(frame(rng, PEER_ROWS), window[:PEER_ROWS]) * ROWS / PEER_ROWS
    return [
        {
            "name": f"monitor a window of {ROWS:,} × {COLUMNS}",
            "value": spent,
            "unit": "CPU s",
            "peer": "Evidently's preset on all rows",
            "peer_value": peer,
            "goal": ("max", 10 / peer),
        },
        {"name": "memory it adds", "value": grown, "unit": "GiB", "goal": ("max", 1.0)},
    ]
