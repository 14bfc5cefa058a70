"""Two versions on one window: the watch's question, with the roles of the gate swapped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from selfheal.drift.yardstick import Yardstick, windows
from selfheal.healing.hygiene import MIN_ROWS, clean
from selfheal.model import MonitoredModel

HALF = 0.5
"""The other version must lie at less than half of this one's distance: natural years differ by less."""


@dataclass(frozen=True)
class Comparison:
    """Whether the serving version is worse than another on a window, and why.

    ``natural`` says whether the window, as the other one reads it, lies within the healthy windows' bounds.
    """

    worse: bool
    reasons: list[str]
    natural: bool = False


def gate_roles(
    serving: MonitoredModel,
    other: MonitoredModel,
    window: pd.DataFrame,
    recent: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    seed: int = 0,
) -> Comparison:
    """Whether ``other`` explains a raw window that ``serving`` leaves unusual.

    Only input maps can be compared without labels: versions that differ in the ReflexiveLayer or the offset alone
    see the same inputs, and which of them is right is a question for labels.
    """
    if serving.adapter.input_map.columns == other.adapter.input_map.columns:
        return Comparison(False, ["both versions read the inputs alike; only labels can tell them apart"])
    cleaned = clean(serving, window, windows(recent, len(window)), seed)
    if cleaned.faults or len(cleaned.rows) < MIN_ROWS:
        return Comparison(False, [*cleaned.faults, f"{len(cleaned.rows)} usable rows (at least {MIN_ROWS})"])
    stick = Yardstick(serving, recent, len(cleaned.rows), seed, serving.model_units(cleaned.rows))
    mine = stick.judge(serving.model_units(cleaned.rows))
    theirs = stick.judge(other.model_units(cleaned.rows))
    reasons = [
        f"serving: {mine.worst[0]} at {mine.worst[1]:.2f} of its natural bound, distance {mine.distance.total:.2f}",
        f"other: {theirs.worst[0]} at {theirs.worst[1]:.2f} of its natural bound, distance {theirs.distance.total:.2f}",
    ]
    worse = not mine.explained and theirs.distance.total < HALF * mine.distance.total
    return Comparison(worse and theirs.worst[1] < mine.worst[1], reasons, theirs.explained)
