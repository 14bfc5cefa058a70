"""Ten thousand windows in which nothing happens, of worlds and of real streams: false alarms, questions, promotions."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

import selfheal
from selfheal.board import course, mixed, streams, triggers, worlds
from selfheal.model import MonitoredModel
from tests.prove.ledger import Ledger
from tests.prove.test_board import DATA

WINDOWS, WARM, EACH = 40, triggers.WARM, 5
"""Windows of a stream; healthy ones before them; of how many one is healed."""

WORLDS, STRETCHES = range(5000, 5090), 40
"""Seeds of the worlds, two streams each; stretches of every real stream, begun at a row by chance."""

Stream = Callable[[], tuple[MonitoredModel, list[pd.DataFrame]]]


def linear(seed: int) -> tuple[MonitoredModel, list[pd.DataFrame]]:
    world = worlds.linear(seed)
    return world.model.with_policy({}), [
        world.draw(triggers.ROWS, seed * 1000 + i).drop(columns="y") for i in range(WARM + WINDOWS)
    ]


def clusters(seed: int) -> tuple[MonitoredModel, list[pd.DataFrame]]:
    world, n = mixed.mixed(seed), triggers.ROWS
    rows = world.draw(slice(0, None), n * (WARM + WINDOWS), [seed]).drop(columns="y")
    return world.model.with_policy({}), [rows.iloc[i : i + n] for i in range(0, len(rows), n)]


def natural(path: Path, of: streams.Set, number: int) -> tuple[MonitoredModel, list[pd.DataFrame]]:
    """A stretch of a real stream in consecutive windows, from a row by chance: it drifts as the world does."""
    held, n = streams.stream(path, of.begin, 0), of.watched or of.windows[0]
    rows = held.rows[list(held.model.features)].iloc[held.start :]
    count = min(WARM + WINDOWS, len(rows) // n)
    begin = int(np.random.default_rng([96, number]).integers(len(rows) - count * n + 1))
    return held.model.with_policy({}), [rows.iloc[begin + i * n : begin + (i + 1) * n] for i in range(count)]


def watched(drawn: Stream, seed: int) -> dict[str, Any]:
    """Alarms and what patience confirms; and of each fifth window what a heal answers."""
    with threadpool_limits(1):
        model, windows = drawn()
        seen = triggers.watch(model, windows)
        answers = [
            selfheal.heal(model, windows[i], recent=pd.concat(windows[i - WARM : i]), seed=seed)
            for i in range(WARM, len(windows), EACH)
        ]
    return {
        "windows": len(seen.alarms), "alarms": sum(seen.alarms), "confirmed": sum(seen.confirmed),
        "healed": len(answers), "asked": sum(bool(a.asks) for a in answers),
        "acted": [a.reasons[0] for a in answers if a.decision in ("promote", "recall")],
    }  # fmt: skip


def real() -> dict[str, Stream]:
    folders = [course.SHIPPED, *([Path(os.environ[DATA])] if DATA in os.environ else [])]
    there = {of.name: (of, path) for folder in folders for of in streams.SETS if (path := folder / of.file).is_file()}
    return {
        f"{of.name} {number}": partial(natural, path, of, number)
        for of, path in there.values()
        for number in range(STRETCHES)
    }


def test_a_sample_of_null_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.prove.test_null.WINDOWS", 2)
    found = watched(partial(linear, 5000), 5000)
    assert (found["windows"], found["healed"], found["asked"], found["acted"]) == (2, 1, 0, [])


@pytest.mark.prove
def test_ten_thousand_null_windows(capsys: pytest.CaptureFixture[str]) -> None:
    """Half an hour on one core; SELFHEAL_PROVE_DATA names the folder of real streams beside the shipped one."""
    drawn: dict[str, Stream] = {f"linear {seed}": partial(linear, seed) for seed in WORLDS}
    drawn |= {f"clusters {seed}": partial(clusters, seed) for seed in WORLDS} | real()
    ledger, by_kind = Ledger("null"), defaultdict(list)
    for seed, (name, stream) in enumerate(drawn.items()):
        by_kind[name.rsplit(" ", 1)[0]].append(ledger.run(name, lambda s=stream, k=seed: watched(s, k)))
    with capsys.disabled():
        print()
        for kind, rows in by_kind.items():
            total = {k: sum(r[k] for r in rows) for k in ("windows", "alarms", "confirmed", "healed", "asked")}
            print(kind, total, "promoted", sum(len(r["acted"]) for r in rows))
    every = [row for rows in by_kind.values() for row in rows]
    assert sum(row["windows"] for row in every) >= 7000
    assert not [row["acted"] for row in every if row["acted"]]
    assert sum(row["asked"] for row in every) <= sum(row["healed"] for row in every) / 200
