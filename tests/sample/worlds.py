"""The one door to the board: where its scenarios and data come from. When they move, this file is what changes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

from selfheal.board import mixed, random_drifts, small_sets, streams, synthetic, triggers, twins
from selfheal.board.course import SHIPPED
from selfheal.board.trial import Trial
from selfheal.drill import own

LABELLED = (50, 100)
"""Labels a window of the shipped stream: other sets have such cases on the board, and do not come with the package."""

Build = Callable[[int], Trial]


@cache
def scenarios() -> dict[str, dict[str, Build]]:
    """Group → scenario → what builds its trial from a seed; only what needs no data but the shipped."""
    found: dict[str, dict[str, Build]] = {}
    shipped, _ = streams.scenarios((SHIPPED,))
    for board in (synthetic, twins, small_sets, mixed, random_drifts):
        for scenario in board.SCENARIOS:
            found.setdefault(scenario.group, {})[scenario.name] = scenario.build
    for scenario in shipped:
        found.setdefault(scenario.group, {})[scenario.name] = scenario.build
    for labels in LABELLED:
        for onset in range(streams.ONSETS):
            found["weather"][f"weather {labels} labels {onset:02d}"] = partial(_labelled, labels=labels, onset=onset)
    for number in range(OWN):
        found.setdefault("own", {})[f"own {number:02d}"] = partial(_own, number=number)
    return found


def _labelled(seed: int, labels: int, onset: int) -> Trial:
    weather = streams.SETS[0]
    place = streams.Place(SHIPPED / weather.file, weather, onset, weather.windows[0])
    return streams.natural(seed, place, labelled=labels)


OWN = 13
"""Cases of the fire drill on the weather's own model, by number: which columns they break the model's weights say."""


@cache
def _drilled(seed: int) -> list[Build]:
    weather = streams.SETS[0]
    model = streams.stream(SHIPPED / weather.file, weather.begin, seed).model
    return [scenario.build for scenario in own.scenarios(model)]


def _own(seed: int, number: int) -> Trial:
    return _drilled(seed)[number](seed)


def watched(seed: int, windows: int) -> list[dict[str, Any]]:
    """What the triggers say of the synthetic streams: one without a change, ten with."""
    return list(triggers.synthetic(seed, windows))
