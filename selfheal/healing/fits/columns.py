"""What a column does by itself that no map undoes: it is cut off, or words and codes came beside the known ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.grid import Grid
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case

PILED = 0.05
"""Share of rows on a column's largest (or smallest) value from which it may be cut off."""

BEYOND = 0.02
"""Share of healthy rows that lie beyond that value."""

PILE_GROWTH = 3.0
"""The pile must be this many times the largest that a healthy window has on its own largest value, and the largest that
this window has on any other value of that side: an hour's one reading of the weather stands on all flights of it."""

SLICE = 3
"""Twentieths of the healthy rows by whose range a part of a column is asked whether it still holds its share."""

KEPT = 0.1
"""Total variation between the shares of the known codes then and now, up to which they kept them."""


def added(values: Floats, pool: Floats) -> bool:
    """Whether codes never seen came beside the known ones, which keep their shares among each other.

    Then it is a population that is new, and no other coding: there some known code would be missing.
    """
    known = values[np.isin(np.round(values, 6), np.round(pool, 6))]
    levels, usual = np.unique(pool, return_counts=True)
    now = np.array([(known == level).sum() for level in levels])
    gap = np.abs(now / max(len(known), 1) - usual / len(pool)).sum() / 2
    return bool(gap <= KEPT)


def could_be(values: Floats, low: float, high: float, grid: Grid) -> NDArray[np.bool_]:
    """Rows whose value could be healthy: in range, and on the recording grid where there is one."""
    return np.asarray((values >= low) & (values <= high) & grid.on(values))


def as_ever(values: Floats, pool: Floats) -> float:
    """The largest share of the values [n] that may be a draw of the pool [m], whatever the others are; chance allowed.

    No part of the pool's range may then hold fewer of them than its share. 1 where nothing speaks against it.
    """
    levels = np.linspace(0, 1, 21)
    edges = np.quantile(pool, levels) if len(pool) else np.empty(0)
    shares = []
    for low, high in zip(edges[:-SLICE], edges[SLICE:], strict=True):
        expected = ((pool >= low) & (pool <= high)).mean() * len(values)
        inside = float(((values >= low) & (values <= high)).sum())
        shares.append((inside + 2 * np.sqrt(inside + 1)) / max(expected, 1.0))
    return float(min([*shares, 1.0]))


def cut_off(case: Case, name: str) -> str:
    """Whether a numeric column is cut off at either end, in words."""
    values, healthy = case.present(case.raw, name), [case.present(block, name) for block in case.stick.blocks]
    return _cut_off(values, healthy, name, "above") or _cut_off(-values, [-h for h in healthy], name, "below")


def _cut_off(values: Floats, healthy: list[Floats], name: str, side: str) -> str:
    """Whether many values stand on the largest one, where healthy values go beyond."""
    healthy = [block for block in healthy if len(block)]
    if not healthy or not len(values) or np.ptp(values) == 0:
        return ""
    limit = values.max()
    pile = float((values == limit).mean())
    usual = max(float((block == block.max()).mean()) for block in healthy)
    outer = values[(values < limit) & (values >= min(np.median(values), np.median(np.concatenate(healthy))))]
    usual = max(usual, float(np.unique(outer, return_counts=True)[1].max() / len(values)) if len(outer) else 0.0)
    beyond = float((np.concatenate(healthy) > limit).mean())
    # A flipped sign piles zeros up on its end too; but then the values go beyond the other one.
    other = float((values < np.concatenate(healthy).min()).mean())
    if pile < max(PILED, PILE_GROWTH * usual) or beyond < BEYOND or other > BEYOND:
        return ""
    shown = limit if side == "above" else -limit
    return (
        f"column {name!r} is cut off {side} {shown:g}: {pile:.0%} of rows stand there, {beyond:.0%} used to lie beyond"
    )


def marginals(x: Floats, pool: Floats) -> Floats:
    """KS distance of every arriving column i from every column j of the pool, at its quantiles: [j, i] of [d, d]."""
    grid = np.quantile(pool, np.linspace(0.01, 0.99, 50), axis=0)
    of_pool = np.array([below(column, at) for column, at in zip(pool.T, grid.T, strict=True)])
    return np.column_stack([np.abs(below(column, grid.T) - of_pool).max(axis=1) for column in x.T])


def below(values: Floats, at: Floats) -> Floats:
    """Share of ``values`` [n] that are not above each entry of ``at``: floats of its shape."""
    return np.asarray(np.searchsorted(np.sort(values), at, "right") / len(values))
