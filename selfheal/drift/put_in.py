"""Whether many rows of a column stand on one value that few ever had, here and there: a default, a mean put in.

What drifts with the seasons may hold such rows and be as natural as ever by its distribution. A reading that lasts (an
hour's weather on all its flights) stands on rows that follow each other, and is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.levels import Levels, lasting, levels
from selfheal.drift.stats import Floats

LEAST = 0.15
"""Share of rows on the value: three times what stands out (atoms), for nothing else need be unusual."""

GROWTH = 3.0
"""Times the largest share that any value has had which comes and goes, and that this window has on any other."""

SCATTERED = 0.7
"""Part of the runs that as many rows at random places make, in the mean."""

MOVED = (0.1, 0.05)
"""Difference of shares up to which a value may be a lasting one that went through another unit, and what of that one's
share may be left at its old place."""


def put_in(values: Floats, healthy: Iterable[Floats]) -> tuple[float, float] | None:
    """The value that stands on so many rows [n], and its share; None where there is none.

    Parameters
    ----------
    values
        A numeric column in time order, without what is missing.
    healthy
        The same of healthy stretches, about as long; read only where many rows stand on one value.
    """
    at, shares = levels(values)
    if len(at) < 3 or float(shares.max(initial=0.0)) < LEAST:
        return None
    past = [levels(block) for block in healthy if len(block)]
    if not past:
        return None
    always = lasting(past)
    value, share = float(at[shares.argmax()]), float(shares.max())
    usual = max(float(s[~np.isin(known, always)].max(initial=0.0)) for known, s in past)
    other = float(shares[~np.isin(at, [*always, value])].max(initial=0.0))
    if value in always or share < GROWTH * max(usual, other) or _came_from(always, past, (at, shares), share):
        return None
    return (value, share) if _scattered(values == value) else None


def _came_from(always: Floats, past: Sequence[Levels], now: Levels, share: float) -> bool:
    """Whether a pile may be a lasting one that is gone from its place: the column is in another unit."""
    for number in always:
        before = float(np.mean([shares[at == number].sum() for at, shares in past]))
        left = float(now[1][now[0] == number].sum())
        if abs(share - before) <= MOVED[0] and left <= MOVED[1] * before:
            return True
    return False


def _scattered(on: NDArray[np.bool_]) -> bool:
    """Whether rows (bool [n]) lie here and there, by the number of their runs (Wald and Wolfowitz 1940)."""
    share = float(on.mean())
    runs = 1 + int((on[1:] != on[:-1]).sum())
    return runs >= SCATTERED * (1 + 2 * len(on) * share * (1 - share))
