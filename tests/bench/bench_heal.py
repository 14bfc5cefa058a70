"""What a heal costs: 1,000 rows, one thread, diagnosis to gate."""

from __future__ import annotations

import time
from typing import Any

import torch

import selfheal
from tests.prove.rooms import COLUMNS, ROWS, Rooms, celsius


def run() -> list[dict[str, Any]]:
    """A unit change (a search that finds), and an ordinary window (nothing to heal)."""
    torch.set_num_threads(1)
    world = Rooms(0)
    windows = {
        "heal of 1,000 rows: unit change": celsius(world.rows(ROWS)),
        "the same: ordinary window": world.rows(ROWS),
    }
    results = []
    for name, window in windows.items():
        began = time.process_time()
        selfheal.heal(world.model, window[COLUMNS], recent=world.recent)
        spent = time.process_time() - began
        results.append({"name": name, "value": spent, "unit": "CPU s", "goal": ("max", 5.0)})
    return results
