"""What the healer answers, and how two answers differ."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import selfheal
from tests.sample.cases import TRIGGERS, Case
from tests.sample.twists import TWISTS
from tests.sample.worlds import scenarios, watched

Answer = dict[str, Any]

QUIET_WINDOWS = 8
"""Of the watched stream in which nothing happens."""

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
NEAR = 0.02
"""Numbers in words may differ by this share, or by one in the last place shown: another processor's last bits. On the
machine that recorded them they are equal."""


def ask(case: Case) -> Answer:
    """Put the case to :func:`selfheal.heal`, on one thread."""
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if case.group == TRIGGERS:
            return {
                "decision": "watched",
                "diagnosis": "",
                "reasons": [_line(r) for r in watched(case.seed, QUIET_WINDOWS)],
            }
        trial = scenarios()[case.group][case.scenario](case.seed)
        asked = {
            "model": trial.model, "window": trial.window, "recent": trial.recent, "labels": trial.labels,
            "memory": trial.memory, "earlier": trial.labelled_before, "seed": case.seed,
        }  # fmt: skip
        rng = np.random.default_rng([case.seed, zlib.crc32(case.twist.encode())])
        return _answer(selfheal.heal(**TWISTS[case.twist](asked, trial, rng)))


def _line(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in row.items())


def _answer(outcome: Any) -> Answer:
    answer = {
        "decision": outcome.decision,
        "diagnosis": outcome.diagnosis,
        "reasons": list(outcome.reasons),
        "changed_part": outcome.changed_part,
        "recall": outcome.recall,
        "adapter": None if outcome.adapter is None else outcome.adapter.digest[:12],
        "numbers": {name: float(f"{value:.4g}") for name, value in outcome.numbers.items()},
    }
    return {key: value for key, value in answer.items() if value not in (None, {}, "none")}


COMPARED = ("decision", "diagnosis", "changed_part", "recall")
"""Equal, or the answer differs; the adapter's digest and the run's numbers are kept to be read, and not compared."""


def verdict(answer: Answer) -> str:
    """Decision and diagnosis, as the exceptions name them."""
    return f"{answer['decision']} {answer['diagnosis']}".strip()


def differences(was: Answer, now: Answer, exact: bool = False) -> list[str]:
    """A line for each thing that differs; none where the answers are the same.

    Parameters
    ----------
    exact
        Numbers in the reasons must be equal too, not only near.
    """
    told = [f"{key}: {was.get(key)} → {now.get(key)}" for key in COMPARED if was.get(key) != now.get(key)]
    before, after = was["reasons"], now["reasons"]
    same = before == after if exact else near("\n".join(before), "\n".join(after))
    if not same:
        gone = [line for line in before if line not in after]
        come = [line for line in after if line not in before]
        told += [*(f"- {line}" for line in gone), *(f"+ {line}" for line in come)] or ["reasons in another order"]
    return told


def near(was: str, now: str) -> bool:
    """Whether two texts have the same words, and numbers that are near.

    >>> near("gain 0.123 (bound 0.008)", "gain 0.124 (bound 0.008)"), near("gain 0.123", "loss 0.123")
    (True, False)
    """
    if NUMBER.sub("#", was) != NUMBER.sub("#", now):
        return False
    pairs = zip(NUMBER.findall(was), NUMBER.findall(now), strict=True)
    return all(one == other or _near(one, other) for one, other in pairs)


def _near(one: str, other: str) -> bool:
    a, b = float(one), float(other)
    places = [len(text.partition("e")[0].partition(".")[2]) for text in (one, other)]
    last = 0.0 if "e" in one + other else 10.0 ** -min(places)
    return abs(a - b) <= max(NEAR * max(a, b), 1.001 * last)
