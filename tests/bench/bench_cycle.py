"""What one window asks of MLflow and of the state database, by what happens in it; and how far it is followed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from selfheal.loop import monitor
from tests.loop.counted import questions
from tests.loop.followed import followed
from tests.loop.given import FAR, MOST, WINDOW
from tests.steering.conftest import adopted
from tests.steering.given import NAME, POLICY, in_celsius, rows, send, workspace_at


def windows() -> Iterator[tuple[str, pd.DataFrame]]:
    """What happens in each, and its rows: °C comes, is healed, and is watched."""
    yield "healthy", rows(WINDOW, 106)
    for seed, what in enumerate(("alarm", "heal", "watch begins", "watch ends")):
        yield what, in_celsius(rows(WINDOW, 206 + seed), "temperature", "dew")


def run() -> list[dict[str, Any]]:
    """Counts, those of questions each with its bound; a heal by a version that waits, and by one that is made."""
    return [*_counts(waits=True), *(c for c in _counts(waits=False) if c["name"] == "new version")]


def _counts(*, waits: bool) -> list[dict[str, Any]]:
    out = []
    with tempfile.TemporaryDirectory() as place, questions() as asked:
        ws = workspace_at(adopted(Path(place) / "home", heals=waits))
        (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
        for k in range(6):
            send(ws, rows(WINDOW, 100 + k), k * WINDOW)
        monitor(ws, NAME, FAR)
        for k, (what, frame) in enumerate(windows(), start=6):
            send(ws, frame, k * WINDOW)
            asked.clear()
            with followed() as way:
                monitor(ws, NAME, FAR)
            what = "new version" if what == "heal" and not waits else what
            counts = {"calls of MLflow": asked.mlflow.total(), "statements": asked.statements["selfheal.db"]}
            for (unit, n), most in zip(counts.items(), MOST[what], strict=True):
                out.append({"name": what, "value": n, "unit": unit, "goal": ("max", most)})
            stops = {"stops": len(way.stops), "turns back": way.turns_back}
            out += [{"name": what, "value": n, "unit": unit} for unit, n in stops.items()]
        ws.table.close()
    return out
