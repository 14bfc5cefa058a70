"""A follower in this process: its overhead over the bare model, logging included, beside MLflow's pyfunc; memory."""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = 20
TURNS = 750
GOAL_US, GOAL_MB = 60.0, 100.0
_KINDS = {"translated": "scaler", "not translated": "union"}
# Private memory, torch with all that loads an exported program first: what the follower adds is what is left.
_MEMORY = """
import gc, json, sys, psutil, torch, torch.export, torch._export.serde.schema
from torch.export import Dim
net = torch.nn.Linear(2, 2)
torch.export.export(net, (torch.zeros(3, 2),), dynamic_shapes=({0: Dim.AUTO},))
def held():
    gc.collect()
    return psutil.Process().memory_full_info().uss / 2**20
before = held()
import pandas as pd
rows = pd.read_parquet(sys.argv[2])
frames = held()
import selfheal
with selfheal.follow(sys.argv[1]) as follower:
    follower.predict_proba(rows)
    print(json.dumps([before, frames, held()]))
"""


def model(name: str, kind: str) -> tuple[Any, pd.DataFrame]:
    """A perceptron on 20 columns, by name and kind of preprocessing, and its reference."""
    import numpy as np
    import torch
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_union
    from sklearn.preprocessing import StandardScaler

    from selfheal import MonitoredModel

    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(500, COLUMNS)), columns=[f"x{i}" for i in range(COLUMNS)])
    scaler = StandardScaler()
    made = {"none": None, "scaler": scaler, "union": make_union(ColumnTransformer([("n", scaler, list(rows))]))}[kind]
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(COLUMNS, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16), torch.nn.ReLU())
    reference = rows.assign(y=(rows["x0"] > 0).astype(int))
    preprocess = made if made is None else made.fit(rows)
    return MonitoredModel(
        body, torch.nn.Linear(16, 1), reference=reference, target="y", preprocess=preprocess, name=name
    ), rows


def micros(*calls: Callable[[], object]) -> list[float]:
    """CPU of the calling thread, µs a call: the calls take turns, and the quickest tenth of each counts.

    What else runs on the machine only adds, and more than what is to be told apart.
    """
    taken: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    for _ in range(TURNS):
        for call, told in zip(calls, taken, strict=True):
            began = time.thread_time()
            call()
            told.append((time.thread_time() - began) * 1e6)
    return [statistics.quantiles(told, n=10)[0] for told in taken]


def memory(name: str, rows: Path) -> list[float]:
    """MB: with torch, with pandas and the rows too, with the follower."""
    done = subprocess.run([sys.executable, "-c", _MEMORY, name, str(rows)], capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def measured(folder: Path) -> list[dict[str, Any]]:
    import mlflow
    import torch

    import selfheal

    torch.set_num_threads(1)
    results = []
    for words, kind in _KINDS.items():
        made, rows = model(f"bench-{kind}", kind)
        selfheal.adopt(f"bench-{kind}", made)
        one = rows.iloc[:1]
        bare = selfheal.load(f"bench-{kind}")
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        plain = mlflow.pyfunc.load_model(f"models:/bench-{kind}/Production")
        gc.collect()
        with selfheal.follow(f"bench-{kind}") as follower:
            ours, alone, theirs = micros(
                lambda f=follower, r=one: f.predict_proba(r),
                lambda m=bare, r=one: m.predict_proba(r),
                lambda p=plain, r=one: p.predict(r),
            )
        line = {"unit": "CPU µs a call", "value": ours}
        results += [
            line | {"name": f"follower, one row, {words}", "peer": "mlflow.pyfunc", "peer_value": theirs},
            {
                "name": f"follower over model.predict_proba, {words}",
                "value": ours - alone,
                "unit": "CPU µs a call",
                "goal": ("max", GOAL_US),
            },
        ]
    rows_file = folder / "rows.parquet"
    made, rows = model("bench-none", "none")
    selfheal.adopt("bench-none", made)
    rows.to_parquet(rows_file)
    for name, words in (("bench-none", "no preprocessing"), ("bench-scaler", "scikit-learn and pandas counted")):
        torch_alone, _, all_of_it = memory(name, rows_file)
        goal = {"goal": ("max", GOAL_MB)} if name == "bench-none" else {}
        results.append(
            {"name": f"follower beside torch, {words}", "value": all_of_it - torch_alone, "unit": "MB"} | goal
        )
    return results


def run() -> list[dict[str, Any]]:
    """One row a call; ours logs each, the others log nothing."""
    from selfheal.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"SELFHEAL_HOME": str(Path(folder) / "home")})
        kept = dict(os.environ)
        os.environ.update(settings.environ())
        try:
            return measured(Path(folder))
        finally:
            os.environ.clear()
            os.environ.update(kept)
