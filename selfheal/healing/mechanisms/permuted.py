"""The data are broken, not the world: columns arrive in each other's place. They are named, and nothing is healed."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from selfheal.adapter import InputMap
from selfheal.drift import stats
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.fits import matching, recorded
from selfheal.healing.fits.columns import marginals
from selfheal.healing.fits.maps import DOMINANT, column_ratio
from selfheal.healing.fits.matching import NEARLY
from selfheal.healing.fits.recorded import BACK, BESIDE, LEFT_GRID
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding

EXPLAINS = 0.5
"""The right order of columns must take away at least half of the distance to the healthy windows."""

CLEARLY = 0.05
"""An order that leaves less than this explains the window even where a column drifted naturally beside it: for two
rotated years of weather the right order leaves 0.4 to 0.7 %, and visibility stood at 1.51 of its bound."""

NARROW = 24
MOST = 783
"""Up to 24 columns nearly every order is tried, 783 at most. In a wider table there are ever more, and each costs more:
the likeliest are tried, 93 of 59,000 at 200 columns."""

NEVER = 1e-6
"""Two columns are copies when the healthy windows make that less likely than this."""

Moves = dict[int, int]
"""Model column → the column that arrives in its place, where they differ."""


def explain(case: Case) -> Finding | None:
    """Whether another order of the columns makes the window natural."""
    x = case.encoded
    if twice := _copies(case):
        return Finding(
            "permuted columns", "data_fault", True, "columns", len(twice), 0.0, "; ".join(twice), decision="refuse"
        )
    order = _best_order(case, x)
    moved = [i for i in range(len(order)) if order[i] != i]
    if not moved:
        return None
    names = case.model.features
    swapped = case.raw.assign(**{names[i]: case.raw[names[order[i]]].to_numpy() for i in moved})
    before, after = case.judged_raw, case.stick.judge(swapped)
    share = after.distance.total / max(before.distance.total, 1e-12)
    fits = share <= CLEARLY or max(column_ratio(case, after, names[i]) for i in moved) <= NEARLY
    known = bool((after.distance.outside <= np.maximum(BESIDE, case.stick.bounds.outside)).all())
    natural = known and (after.ratios["joint"] <= 1.0 or share <= DOMINANT)
    proven = _recorded_so(case, x, order, moved) or (fits and before.ratios["joint"] > 1.0)
    explained = bool(share <= EXPLAINS and natural and proven and not _converted(case, after.distance.total))
    words = ", ".join(f"{names[i]} holds the values of {names[_where(order, i)]}" for i in moved)
    return Finding(
        "permuted columns", "data_fault", explained, "distance left", share, EXPLAINS,
        words if explained else f"{words}; leaves {share:.0%} of the distance (bound {EXPLAINS:.0%}), "
        f"joint at {after.ratios['joint']:.2f} of its bound", decision="refuse",
    )  # fmt: skip


def _converted(case: Case, left: float) -> bool:
    """Whether known conversions leave less than another order does: two columns in °F may look like each other.

    Or a recorder's marks prove one, which no other column's values bear.
    """
    sure = recorded.recovered(case)
    if sure and not recorded.refused(case, sure):
        return True
    maps = matching.conversions(case)
    return bool(maps) and case.stick.total(InputMap(maps).apply(case.raw)) < left


def _copies(case: Case) -> list[str]:
    """Columns that hold another one's values in every row, and that chance never made so."""
    words = []
    seen: dict[bytes, str] = {}
    for column in case.numeric:
        values = case.raw[column].to_numpy(dtype=np.float64, na_value=np.nan)
        first = seen.setdefault(values.tobytes(), column)
        if first == column or np.nanmin(values, initial=np.inf) == np.nanmax(values, initial=-np.inf):
            continue
        healthy = [block[first] == block[column] for block in (case.model.reference, *case.stick.blocks)]
        alike = max(float(same.mean()) for same in healthy)
        if alike ** len(values) < NEVER:
            words.append(f"{first} and {column} hold the same values in all {len(values)} rows (in {alike:.0%} before)")
    return words


