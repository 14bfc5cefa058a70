"""Kill -9 at every call that changes a store, in all of steering; ``tests/steering/test_crash.py`` has a sample."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from selfheal.loop.forks import ForkServer
from tests.prove.ledger import Ledger
from tests.steering.conftest import adopted
from tests.steering.killed import IMPORTS, SCENES, Deaths

POINTS = 200


def shown(scene: str, others: ForkServer, folder: Path) -> dict[str, Any]:
    """The scene, killed at each of its calls: how often what was begun was then done, and how often undone."""
    began, place = time.monotonic(), folder / scene
    place.mkdir()
    deaths = Deaths(scene, others, adopted(folder / "adopted"), place)
    ends = Counter(deaths.at(call) for call in range(deaths.calls))
    return {"calls": deaths.calls, "done": ends["done"], "undone": ends["undone"], "s": time.monotonic() - began}


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_a_process_killed_at_any_call_leaves_nothing_half_done(tmp_path: Path) -> None:
    others, ledger = ForkServer(IMPORTS), Ledger("deaths")
    try:
        found = {scene: ledger.run(scene, lambda scene=scene: shown(scene, others, tmp_path)) for scene in SCENES}
    finally:
        others.close()
    points = sum(case["calls"] for case in found.values())
    print(f"killed at {points} points: {found}")
    assert points >= POINTS
    assert all(case["done"] + case["undone"] == case["calls"] for case in found.values())
