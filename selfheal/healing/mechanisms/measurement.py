"""The instrument changed, not the world: a unit, a scale, an offset, a sign. Undone at the input, in words.

A known conversion needs no declaration: nothing in nature multiplies a column by exactly 1.8 and adds 32, and lands
on the old grid of tenths. A free affine map could as well be a population that moved (the same p(x)), so it is
believed where the owner declared the column as ``measurement``, and otherwise audited.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.drift import stats
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import Judgement
from selfheal.healing.case import Case
from selfheal.healing.conversions import CODE_SHIFTS, CONVERSIONS, HOUR_SHIFTS, Conversion
from selfheal.healing.outcome import Finding

LEFT = 0.5
"""A map has to take away at least half of the distance to the healthy windows ..."""

DOMINANT = 0.3
"""... and 70 % of it where something else moved at the same time and stays unusual (HEALING)."""

HALF_GAIN = 0.2
"""Each half in time must show at least this share of the whole gain: a fault that began mid-window waits."""

NEARLY = 1.5
"""A conversion is proposed while the column's KS is below this many natural bounds: other columns' maps, or a prior
that moved too, may still bring it down. The whole proposal is held to the bounds themselves."""

TIE = 0.03
"""Conversions whose fit differs by less than this, or than half a natural bound, fit alike: what other columns use
decides, then simplicity."""


@dataclass(frozen=True)
class _Fit:
    conversion: Conversion
    cost: float


def explain(case: Case) -> Finding | None:
    """Whether known conversions, or affine maps of declared columns, make the window natural."""
    if case.judged_raw.explained:
        return None
    named = _pruned(case, _named(case))
    finding = _finding(case, named, listed=True)
    if finding is not None and finding.explained:
        return finding
    free = _pruned(case, _affine(case, named))
    other = _finding(case, free, listed=False) if set(free) - set(named) else None
    return other if other is not None and (finding is None or other.explained) else finding


def _finding(case: Case, columns: dict[str, ColumnMap], listed: bool) -> Finding | None:
    if not columns:
        return None
    maps = InputMap(columns)
    failed, share = refused(case, maps, listed)
    declared = set(columns) <= set(case.model.policy.declare.measurement)
    adapter = Adapter(input_map=maps)
    told = "; ".join(maps.describe())
    if not listed and not declared:
        told += "; not a known conversion and not declared as measurement: the population may have moved instead"
    return Finding(
        "measurement", "sensor", not failed, "distance left", share, LEFT, told + "".join(f"; {why}" for why in failed),
        adapter=adapter, teacher=case.base.proba_of_units(maps.apply(case.raw)), trusted=listed or declared,
        refit=None if listed else lambda rows: _refitted(case.part(rows), columns),
    )  # fmt: skip


def refused(case: Case, maps: InputMap, listed: bool = True) -> tuple[list[str], float]:
    """Why a map does not explain the window (empty if it does), and the share of the distance that it leaves.

    A known conversion may leave some natural drift beside it (``NEARLY``); a fitted map could have absorbed it.
    """
    before, after = case.judged_raw, case.stick.judge(maps.apply(case.raw))
    share = after.distance.total / max(before.distance.total, 1e-12)
    own = _own(case, after, maps) / max(_own(case, before, maps), 1e-12)
    limit = NEARLY if listed else 1.0
    still = [c for c in maps.columns if column_ratio(case, after, c) > limit]
    whole = max(("joint", "auc"), key=lambda k: after.ratios[k])
    gains = _half_gains(case, maps)
    checks = (
        (min(share, own) <= LEFT, f"{share:.0%} of the distance is left (bound {LEFT:.0%})"),
        (not still, f"still unusual after it: {', '.join(still)}"),
        (after.ratios["score"] <= limit, f"the model's score stays at {after.ratios['score']:.2f} (bound {limit:g})"),
        (after.ratios[whole] <= 1.0 or share <= DOMINANT, f"{whole} stays at {after.ratios[whole]:.2f} of its bound"),
        (min(gains) >= HALF_GAIN, f"one half of the window shows {min(gains):.0%} of the gain (bound {HALF_GAIN:.0%})"),
    )
    return [why for ok, why in checks if not ok], min(share, own)


def _own(case: Case, judged: Judgement, maps: InputMap) -> float:
    """``ΣD + 2ΣV`` of the mapped columns alone: other columns may drift naturally at the same time."""
    mapped = [case.model.features.index(c) for c in maps.columns]
    return float(judged.distance.marginal[mapped].sum() + 2 * judged.distance.outside[mapped].sum())


def column_ratio(case: Case, judged: Judgement, column: str) -> float:
    """How unusual one column is by itself: its marginal and its unseen values, over their bounds."""
    j = case.model.features.index(column)
    bounds = case.stick.bounds
    return float(max(judged.distance.marginal[j] / bounds.marginal[j], judged.distance.outside[j] / bounds.outside[j]))


def _half_gains(case: Case, maps: InputMap) -> list[float]:
    """Relative fall of the distance in each half in time, over that of the whole."""
    middle = len(case.raw) // 2
    mapped = maps.apply(case.raw)
    gains = []
    for rows in (slice(0, middle), slice(middle, None)):
        before = case.stick.distance(case.raw.iloc[rows]).total
        gains.append(before - case.stick.distance(mapped.iloc[rows]).total)
    whole = case.judged_raw.distance.total - case.stick.distance(mapped).total
    return [gain / whole if whole > 0 else 0.0 for gain in gains]


# ------------------------------------------------------------------ known conversions


def _named(case: Case) -> dict[str, ColumnMap]:
    """The best known conversion of every column that moved; columns prefer what their neighbours use."""
    x = case.stick.encode(case.raw)
    bounds, before = case.stick.bounds, case.judged_raw.distance
    fits: dict[str, list[_Fit]] = {}
    for j, column in enumerate(case.model.features):
        moved = before.marginal[j] > bounds.marginal[j] or before.outside[j] > bounds.outside[j]
        if column in case.numeric and moved:
            cost = before.marginal[j] + 2 * before.outside[j]
            found = sorted(_fits(case, x[:, j], j), key=lambda f: f.cost)
            enough = min(LEFT * cost, NEARLY * bounds.marginal[j] + 2 * bounds.outside[j])
            tie = max(TIE, 0.5 * bounds.marginal[j])
            good = [f for f in found if f.cost <= min(enough, found[0].cost + tie)]
            if good:
                fits[column] = good
    used = Counter(f.conversion.map.words for good in fits.values() for f in good)
    chosen = {
        column: min(good, key=lambda f: (-used[f.conversion.map.words], f.conversion.rank, f.cost)).conversion.map
        for column, good in fits.items()
    }
    return _signs(case, chosen)


def _fits(case: Case, values: Floats, j: int) -> list[_Fit]:
    """Every conversion's cost on one column: marginal KS plus twice the share of values never seen."""
    pool = case.stick.pool[:, j]
    found = []
    for conversion in _plausible(case, j):
        mapped = conversion.map.apply(values)
        if not _ranges_meet(mapped, pool):
            continue
        cost = stats.ks(mapped, pool) + 2 * case.stick.support.outside_column(mapped, j)
        found.append(_Fit(conversion, cost))
    return found


