"""Triggers as the field measures them: false alarms a window, windows until the first, windows until a change shows.

A stream of windows is watched as the loop does it: the two signals against the last healthy windows, and patience on
top. What patience confirms and nothing heals is cleared into the yardstick, up to half of it, as the loop does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from selfheal.board.streams import SETS, Set, stream
from selfheal.board.synthetic import mapped
from selfheal.board.trial import without
from selfheal.board.worlds import Linear, linear, under_policy
from selfheal.drift.signals import signals
from selfheal.model import MonitoredModel

WARM = 6
"""Healthy windows before the watch begins."""

ROWS = 500
"""Rows of a synthetic window (the prototypes' too, docs/notes.md)."""

QUIET_WINDOWS, HORIZON, RAMP = 40, 10, 6
"""Windows without a change; windows after one; windows over which a gradual change grows to its full size."""

MOST_NATURAL = 40
"""Windows of a real stream that are watched."""


@dataclass(frozen=True)
class Watched:
    """What was said of each window: an alarm, whether patience confirmed it, and the measure that was largest."""

    alarms: tuple[bool, ...]
    confirmed: tuple[bool, ...]
    measures: tuple[str, ...]


def watch(model: MonitoredModel, windows: Sequence[pd.DataFrame], patience: tuple[int, int] | None = None) -> Watched:
    """Follow raw windows in time order; the first :data:`WARM` are taken as healthy and not judged.

    Parameters
    ----------
    patience
        Alarms needed, of how many windows; by default the policy's.
    """
    need, of = patience or model.policy.heal.patience
    healthy = [model.model_units(w) for w in windows[:WARM]]
    cleared = [False] * len(healthy)
    alarms: list[bool] = []
    confirmed: list[bool] = []
    measures: list[str] = []
    for window in windows[WARM:]:
        said = max(signals(model, window, healthy[-WARM:]), key=lambda s: s.value)
        alarms.append(said.alarm)
        measures.append(said.measure)
        confirmed.append(said.alarm and sum(alarms[-of:]) >= need)
        if not said.alarm or (confirmed[-1] and sum(cleared[-WARM + 1 :]) < WARM // 2):
            healthy.append(model.model_units(window))
            cleared.append(said.alarm)
    return Watched(tuple(alarms), tuple(confirmed), tuple(measures))


def quiet(name: str, seed: int, seen: Watched) -> dict[str, Any]:
    """The row of a stream in which nothing happens; ``run_length`` is None where no alarm was confirmed."""
    first = next((i + 1 for i, c in enumerate(seen.confirmed) if c), None)
    loud = [m for m, a in zip(seen.measures, seen.alarms, strict=True) if a]
    return {
        "stream": name, "change": "none", "seed": seed, "windows": len(seen.alarms), "alarms": sum(seen.alarms),
        "confirmed": sum(seen.confirmed), "run_length": first, "measures": sorted(set(loud)),
    }  # fmt: skip


def delayed(name: str, change: str, seed: int, seen: Watched) -> dict[str, Any]:
    """The row of a stream that changes right after the warm windows; a delay of 1 is the first changed window."""
    alarm, confirmed = (next((i + 1 for i, a in enumerate(x) if a), None) for x in (seen.alarms, seen.confirmed))
    return {
        "stream": name, "change": change, "seed": seed, "windows": len(seen.alarms), "delay": alarm,
        "delay_confirmed": confirmed,
    }  # fmt: skip


# ------------------------------------------------------------------ synthetic streams

Drawn = Callable[[Linear, int, float], pd.DataFrame]


def _window(world: Linear, seed: int, size: float, prior: float = 0.15, step: float = 0.0) -> pd.DataFrame:
    """A window in which a change has reached the share ``size`` of its full extent."""
    rows = world.draw(ROWS, seed, 0.15 + size * (prior - 0.15))
    change, _ = mapped(world.telling[0], offset=size * step * float(world.spread[world.telling[0]]))
    return without(change(rows), "y")


def _evasion(world: Linear, seed: int, size: float) -> pd.DataFrame:
    rows = world.draw(ROWS, seed)
    rows.loc[rows["y"] == 1, list(world.model.features)] += -0.5 * size * world.shift * world.scale
    return without(rows, "y")


CHANGES: dict[str, Drawn] = {
    "offset of 2 sd": partial(_window, step=2.0),
    "offset of ½ sd": partial(_window, step=0.5),
    "positives 15 → 40 %": partial(_window, prior=0.40),
    "positives 15 → 5 %": partial(_window, prior=0.05),
    "positives half way to negatives": _evasion,
}


def synthetic(seed: int, windows: int = QUIET_WINDOWS) -> Iterator[dict[str, Any]]:
    """A stream without a change, and one for every change: abrupt, and gradual over :data:`RAMP` windows."""
    world = linear(seed)
    column = world.telling[0]
    edge = round(float(world.model.reference[column].quantile(0.9)), 3)
    model = under_policy(world.model, rules=[{"name": "high", "when": f"{column} > {edge}", "vote": 1}])
    calm = [_window(world, seed * 100 + i, 0.0) for i in range(WARM + windows)]
    with threadpool_limits(1):
        yield quiet("synthetic", seed, watch(model, calm))
        for name, draw in CHANGES.items():
            for how, sizes in (("", np.ones(HORIZON)), (", gradual", np.minimum(np.arange(1, HORIZON + 1) / RAMP, 1))):
                after = [draw(world, seed * 100 + 50 + i, float(size)) for i, size in enumerate(sizes)]
                yield delayed("synthetic", name + how, seed, watch(model, [*calm[:WARM], *after]))


# ------------------------------------------------------------------ natural years


def natural(path: Path, of: Set, seed: int) -> dict[str, Any]:
    """The stream of a data set as it is, in consecutive windows."""
    source = stream(path, of.begin, seed)
    rows = source.rows[list(source.model.features)].iloc[source.start :]
    n = of.watched or of.windows[0]
    windows = [rows.iloc[i : i + n] for i in range(0, len(rows) - n + 1, n)]
    # A long set is looked at in one stretch from its start: windows far apart would not be a stream.
    with threadpool_limits(1):
        return quiet(of.name, seed, watch(source.model, windows[: WARM + MOST_NATURAL]))


def streams(folders: Sequence[Path], seed: int) -> Iterator[dict[str, Any]]:
    """The natural stream of every set that is there."""
    for of in SETS:
        path = next((f / of.file for f in folders if (f / of.file).is_file()), None)
        if path is not None:
            yield natural(path, of, seed)


def tabulated(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A record per stream and change: rates over all windows, mean run length and delay, and how often none came.

    Where no alarm was confirmed the run length is at least the number of windows watched, and counts as that.
    """
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["stream"], row["change"]), []).append(row)
    return [_tabulated(*key, part) for key, part in groups.items()]


def _tabulated(name: str, change: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    windows = sum(r["windows"] for r in rows)
    record: dict[str, Any] = {"stream": name, "change": change, "streams": len(rows), "windows": windows}
    if change == "none":
        lengths = [r["run_length"] or r["windows"] for r in rows]
        return record | {
            "false_alarms_a_window": sum(r["alarms"] for r in rows) / windows,
            "confirmed_a_window": sum(r["confirmed"] for r in rows) / windows,
            "run_length_at_least": fmean(lengths),
        }
    seen = [r["delay"] for r in rows if r["delay"]]
    sure = [r["delay_confirmed"] for r in rows if r["delay_confirmed"]]
    return record | {
        "delay": fmean(seen) if seen else None,
        "delay_confirmed": fmean(sure) if sure else None,
        "missed": len(rows) - len(sure),
    }
