"""Whether many rows of a column stand on one value that few ever had, here and there: a default, a mean put in.

What drifts with the seasons may hold such rows and be as natural as ever by its distribution. A reading that lasts (an
hour's weather on all its flights) stands on rows that follow each other, and is none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.stats import Floats

LEAST = 0.15
"""Share of rows on the value: three times what stands out (atoms), for nothing else need be unusual."""

GROWTH = 3.0
"""Times the largest share that any value has had which comes and goes, and that this window has on any other."""

OUTSTANDING = 0.05
"""Share of rows on one number from which it stands out ..."""

LASTING = 0.5
"""... and, in every healthy window by at least this part of the largest share there, from which it is no news."""

SCATTERED = 0.7
"""Part of the runs that as many rows at random places make, in the mean."""

MOVED = (0.1, 0.05)
"""Difference of shares up to which a value may be a lasting one that went through another unit, and what of that one's
share may be left at its old place."""

Levels = tuple[Floats, Floats]


def put_in(values: Floats, healthy: Sequence[Floats]) -> tuple[float, float] | None:
    """The value that stands on so many rows [n], and its share; None where there is none.

    Parameters
    ----------
    values
        A numeric column in time order, without what is missing.
    healthy
        The same of healthy stretches, about as long.
    """
    levels, shares = _levels(values)
    if len(levels) < 3 or float(shares.max(initial=0.0)) < LEAST:
        return None
    past = [_levels(block) for block in healthy if len(block)]
    if not past:
        return None
    lasting = _lasting(past)
    order = np.argsort(shares)
    value, share = float(levels[order[-1]]), float(shares[order[-1]])
    usual = max(float(s[~np.isin(at, lasting)].max(initial=0.0)) for at, s in past)
    other = float(shares[~np.isin(levels, [*lasting, value])].max(initial=0.0))
    if value in lasting or share < GROWTH * max(usual, other) or _came_from(lasting, past, (levels, shares), share):
        return None
    return (value, share) if _scattered(values == value) else None


def _levels(values: Floats) -> Levels:
    found, counts = np.unique(values, return_counts=True)
    return found, counts / max(len(values), 1)


def _lasting(past: Sequence[Levels]) -> Floats:
    """Numbers that stand out in every healthy stretch: the zeros of rain."""
    found = [at[shares >= max(OUTSTANDING, LASTING * shares.max(initial=0.0))] for at, shares in past]
    common = found[0]
    for numbers in found[1:]:
        common = np.intersect1d(common, numbers)
    return np.asarray(common)


def _came_from(lasting: Floats, past: Sequence[Levels], now: Levels, share: float) -> bool:
    """Whether a pile may be a lasting one that is gone from its place: the column is in another unit."""
    for number in lasting:
        before = float(np.mean([shares[at == number].sum() for at, shares in past]))
        left = float(now[1][now[0] == number].sum())
        if abs(share - before) <= MOVED[0] and left <= MOVED[1] * before:
            return True
    return False


def _scattered(on: NDArray[np.bool_]) -> bool:
    """Whether rows (bool [n]) lie here and there, by the number of their runs (Wald and Wolfowitz 1940)."""
    share = float(on.mean())
    runs = 1 + int((on[1:] != on[:-1]).sum())
    return runs >= SCATTERED * (1 + 2 * len(on) * share * (1 - share)) or share > 1 - 1.0 / max(len(on), 1)
