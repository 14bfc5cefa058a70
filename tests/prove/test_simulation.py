"""Steering over millions of simulated steps; ``tests/steering/test_simulation.py`` runs a sample."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.prove.ledger import Ledger
from tests.steering.simulated.episodes import Told, sweep, walk

STEPS = 5_000_000
SEEDS = 200
"""Of a case of the ledger."""


def shown(seed: int) -> dict[str, Any]:
    """``SEEDS`` worlds in which calls meet faults at random, and one with a fault at every fourth call in turn."""
    began, told = time.process_time(), Told()
    for each in range(seed, seed + SEEDS):
        told += walk(each)
    told += sweep(seed, every=4)
    return {**vars(told), "cpu": time.process_time() - began}


def cases(ledger: Ledger) -> Iterator[dict[str, Any]]:
    """One after another, until they have enough steps; a law that breaks says by which seed, and at which step."""
    steps = seed = 0
    while steps < STEPS:
        case = ledger.run(f"seeds {seed} to {seed + SEEDS - 1}", lambda seed=seed: shown(seed))
        steps, seed = steps + case["steps"], seed + SEEDS
        yield case


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_millions_of_steps_keep_the_laws() -> None:
    found = list(cases(Ledger("simulation")))
    sums = {key: sum(case[key] for case in found) for key in ("steps", "changes", "leased", "rounds", "deaths", "cpu")}
    minute = sums["steps"] / sums["cpu"] * 60
    print(f"{sums}: {minute:,.0f} steps a minute of CPU")
    assert sums["steps"] >= STEPS and sums["changes"] + sums["leased"] >= 0.2 * sums["steps"]


def test_a_case_is_remembered(tmp_path: Path) -> None:
    ledger = Ledger("simulation", tmp_path)
    first = ledger.run("seed 3", lambda: vars(walk(3)))
    assert Ledger("simulation", tmp_path).run("seed 3", dict) == first and first["steps"] > 50
