"""How often a healer is wrong: an e-process over its judged heals, against the share of harmful ones that is allowed.

Each judged heal is a bet against "at most the share ``p`` of heals harms": with an excess ``g`` the wealth is
multiplied by ``q / p`` where the heal harmed, with ``q = p + g (1 - p)``, and else by ``1 - g``. While each heal,
whatever was judged before it, harms with a probability of at most ``p``, no bet is expected to win: the wealth is a
non-negative supermartingale and reaches 20 in at most one deployment in twenty, over its whole life and however often
one looks (Ville 1939; Wald's likelihood ratio 1945, mixed over alternatives as Robbins 1970 does; Ramdas, Grünwald,
Vovk & Shafer 2023, "Game-theoretic statistics and safe anytime-valid inference").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

EXCESSES = tuple(0.001 * 500 ** (step / 7) for step in range(8))
"""Shares of harmful heals above the bound that are bet on, each with the same part of the wealth: from one that shows
in thousands of heals to every second one."""

BOUND = 20.0
"""E-value from which the share is exceeded: 1 / level, as of :data:`selfheal.healing.sequential.LEVEL`."""


@dataclass(frozen=True)
class FalseHeals:
    """What the judged heals of a deployment say.

    Attributes
    ----------
    judged, harmful
        Heals about which there is evidence, and those of them that it speaks against.
    share
        The share of harmful ones that is allowed.
    e_value
        Against "at most that share": 1 at the start.
    """

    judged: int
    harmful: int
    share: float
    e_value: float

    @property
    def exceeded(self) -> bool:
        """Whether more heals harm than allowed."""
        return self.e_value >= BOUND


def false_heals(harmed: Sequence[bool], share: float) -> FalseHeals:
    """Hold the judged heals against the share of harmful ones that is allowed; ask again after each.

    Parameters
    ----------
    harmed : [n], of each judged heal whether it harmed, oldest first.
    share
        In (0, 1).

    Raises
    ------
    ValueError
        A share that is none.

    Examples
    --------
    >>> false_heals([], 1 / 1000).e_value
    1.0
    >>> false_heals([False] * 300, 1 / 1000).exceeded, false_heals([False] * 10 + [True] * 2, 1 / 1000).exceeded
    (False, True)
    """
    if not 0 < share < 1:
        raise ValueError(f"a share of harmful heals is above 0 and below 1, and {share} is not")
    harmful = sum(harmed)
    fine = len(harmed) - harmful
    logs = [harmful * math.log1p(g * (1 - share) / share) + fine * math.log1p(-g) for g in EXCESSES]
    e_value = math.fsum(math.exp(min(each, 700.0)) for each in logs) / len(logs)
    return FalseHeals(len(harmed), harmful, share, e_value)
