"""Atoms: numbers on which a column stands in every healthy window, such as the zero hours of who does not work.

A map moves them with everything else, so they say where it leads more exactly than any quantile; and rows that come
beside them from elsewhere are of another kind than theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from selfheal.adapter import ColumnMap
from selfheal.drift import stats
from selfheal.drift.levels import SHARE, Levels, lasting, levels
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import MARGIN
from selfheal.healing.case import Case, once_a_case
from selfheal.input_map import BEYOND

SIGMAS = 4.0
"""Standard errors by which an atom's share may differ by chance, like a null rate (guards)."""

GONE = 0.05
"""Part of an atom that may be left at its old place when the column was mapped."""

SNAP = 0.25
"""Of the column's spread: an atom farther from where a line leads it is no end of that line."""

HALF = 0.5
"""Part of the growth of an atom that rows of other kinds must make up."""

DOUBLED = 2.0
"""Times the largest share of a healthy window."""


def seen(case: Case, column: str) -> tuple[list[Levels], Levels]:
    """The levels of a column in every healthy window, and in this one."""
    return [levels(case.present(block, column)) for block in case.stick.blocks], levels(case.present(case.raw, column))


def usual(healthy: Sequence[Levels], number: float) -> Floats:
    """Its share in each healthy window [w]."""
    return np.array([float(shares[at == number].sum()) for at, shares in healthy])


def spread(shares: Floats, n: int) -> float:
    """By how much an atom's share in ``n`` rows may differ from the healthy mean: by chance, and by nature."""
    p = float(np.clip(shares.mean(), 1e-3, 1 - 1e-3))
    return max(SIGMAS * float(np.sqrt(2 * p * (1 - p) / max(n, 1))), MARGIN * float(np.ptp(shares)))


def moved(case: Case, column: str) -> dict[float, float]:
    """Where each atom of a healthy column went: all by one offset or one factor, or each by itself.

    By itself it is the one number of the window that has its share, where it is gone.
    """
    healthy, now = seen(case, column)
    atoms, places = lasting(healthy), {}
    if len(atoms) and (together := _in_step(atoms, healthy, now, len(case.raw))):
        return together
    for number in atoms:
        shares = usual(healthy, number)
        apart = np.abs(now[1] - shares.mean()) <= spread(shares, len(case.raw))
        candidates = now[0][apart & (now[1] >= SHARE) & ~np.isin(now[0], atoms)]
        left = float(now[1][now[0] == number].sum())
        if left <= GONE * shares.mean() and len(candidates) == 1:
            places[float(number)] = float(candidates[0])
    return places


def _in_step(atoms: Floats, healthy: Sequence[Levels], now: Levels, n: int) -> dict[float, float]:
    """Where all atoms [a] went by one offset or factor, if just one lays each on its share.

    Their old places may be taken by what was beside them: a count of days from which four are taken.
    """

    def off(places: Floats, homes: Floats) -> tuple[Floats, bool]:
        """By how much the shares at places differ from those that their homes had, and whether all may by chance."""
        at = np.clip(np.searchsorted(now[0], places), 0, len(now[0]) - 1)
        share = np.where(np.isclose(now[0][at], places, rtol=1e-9, atol=1e-9), now[1][at], 0.0)
        before = [usual(healthy, home) for home in homes]
        left = np.abs(share - np.array([shares.mean() for shares in before]))
        return left, bool((left <= [spread(shares, n) for shares in before]).all())

    if off(atoms, atoms)[1]:
        return {}
    tried: dict[tuple[float, ...], float] = {}
    for to in now[0][now[1] >= SHARE]:
        for number in atoms:
            step = float(to - number)
            ways = [(np.round(atoms + step, 9), np.round(atoms - step, 9))]
            if to * number > 0 and max(abs(to), abs(number)) < BEYOND * min(abs(to), abs(number)):
                ways.append((np.round(atoms * (to / number), 9), np.round(atoms * (number / to), 9)))
            for places, there in ways:
                left, fits = off(places, atoms)
                if fits and off(atoms, there)[1]:
                    tried[tuple(places.tolist())] = float(left.sum())
    nearest = sorted(tried, key=lambda way: tried[way])
    if not nearest or (len(nearest) > 1 and tried[nearest[1]] < 2 * tried[nearest[0]]):
        return {}
    return {float(number): place for number, place in zip(atoms, nearest[0], strict=True) if place != number}


def anchored(case: Case, column: str, one: ColumnMap) -> ColumnMap:
    """A fitted line, laid so that the atom nearest to its course comes back to its very place."""
    if one.knots is not None or one.words:
        return one
    j, places = case.model.features.index(column), moved(case, column)
    near = {home: home - (one.scale * away + one.offset) for home, away in places.items()}
    if not near:
        return one
    home = min(near, key=lambda number: abs(near[number]))
    if abs(near[home]) > SNAP * case.stick.scale.spread[j]:
        return one
    away = places[home]
    steps = [ColumnMap(1.0, home - away), *([ColumnMap(home / away)] if home * away > 0 else [])]
    exact = [step for step in steps if len(near) > 1 and _lays(step, places)]
    if exact:
        return exact[0]
    if one.offset == 0.0:
        return replace(one, scale=home / away) if home * away > 0 else one
    return replace(one, offset=home - one.scale * away)


