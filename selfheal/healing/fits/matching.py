"""Which known conversion could lay each moved column back onto the healthy windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from selfheal.adapter import ColumnMap, InputMap
from selfheal.drift.grid import written
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case, once_a_case
from selfheal.healing.conversions import Conversion, implausible, same
from selfheal.healing.fits import recorded
from selfheal.healing.fits.known import HALVED, Maps, by_declaration, by_name, plausible, rounding
from selfheal.healing.fits.placed import placed
from selfheal.healing.fits.tried import tried

NEARLY = 1.5
"""A conversion is proposed while the column's KS is below this many natural bounds: other columns' maps, or a prior
that moved too, may still bring it down. The whole proposal is held to the bounds themselves."""

AS_GOOD = (1.25, 0.01)
"""A map leaves as little as another if it leaves at most so much more: a line of two parameters also fits the noise."""

ANY_SIZE = 10.0
"""Times by which the factors of conversions that fit alike may differ, if the values tell any of them."""

TIE = 0.03
"""Conversions whose fit differs by less than this, or than half a natural bound, fit alike: what other columns use
decides, then simplicity."""


NEARBY = 0.3
"""Standard deviations of a column by which a fitted map, or a listed conversion, may miss a declared one and be looked
at as that one: beside other class shares a factor of 5 was fitted as 4.73. Whether it explains the window is asked."""


@dataclass(frozen=True)
class _Fit:
    conversion: Conversion
    cost: float


@once_a_case
def conversions(case: Case) -> Maps:
    """The known conversions that bring the window nearer to the healthy ones, of every column that moved."""
    return pruned(case, _best(case))


def alternatives(case: Case, columns: Maps, column: str) -> list[ColumnMap]:
    """Other known conversions of a column that leave the window as near to the healthy ones as the chosen one does.

    Or make it one of them: where healthy windows differ much, which of two is nearer to them says little.
    """
    chosen = columns[column]
    others = [f.conversion.map for f in _candidates(case).get(column, ()) if not same(f.conversion.map, chosen)]
    if not others:
        return []
    left = AS_GOOD[0] * tried(case).total(columns) + AS_GOOD[1]

    def fits(one: ColumnMap) -> bool:
        maps = {**columns, column: one}
        return tried(case).total(maps) <= left or case.stick.judge(InputMap(maps).apply(case.raw)).explained

    return [one for one in dict.fromkeys(others) if fits(one)]


def listed(case: Case, column: str) -> int:
    """How many known conversions fit a column alike."""
    return len(_candidates(case).get(column, ()))


@once_a_case
def _candidates(case: Case) -> dict[str, list[_Fit]]:
    """The known conversions that fit a moved column alike, the nearest first."""
    x, sure = case.encoded, recorded.recovered(case)
    bounds, before = case.stick.bounds, case.judged_raw.distance
    fits: dict[str, list[_Fit]] = {}
    for j, column in enumerate(case.model.features):
        moved = before.marginal[j] > bounds.marginal[j] or before.outside[j] > bounds.outside[j]
        if column in case.numeric and moved:
            cost = before.marginal[j] + 2 * before.outside[j]
            ranking = sorted(_fits(case, x[:, j], j), key=lambda f: f.cost)
            enough = min(HALVED * cost, NEARLY * bounds.marginal[j] + 2 * bounds.outside[j])
            tie = max(TIE, 0.5 * bounds.marginal[j])
            natural = bounds.marginal[j] + 2 * bounds.outside[j]
            good = [f for f in ranking if f.cost <= enough and f.cost <= max(ranking[0].cost + tie, natural)]
            if column in sure:
                good = [f for f in ranking if same(f.conversion.map, sure[column])]
            if good and _one_size(good):
                fits[column] = _on_grid(case, column, good)
    return fits


def _one_size(good: list[_Fit]) -> bool:
    """Whether conversions that fit alike are of about one size; else nothing tells them: rain on few days."""
    sizes = [abs(f.conversion.map.scale) for f in good]
    return max(sizes) <= ANY_SIZE * min(sizes)


def _on_grid(case: Case, column: str, good: list[_Fit]) -> list[_Fit]:
    """Those that bring the values back onto the column's grid, if there are any.

    Not where the values were written so coarsely that some land on it whatever they mean: 24 tenths are no whole.
    """
    j = case.model.features.index(column)
    values, grid = case.present(case.raw, column), case.stick.support.grids[j]
    step = written(values[values != 0])
    if min(grid.step, step) <= 0 or any(abs(f.conversion.map.scale) * step > grid.step * (1 + 1e-6) for f in good):
        return good

    def on(one: ColumnMap) -> bool:
        return float(grid.on(one.apply(values), rounding(case, one, step, j)).mean()) >= 1 - recorded.BACK

    return [f for f in good if on(f.conversion.map)] or good


def _best(case: Case) -> Maps:
    """The best known conversion of every column that moved; columns prefer what their names say, or neighbours use."""
    fits = _candidates(case)
    used = Counter(f.conversion.map.words for good in fits.values() for f in good)

    def order(column: str, fit: _Fit) -> tuple[bool, bool, int, int, float]:
        one = fit.conversion.map
        doubts = not by_declaration(case, column, one), not by_name(case, column, one)
        return *doubts, -used[one.words], fit.conversion.rank, fit.cost

    chosen = {c: min(_likeliest(case, c, good), key=partial(order, c)).conversion.map for c, good in fits.items()}
    answered = {column: maps[-1] for column in case.numeric if (maps := case.answered(column, True))}
    return _signs(case, {**chosen, **answered})


def _likeliest(case: Case, column: str, good: list[_Fit]) -> list[_Fit]:
    """Those that read nothing as what cannot be and after which the column lies where it lay, if there are any."""
    if len(good) < 2 or column in case.code_columns:
        return good
    values, usual = case.present(case.raw, column), case.present(case.stick.pool_frame, column)
    good = [f for f in good if not implausible(f.conversion.map, column, values, usual)] or good
    return [f for f in good if placed(case, column, f.conversion.map.apply(values)).ratio <= 1.0] or good


def _fits(case: Case, values: Floats, j: int) -> list[_Fit]:
    """Every conversion's cost on one column: marginal KS plus twice the share of values never seen."""
    name = case.model.features[j]
    healthy = [case.present(rows, name) for rows in (case.stick.pool_frame, *case.stick.blocks)]
    ranges = np.array([np.quantile(rows, [0.02, 0.98]) for rows in healthy if len(rows)])
    fits = []
    # A missing value was filled in the model's unit already.
    missing = case.raw[name].isna().to_numpy()
    for conversion in plausible(case, j):
        mapped = np.where(missing, values, conversion.map.apply(values))
        # The middle half has to meet a healthy range at all: most conversions fail here, for nothing.
        low, high = np.quantile(mapped, [0.25, 0.75])
        if not len(ranges) or low > ranges[:, 1].max() or high < ranges[:, 0].min():
            continue
        cost = case.stick.ks(mapped, j) + 2 * case.stick.support.outside_column(mapped, j)
        fits.append(_Fit(conversion, cost))
    return fits


