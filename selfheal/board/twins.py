"""Twins: a sensor that moved and a population that moved, with the same p(x). Only labels can tell them apart."""

from __future__ import annotations

from functools import partial

import numpy as np

from selfheal.board.synthetic import AUDIT, LABELLED, REFUSE, ROWS, UNSEEN, mapped, right
from selfheal.board.trial import Scenario, Trial, without
from selfheal.board.worlds import linear, under_policy


def twin(seed: int, sensor: bool) -> Trial:
    """The most telling column 2 sd higher: the labels follow what it was (sensor), or what it is (population)."""
    world = linear(seed)
    change, exact = mapped(world.telling[0], offset=2 * world.spread[world.telling[0]])
    made = {}
    for name, n, at in (("window", ROWS, 10), ("unseen", UNSEEN, 11), ("labelled", LABELLED, 12)):
        rows = change(world.draw(n, seed + at))
        if not sensor:
            chance = np.random.default_rng([seed, at]).random(n)
            rows = rows.assign(y=(chance < world.posterior(rows)).astype(int))
        made[name] = rows
    answer = right(AUDIT | REFUSE, "", "sensor" if sensor else "population", known=False)
    window, unseen = made["window"], made["unseen"]
    return Trial(
        under_policy(world.model), without(window, "y"), window["y"].to_numpy(),
        without(unseen, "y"), unseen["y"].to_numpy(),
        answer, oracle=exact if sensor else made["labelled"],
    )  # fmt: skip


SCENARIOS = (
    Scenario("twin: sensor", "twins", "a sensor moved; its twin has the same p(x)", partial(twin, sensor=True)),
    Scenario("twin: population", "twins", "the population moved; same p(x)", partial(twin, sensor=False)),
)
