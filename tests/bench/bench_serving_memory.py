"""What a scoring process holds, for the first model and for each further small one, and how soon it answers."""

from __future__ import annotations

import sys
import time
from typing import Any

import pandas as pd

from tests.bench.servers import SERVE, free_port, home, request, running

FIRST_MB, FURTHER_MB, START_S = 150.0, 20.0, 3.0
FURTHER = 4


def answering(rows: pd.DataFrame, *models: str) -> tuple[float, float, float]:
    """Seconds to the first answer, CPU seconds by then, and private memory, MB, after some more answers."""
    port, one = free_port(), request(rows.iloc[:1])
    paths = [b"/invocations"] if len(models) == 1 else [b"/models/%s/invocations" % name.encode() for name in models]
    began = time.perf_counter()
    with running(port, sys.executable, "-c", SERVE, str(port), *models) as server, server.connected(1):
        first, *more = [one.replace(b"/invocations", path, 1) for path in paths]
        server.ask(first)
        wall, cpu = time.perf_counter() - began, server.cpu_seconds()
        for each in 50 * [first, *more]:
            server.ask(each)
        return wall, cpu, server.memory_mb()


def run() -> list[dict[str, Any]]:
    """A perceptron behind a scaler, under several names; of starts the second counts."""
    names = ["bench", *(f"bench{i}" for i in range(FURTHER))]
    with home(*names) as rows:
        answering(rows, "bench")
        wall, cpu, alone = answering(rows, "bench")
        together = answering(rows, *names)[2]
    further = {"name": "each further small model", "value": (together - alone) / FURTHER, "unit": "MB"}
    return [
        {"name": "first model", "value": alone, "unit": "MB", "goal": ("max", FIRST_MB)},
        further | {"goal": ("max", FURTHER_MB)},
        {"name": "start to first answer", "value": wall, "unit": "s", "goal": ("max", START_S)},
        {"name": "start to first answer, CPU", "value": cpu, "unit": "CPU s"},
    ]
