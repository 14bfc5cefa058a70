"""A place whose service shadows every request and watches the open window."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from selfheal.drift.sentinel import HEALTHY, Block, make_plan
from selfheal.rules import Rule
from selfheal.table.shadows import Shadowed
from tests.serving.conftest import Place, adapters, weather

RULES = [("warm", "temp > 70 AND fog", 1)]


def usual(seed: int, n: int = 200) -> pd.DataFrame:
    return weather(4_000).drop(columns="rain").sample(n, random_state=seed, ignore_index=True)


def usual_for(place, version: int) -> None:
    """Tell services what is usual in what a version scores: an hour of the reference's rows, at least 300."""
    blocks = [
        Block(
            {name: units[name].to_numpy(dtype=np.float64) for name in units},
            place.model.predict_proba(units),
            np.column_stack([Rule(*rule[:2], vote=1).fires(units) for rule in RULES]),
        )
        for units in (usual(seed, 1_000) for seed in range(HEALTHY))
    ]
    plan = make_plan(version, 3_600_000_000, 300, blocks, RULES)
    with place.table() as table:
        table.sentinels.set_plan(place.name, plan.to_json())


def watched(place: Place, home: Path) -> None:
    """Two versions in Staging score every request, and the open window is watched."""
    (home / "rules").mkdir(parents=True)
    policy = "release: {shadow: 1.0}\nmonitor: {sentinel: true, window: 1h, min_rows: 300}\n"
    (home / "rules" / f"{place.name}.yaml").write_text(policy)
    usual_for(place, 1)
    staged = adapters(place.model)
    with place.table() as table:
        served = [place.model.with_adapter(staged[name]).adapter for name in ("map", "offset")]
        shadows = [Shadowed(2 + n, place.model.digest, "", a.to_bytes(), a.digest) for n, a in enumerate(served)]
        table.shadows.set(place.name, shadows)