def in_declared_units(case: Case, columns: Mapping[str, ColumnMap]) -> Maps:
    """The maps, and instead of one that is near a conversion between declared units that conversion."""
    return {c: _declared_near(case, c, m) or m for c, m in columns.items()}


def _declared_near(case: Case, column: str, one: ColumnMap) -> ColumnMap | None:
    """The declared conversion that does nearly what a map does to a column's rows, if there is one."""
    if column not in case.model.policy.declare.units or by_declaration(case, column, one):
        return None
    values, usual = case.present(case.raw, column), case.present(case.stick.pool_frame, column)
    if not len(values) or not len(usual):
        return None
    middle = np.quantile(values, np.linspace(0.05, 0.95, 19))

    def apart(other: ColumnMap) -> float:
        return float(np.sqrt(((other.apply(middle) - one.apply(middle)) ** 2).mean()))

    known = [c.map for c in plausible(case, case.model.features.index(column)) if by_declaration(case, column, c.map)]
    nearest = min(known, key=apart, default=None)
    return nearest if nearest is not None and apart(nearest) <= NEARBY * float(usual.std()) else None


def _signs(case: Case, chosen: Maps) -> Maps:
    """A flipped sign of a symmetric column leaves its marginal alone; only the joint distribution shows it."""
    maps = dict(chosen)
    judged = case.stick.judge(InputMap(maps).apply(case.raw)) if maps else case.judged_raw
    flip = ColumnMap(-1.0, 0.0, "sign flipped")
    odd = [c for c in judged.moved() if c in case.numeric and c not in maps]
    for column in odd:
        j = case.model.features.index(column)
        centre = abs(case.stick.scale.center[j]) / case.stick.scale.spread[j]
        if centre > 1.0 or case.stick.support.codes[j] is not None:
            continue
        trial = {**maps, column: flip}
        tried = case.stick.judge(InputMap(trial).apply(case.raw))
        if tried.distance.total < HALVED * judged.distance.total:
            maps, judged = trial, tried
    return maps


def pruned(case: Case, columns: Maps) -> Maps:
    """Without maps that bring nothing: the distance must rise when one is left out."""
    kept = dict(columns)
    left = tried(case).total(kept)
    for column in list(columns):
        without = {c: m for c, m in kept.items() if c != column}
        if (total := tried(case).total(without)) <= left:
            kept, left = without, total
    return kept
