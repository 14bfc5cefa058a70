"""The data are broken, not the world: columns arrive in each other's place. They are named, and nothing is healed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.optimize import linear_sum_assignment

from selfheal.drift import stats
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.mechanisms.matching import NEARLY
from selfheal.healing.mechanisms.measurement import DOMINANT, column_ratio
from selfheal.healing.outcome import Finding

EXPLAINS = 0.5
"""The right order of columns must take away at least half of the distance to the healthy windows."""

CLEARLY = 0.05
"""An order that leaves less than this explains the window even where a column drifted naturally beside it: for two
rotated years of weather the right order leaves 0.4 to 0.7 %, and visibility stood at 1.51 of its bound."""


def explain(case: Case) -> Finding | None:
    """Whether another order of the columns makes the window natural."""
    if case.judged_raw.explained:
        return None
    x = case.stick.encode(case.raw)
    order = _best_order(case, x)
    moved = [i for i in range(len(order)) if order[i] != i]
    if not moved:
        return None
    names = case.model.features
    swapped = case.raw.assign(**{names[i]: case.raw[names[order[i]]].to_numpy() for i in moved})
    before, after = case.judged_raw, case.stick.judge(swapped)
    share = after.distance.total / max(before.distance.total, 1e-12)
    fits = share <= CLEARLY or max(column_ratio(case, after, names[i]) for i in moved) <= NEARLY
    natural = after.ratios["joint"] <= 1.0 or share <= DOMINANT
    explained = bool(share <= EXPLAINS and fits and natural and before.ratios["joint"] > 1.0)
    told = ", ".join(f"{names[i]} holds the values of {names[_where(order, i)]}" for i in moved)
    return Finding(
        "permuted columns", "data_fault", explained, "distance left", share, EXPLAINS,
        told if explained else f"{told}; leaves {share:.0%} of the distance (bound {EXPLAINS:.0%}), "
        f"joint at {after.ratios['joint']:.2f} of its bound", decision="refuse",
    )  # fmt: skip


def _where(order: list[int], i: int) -> int:
    """The model column whose values arrive in column i: the j with order[j] == i."""
    return order.index(i)


def _best_order(case: Case, x: Floats) -> list[int]:
    """``order[j]`` is the arriving column that looks like model column j; the smallest joint distance wins."""
    d = x.shape[1]
    numeric = [j for j, c in enumerate(case.model.features) if c in case.numeric]
    ratios = case.judged_raw.columns
    odd = [j for j in numeric if ratios[case.model.features[j]] > 1.0]
    best, least = list(range(d)), _joint(case, x, list(range(d)))
    for order in _orders(case, x, odd, numeric):
        joint = _joint(case, x, order)
        if joint < 0.9 * least:
            best, least = order, joint
    return best


def _joint(case: Case, x: Floats, order: list[int]) -> float:
    return stats.gaussian_kl(case.stick.scale, case.stick.scale.z(x[:, order]))


def _orders(case: Case, x: Floats, odd: list[int], numeric: list[int]) -> Iterator[list[int]]:
    """Candidate orders: the assignment that matches marginals best, every swap, every rotation of a block."""
    d = x.shape[1]
    if len(odd) < 2:
        return
    cost = np.array([[stats.ks(x[:, i], case.stick.pool[:, j]) for i in odd] for j in odd])
    to, arrives = linear_sum_assignment(cost)
    yield _placed(d, {odd[j]: odd[i] for j, i in zip(to, arrives, strict=True)})
    for a, first in enumerate(odd):
        for second in odd[a + 1 :]:
            yield _placed(d, {first: second, second: first})
    for start in range(len(numeric)):
        for end in range(start + 3, len(numeric) + 1):
            block = numeric[start:end]
            yield _placed(d, dict(zip(block, block[1:] + block[:1], strict=True)))
            yield _placed(d, dict(zip(block, block[-1:] + block[:-1], strict=True)))


def _placed(d: int, moves: dict[int, int]) -> list[int]:
    return [moves.get(j, j) for j in range(d)]