def brought_back(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether a map lays a column's atoms, which all have gone, on their places again."""
    places = moved(case, column)
    return bool(places) and _lays(one, places)


def _lays(one: ColumnMap, places: Mapping[float, float]) -> bool:
    """Whether a map lays atoms that went to these places on their own again."""
    home, away = np.array([*places]), np.array([*places.values()])
    return bool(np.isclose(one.apply(away), home, atol=1e-6).all())


def invaded(case: Case, column: str) -> tuple[float, float] | None:
    """The atom that rows of other kinds have joined, and its share now: lost values became a default that was one.

    More of a kind of row (who does not work) are like the atom's healthy rows in all other columns. Rows whose value
    was lost are like any row: half of the way there is the bound, in the direction that tells the atom's rows best
    (Fisher's discriminant). Where none tells them, an atom that doubled is a default if the other values are as ever.
    """
    grown = _grown(case)
    if column not in grown:
        return None
    names, (number, share, more, doubled) = case.model.features, grown[column]
    # What was lost together tells nothing of each other.
    others = [j for j, c in enumerate(names) if c not in grown] or [j for j, c in enumerate(names) if c != column]
    scale, j = case.stick.scale, names.index(column)
    z, pool = scale.z(case.encoded)[:, others], scale.z(case.stick.pool)[:, others]
    foreign, error = _mixture(z[case.encoded[:, j] == number], pool, case.stick.pool[:, j] == number)
    if foreign - SIGMAS / 2 * error > 0 and foreign > HALF * more / share:
        return number, share
    if doubled and foreign + SIGMAS / 2 * error >= more / share and _as_ever(case, column, number):
        return number, share
    return None


@once_a_case
def _grown(case: Case) -> dict[str, tuple[float, float, float, bool]]:
    """Per column the atom that grew beyond what is natural: it, its share, by how much, whether it doubled."""
    growth: dict[str, tuple[float, float, float, bool]] = {}
    for column in case.numeric:
        healthy, now = seen(case, column)
        for number in lasting(healthy):
            shares, share = usual(healthy, number), float(now[1][now[0] == number].sum())
            more = share - float(shares.mean())
            if more > max(SHARE, spread(shares, len(case.raw))) and more > growth.get(column, (0.0, 0.0, 0.0))[2]:
                growth[column] = float(number), share, more, share >= DOUBLED * float(shares.max())
    return growth


def _as_ever(case: Case, column: str, number: float) -> bool:
    """Whether the values beside an atom are as they were."""
    values = case.present(case.raw, column)
    pool = case.stick.pool[:, case.model.features.index(column)]
    beside, before = values[values != number], pool[pool != number]
    return len(beside) > 0 and stats.ks(beside, before) <= case.stick.bounds.marginal[case.model.features.index(column)]


def _mixture(rows: Floats, pool: Floats, on: NDArray[np.bool_]) -> tuple[float, float]:
    """Share of rows [n, k] that are like the pool's [m, k] others, and not like its rows ``on``; standard error."""
    inside, outside = pool[on], pool[~on]
    if min(len(rows), len(inside), len(outside)) < pool.shape[1] + 10:
        return 0.0, np.inf
    within = (np.cov(inside, rowvar=False) + np.cov(outside, rowvar=False)) / 2
    gap = outside.mean(axis=0) - inside.mean(axis=0)
    way = np.linalg.solve(np.atleast_2d(within) + 1e-3 * np.eye(len(gap)), gap)
    at, here, there = rows @ way, inside @ way, outside @ way
    apart = float(there.mean() - here.mean())
    if apart <= 0:
        return 0.0, np.inf
    error = float(np.sqrt(at.var() / len(at) + here.var() / len(here))) / apart
    return float((at.mean() - here.mean()) / apart), error


def beyond_shares(case: Case, column: str, weights: Floats) -> str:
    """Why other class shares do not explain how often a column stands on its atoms; empty where they do.

    Parameters
    ----------
    weights : float [m], that turn the pool into the window.
    """
    healthy, now = seen(case, column)
    pool = case.stick.pool[:, case.model.features.index(column)]
    for number in lasting(healthy):
        shares, share = usual(healthy, number), float(now[1][now[0] == number].sum())
        expected = float(weights[pool == number].sum() / weights.sum())
        if abs(share - expected) > spread(shares, len(case.raw)):
            return f"{column} is {number:g} in {share:.0%} of rows, where those shares expect {expected:.0%}"
    return ""