def _recorded_so(case: Case, x: Floats, order: list[int], moved: list[int]) -> bool:
    """Whether columns hold values that they can not have had, and each of them known ones in the new order."""
    support = case.stick.support
    before = [support.unrecorded(x[:, i], i) for i in moved]
    after = [support.unrecorded(x[:, order[i]], i) for i in moved]
    return max(before) >= LEFT_GRID and max(after) <= BACK and sum(after) <= EXPLAINS * sum(before)


def _where(order: list[int], i: int) -> int:
    """The model column whose values arrive in column i: the j with order[j] == i."""
    return order.index(i)


def _best_order(case: Case, x: Floats) -> list[int]:
    """``order[j]`` is the arriving column that looks like model column j; the smallest joint distance wins."""
    numeric = [j for j, c in enumerate(case.model.features) if c in case.numeric]
    odd = [j for j in numeric if case.judged_raw.columns[case.model.features[j]] > 1.0]
    stays = list(range(x.shape[1]))
    if not odd:
        return stays

    def apart(order: list[int]) -> float:
        unknown = sum(case.stick.support.unrecorded(x[:, i], j) for j, i in enumerate(order) if j != i)
        return stats.gaussian_kl(case.stick.scale, case.stick.scale.z(x[:, order])) + unknown

    best, least = stays, apart(stays)
    for moves in _orders(case, x, odd, numeric):
        order = [moves.get(j, j) for j in stays]
        if (distance := apart(order)) < 0.9 * least:
            best, least = order, distance
    return best


def _orders(case: Case, x: Floats, odd: list[int], numeric: list[int]) -> Iterator[Moves]:
    """The assignments that match columns best, then every swap and rotation of a block, likeliest first."""
    d = x.shape[1]
    near = marginals(x, case.stick.pool)
    for j, i in itertools.product(numeric if d <= NARROW else odd[:NARROW], repeat=2):
        near[j, i] += 2 * case.stick.support.unrecorded(x[:, i], j)
    for some in (odd, numeric):
        to, arrives = linear_sum_assignment(near[np.ix_(some, some)])
        yield {some[j]: some[i] for j, i in zip(to, arrives, strict=True)}
    most = min(MOST, MOST * NARROW // d) // 2
    gains = swap_gains(case.stick.scale, case.stick.scale.z(x))
    ratios = np.array([case.judged_raw.columns[c] for c in case.model.features])
    yield from heapq.nsmallest(
        most, _swaps(odd, numeric), lambda m: (_nearer(near, m), *(-gains[j, i] for j, i in m.items()))
    )
    yield from heapq.nsmallest(most, _turns(numeric), lambda m: (_nearer(near, m), -float(ratios[list(m)].mean())))


def _swaps(odd: list[int], columns: list[int]) -> Iterator[Moves]:
    """Of every odd column with any other: where healthy windows differ much, hours pass for humidity."""
    return ({a: b, b: a} for a, b in itertools.combinations(columns, 2) if a in odd or b in odd)


def _turns(columns: list[int]) -> Iterator[Moves]:
    for start, end in itertools.combinations(range(len(columns) + 1), 2):
        block = columns[start:end]
        if len(block) > 2:
            yield dict(zip(block, block[1:] + block[:1], strict=True))
            yield dict(zip(block, block[-1:] + block[:-1], strict=True))


def _nearer(near: Floats, moves: Moves) -> float:
    """By how much the moved columns' marginals come nearer to the pool's (negative), in tenths: less is chance."""
    to = list(moves)
    return round(float((near[to, list(moves.values())] - near[to, to]).mean()), 1)


def swap_gains(scale: stats.Scale, z: Floats) -> Floats:
    """By how much swapping two columns brings the window nearer to the pool, for columns of one scale: [d, d].

    What the joint distance's trace falls by, its other terms standing still: all pairs by one product of matrices.
    """
    ours, theirs = (z - scale.mean).T @ (z - scale.mean) / len(z), scale.precision
    both, here, there = theirs @ ours, np.diag(ours), np.diag(theirs)
    rows = both + both.T - np.diag(both)[:, None] - np.diag(both)
    own = (there[:, None] - theirs) * (ours - here[:, None])
    return np.asarray(2 * (own + own.T - rows) + (there[:, None] - there) * (here[:, None] - here))


MECHANISM = Mechanism("permuted columns", rank=28, explain=explain, needs=(UNUSUAL_AS_SENT,))
