"""The numbers that a column stands on, how often, and those that it always does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from selfheal.drift.stats import Floats

SHARE = 0.05
"""Share of rows on one number from which it stands out."""

LASTING = 0.5
"""What stands out in every healthy window, by at least this part of the largest share there, does not come and go."""

Levels = tuple[Floats, Floats]


def levels(values: Floats) -> Levels:
    """Distinct numbers [l] in order, and the share of the values [n] on each [l]."""
    numbers, counts = np.unique(values, return_counts=True)
    return numbers, counts / max(len(values), 1)


def lasting(healthy: Sequence[Levels]) -> Floats:
    """Numbers that stand out in every healthy window: the zeros of rain."""
    outstanding = [at[shares >= max(SHARE, LASTING * shares.max(initial=0.0))] for at, shares in healthy]
    common = outstanding[0] if outstanding else np.empty(0)
    for numbers in outstanding[1:]:
        common = np.intersect1d(common, numbers)
    return common