def _plausible(case: Case, j: int) -> tuple[Conversion, ...]:
    codes = case.stick.support.codes[j]
    if codes is None:
        return CONVERSIONS
    hours = HOUR_SHIFTS if codes.min() >= 0 and codes.max() <= 23 and len(codes) > 12 else ()
    return CONVERSIONS + CODE_SHIFTS + hours


def _ranges_meet(mapped: Floats, pool: Floats) -> bool:
    """Whether the middle halves overlap at all: most conversions fail here, for nothing."""
    low, high = np.quantile(mapped, [0.25, 0.75])
    pool_low, pool_high = np.quantile(pool, [0.02, 0.98])
    return bool(low <= pool_high and high >= pool_low)


def _signs(case: Case, chosen: dict[str, ColumnMap]) -> dict[str, ColumnMap]:
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
        if tried.distance.total < LEFT * judged.distance.total:
            maps, judged = trial, tried
    return maps


def _pruned(case: Case, columns: dict[str, ColumnMap]) -> dict[str, ColumnMap]:
    """Without maps that bring nothing: the distance must rise when one is left out."""
    kept = dict(columns)
    for column in list(columns):
        without = {c: m for c, m in kept.items() if c != column}
        total = case.stick.distance(InputMap(kept).apply(case.raw)).total
        if case.stick.distance(InputMap(without).apply(case.raw)).total <= total:
            kept = without
    return kept


# ------------------------------------------------------------------ free affine maps


def _affine(case: Case, named: dict[str, ColumnMap]) -> dict[str, ColumnMap]:
    """Named maps plus an affine map for each further column that moved: declared ones first, all if none is."""
    x = case.stick.encode(InputMap(named).apply(case.raw))
    judged = case.stick.judge(InputMap(named).apply(case.raw))
    declared = set(case.model.policy.declare.measurement)
    bounds = case.stick.bounds.marginal
    moved = [
        column
        for j, column in enumerate(case.model.features)
        if column in case.numeric
        and column not in case.code_columns
        and judged.distance.marginal[j] > bounds[j]
        and (column in declared or not declared)
    ]
    free = {}
    for column in moved:
        j = case.model.features.index(column)
        fitted = affine_fit(x[:, j], case.stick.pool[:, j])
        if fitted is not None:
            before = named.get(column)
            free[column] = fitted if before is None else _compose(before, fitted)
    return {**named, **free}


def affine_fit(values: Floats, pool: Floats) -> ColumnMap | None:
    """``s·x + c`` that lays the 4-96 % quantiles of ``values`` onto the pool's (least squares), or None if constant.

    The tails are left out: they hold the wild rows, and clipping.
    """
    levels = np.linspace(0.04, 0.96, 47)
    source, target = np.quantile(values, levels), np.quantile(pool, levels)
    if np.ptp(source) <= 1e-12 or np.ptp(target) <= 1e-12:
        return None
    scale, offset = np.polyfit(source, target, 1)
    return ColumnMap(float(scale), float(offset)) if scale > 0 else None


def _refitted(case: Case, columns: dict[str, ColumnMap]) -> Adapter:
    """The free maps among ``columns`` fitted again on these rows; named ones stay."""
    x = case.stick.encode(case.raw)
    again = {}
    for column, known in columns.items():
        j = case.model.features.index(column)
        again[column] = known if known.words else affine_fit(x[:, j], case.stick.pool[:, j]) or known
    return Adapter(input_map=InputMap(again))


def _compose(first: ColumnMap, then: ColumnMap) -> ColumnMap:
    return replace(then, scale=first.scale * then.scale, offset=first.offset * then.scale + then.offset)
