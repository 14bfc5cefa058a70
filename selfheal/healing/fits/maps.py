"""The instrument changed, not the world: a unit, a scale, an offset, a sign. Undone at the input, in words.

A known conversion needs no declaration: nothing in nature multiplies a column by exactly 1.8 and adds 32, and lands
on the old grid of tenths. A free affine map could as well be a population that moved (the same p(x)), so it is
believed where the owner declared the column as ``measurement``, and otherwise audited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.drift.yardstick import Judgement
from selfheal.healing.case import Case
from selfheal.healing.conversions import same
from selfheal.healing.facts import about_units
from selfheal.healing.fits import atoms, lines, matching, rivals
from selfheal.healing.fits.columns import as_ever
from selfheal.healing.fits.known import Maps, against_name, stepped
from selfheal.healing.fits.matching import AS_GOOD, NEARLY
from selfheal.healing.fits.placed import NEAR, QUANTILES, Placed, leeway, placed, too_few
from selfheal.healing.fits.recorded import brings_codes
from selfheal.healing.fits.shares import departure
from selfheal.healing.outcome import Finding

Rows = NDArray[np.int64]

LEFT = 0.5
"""A map has to take away at least half of the distance to the healthy windows ..."""

DOMINANT = 0.3
"""... and 70 % of it where something else moved at the same time and stays unusual (docs/notes.md)."""

STRONG = 2.0
"""A changed unit moves a column by at least this many natural bounds; a week's demand once rose as if by miles."""

HALF_GAIN = 0.2
"""Each half in time must show at least this share of the whole gain: a fault that began mid-window waits."""

PART = 0.75
"""Share of rows as ever from which a line or a curve may be a part of the rows that went elsewhere: a fifth who attack,
and chance. An instrument that moved by .3 standard deviations leaves .73 so, by .5 half of them ..."""

BY_FAR = 0.5
"""... so a map that moves some rows by so many standard deviations left others where they were; a smaller one, that may
be the instrument, does honest rows little harm."""

SEEN = 1.5
"""Standard errors from which class shares may have moved under a line that was fitted for such a model. On five public
tables, of which three have such models, 23 of 30 declared sensors go out so (8 when all were asked about), and where
the shares moved too, none was worse than the model on rows that no sensor had touched."""

LOUD = 3.0
"""The same for any model: in five worlds a line of a sensor alone left 1.7 at most, and where the shares had moved too
the shift of both was right (20 windows each; without the bound one was harmed)."""

NEAR_PLACE = 0.05
"""Share of a place far from zero within which a column is back beside drift: listed factors lie farther apart."""

PROVEN = 10.0
"""Natural bounds within which a window must lie once a conversion is undone that its values prove: the day may be
unlike the days before. A wrong one that landed on the grid lay at 94."""

SKILL = 1 / 3
"""A model that knows little more than the constant does not show a prior that moved too: a right line then made it
worse in 3 of 12 cases of one world with 18 %, and in one of another with 30 %; other worlds had 51 % and more."""


def expected(case: Case, maps: Maps) -> set[str]:
    """Mapped columns that are declared as measurement."""
    return set(maps) & case.model.measured


def starts(case: Case, known: Maps) -> list[Maps]:
    """Maps beside which others are fitted: the known ones, and without those of declared columns.

    Any conversion near the truth explains a declared column that has merely shifted; then the fit does so better.
    """
    declared = expected(case, known)
    return [known, {c: m for c, m in known.items() if c not in declared}] if declared else [known]


def simplest(tried: list[Finding]) -> Finding | None:
    """The first finding that explains the window nearly as well as the best one does; the best one if none explains."""
    explained = [f for f in tried if f.explained]
    if not explained:
        return min(tried, key=lambda f: f.value, default=None)
    least = min(f.value for f in explained)
    return next(f for f in explained if f.value <= AS_GOOD[0] * least + AS_GOOD[1])


def named(case: Case, finding: Finding | None, again: Callable[[Maps], Finding]) -> Finding | None:
    """A finding by conversions between declared units instead of maps near them, where that explains the window too.

    Their owner has said which units there are: where the rows cannot tell such a conversion from a line, it is none.

    Parameters
    ----------
    again
        Makes the finding of maps.
    """
    if finding is None or not finding.explained or finding.adapter is None:
        return finding
    columns = dict(finding.adapter.input_map.columns)
    instead = matching.in_declared_units(case, columns)
    by_name = again(instead) if instead != columns else finding
    return by_name if by_name.explained and (by_name.trusted or not finding.trusted) else finding


def finding(
    case: Case,
    columns: Maps,
    proven: Collection[str] = (),
    *,
    beside_drift: bool = False,
    rival: Mapping[str, ColumnMap] = MappingProxyType({}),
) -> Finding:
    """The finding for a proposed map; trusted where every column is a known conversion or declared.

    Parameters
    ----------
    proven
        Columns whose very values tell the conversion.
    beside_drift
        Whether the rest may be natural drift: score and joint may stay unusual where the map leaves :data:`DOMINANT` of
        that, and a column that is not back in its place is a doubt.
    rival
        Maps of columns that the answer may be, too.
    """
    maps = InputMap(columns)
    listed = all(m.words for m in columns.values())
    places = _places(case, columns, proven)
    limit = (PROVEN if proven else NEARLY) if listed else 1.0
    failed, share = _refused(case, maps, limit, set(proven), beside_drift=beside_drift)
    answered = {c for c in columns if any(same(m, columns[c]) or not columns[c].words for m in case.answered(c, True))}
    sure = {*proven} | answered
    free = {c for c, m in columns.items() if not m.words} - sure
    expect = case.model.measured
    undeclared, natural = free - expect, {c for c, m in columns.items() if not (far(m) or m.offset or m.scale < 0)}
    others, alike = rivals.of_columns(case, columns, sure)
    others = {c: [*other, rival[c]] if c in rival else other for c, other in others.items()}
    room = {c: NEARLY if stepped(case, c, columns[c]) else 1.0 for c in places}
    populated = {c for c in columns if c not in places or places[c].near > NEAR_PLACE}  # where a population may live
    back = {c for c, p in places.items() if beside_drift and (p.near <= NEAR_PLACE or p.ratio <= leeway(columns[c]))}
    misplaced = {c: p.ratio for c, p in places.items() if c not in answered | back and p.ratio > room[c]}
    if misplaced and not beside_drift:
        failed.append(
            "not back in place and width: " + ", ".join(f"{c} at {z:.1f} of its bound" for c, z in misplaced.items())
        )
    dim = {c: where.width for c, where in places.items() if c not in sure | expect and too_few(columns, c, where)}
    denied = {c for c in columns if case.answered(c, False)} - sure
    kept = {c: _as_ever(case, c, columns[c]) for c in sorted(free)}
    doubts = {
        "no known conversion and not declared as measurement, so the population may have moved instead": undeclared,
        "moved together with other columns as always, so the population may have moved instead": {
            c for c, m in columns.items() if c in free | (natural - sure - expect) and not _alone(case, c)
        },
        **{f"{share:.0%} of its rows may be as ever: a part moved": {c} for c, share in kept.items() if share >= PART},
        "not back in its place, as if the window were unlike the ones before": set(misplaced)
        if beside_drift
        else set(),
        **_beside_shares(case, maps, free),
        **{f"known to {width:.0%} of its width, so a line near it would not show": {c} for c, width in dim.items()},
        "its codes are those it had, so the population may have moved instead": {
            c for c, m in columns.items() if c in case.code_columns - sure and not brings_codes(case, c, m)
        },
        "no unit of what its name says": {c for c in populated - sure if against_name(case, c, columns[c])},
        "its owner denies another conversion that is near": denied,
        **{f"{rivals.either(maps)} fits as well": {c} for c, maps in others.items() if maps},
    }
    words = "; ".join(maps.describe())
    words += "".join(f"; {', '.join(sorted(which))}: {why}" for why, which in doubts.items() if which)
    words += "".join(
        f"; {c}: {rivals.either(maps)} fits as well, and answers alike" for c, maps in alike.items() if maps
    )
    words += "".join(f"; {why}" for why in failed)
    return Finding(
        "measurement", "sensor", not failed, "distance left", share, LEFT, words,
        adapter=Adapter(input_map=maps), teacher=case.base.proba_of_units(maps.apply(case.raw)),
        trusted=not any(doubts.values()),
        refit=None if listed else lambda rows: lines.refitted(case.part(rows), columns),
        question=about_units(columns, others, case.when), answered=bool(answered),
    )  # fmt: skip


def _beside_shares(case: Case, maps: InputMap, free: set[str]) -> dict[str, set[str]]:
    """Why fitted lines (of columns ``free``) may have taken up what other class shares did; else empty."""
    testable = bool(free) and bool(case.prior.all())  # the share of a class without a reference row cannot be told
    apart = departure(case, maps.apply(case.raw)) if testable else 0.0
    if apart > LOUD:
        return {f"class shares lie {apart:.1f} standard errors off under it (bound {LOUD:g}), so they moved too": free}
    if apart <= SEEN or case.skill >= SKILL:
        return {}
    weak = f"a model that takes away {case.skill:.0%} of the constant's log-loss (at least {SKILL:.0%})"
    return {f"fitted for {weak}, and a prior may have moved too": free}


def _as_ever(case: Case, column: str, one: ColumnMap) -> float:
    """The share of a column's rows that may be as ever, where a map moves some of them by far; else 0."""
    values, pool = (case.present(rows, column) for rows in (case.raw, case.stick.pool_frame))
    if not len(values) or not len(pool):
        return 0.0
    middle = np.quantile(values, QUANTILES)
    moved = np.abs(one.apply(middle) - middle).max() / max(float(pool.std()), 1e-12)
    return as_ever(values, pool) if moved >= BY_FAR else 0.0


def _refused(
    case: Case,
    maps: InputMap,
    limit: float,
    proven: Collection[str],
    *,
    beside_drift: bool,
) -> tuple[list[str], float]:
    """Why a map does not explain the window (empty if it does), and the share of the distance that it leaves.

    A known conversion may leave some natural drift beside it; a fitted map could have absorbed it.

    Parameters
    ----------
    limit
        Natural bounds within which columns and score must lie after it.
    proven
        Columns whose values show that they were converted, however little that moves them.
    """
    before, after = case.judged_raw, case.stick.judge(maps.apply(case.raw))
    share = after.distance.total / max(before.distance.total, 1e-12)
    own = _own(case, after, maps) / max(_own(case, before, maps), 1e-12)
    # No fitted line can hit a recording grid; only a known conversion brings back the very values.
    still = [
        c for c, m in maps.columns.items()
        if (column_ratio(case, after, c) if m.words else _marginal(case, after, c)) > limit
    ]  # fmt: skip
    whole = max(("joint", "auc"), key=lambda k: after.ratios[k])
    # A flipped sign, and what its owner expects, may show beside the others only; the rest could be the season.
    beside = {c for c, m in maps.columns.items() if m.scale < 0} | expected(case, dict(maps.columns))
    strength = max(before.columns[c] if c in beside else column_ratio(case, before, c) for c in maps.columns)
    # Where a line that is laid on atoms leads, nothing of the drift beside it was fitted.
    exact = not proven and all(atoms.brought_back(case, c, m) for c, m in maps.columns.items())
    joint = NEARLY if exact else max(1.0, limit / NEARLY)
    rest = DOMINANT if beside_drift else 0.0
    score = max(limit, rest * before.ratios["score"])
    checks = (
        (
            strength >= STRONG or bool(proven),
            f"the columns were at {strength:.2f} of their bounds before it (at least {STRONG:g})",
        ),
        (min(share, own) <= LEFT or bool(proven), f"{share:.0%} of the distance is left (bound {LEFT:.0%})"),
        (not still, f"still unusual after it: {', '.join(still)}"),
        (after.ratios["score"] <= score, f"the model's score stays at {after.ratios['score']:.2f} (bound {score:.3g})"),
        (
            after.ratios[whole] <= max(joint, rest * before.ratios[whole]) or share <= DOMINANT,
            f"{whole} stays at {after.ratios[whole]:.2f} of its bound",
        ),
    )
    failed = [why for ok, why in checks if not ok]
    if not failed and not proven and (least := min(_half_gains(case, maps))) < HALF_GAIN:
        failed.append(f"one half of the window shows {least:.0%} of the gain (bound {HALF_GAIN:.0%})")
    return failed, min(share, own)


def _places(case: Case, columns: Mapping[str, ColumnMap], proven: Collection[str]) -> dict[str, Placed]:
    """Where columns lie after known conversions that their values do not prove.

    A conversion has nothing that could fit itself to the window: what does not lie as before went through another.
    """
    codes = case.code_columns
    conversions = {c: m for c, m in columns.items() if m.words and m.modulo is None and c not in {*proven, *codes}}
    return {c: placed(case, c, m.apply(case.present(case.raw, c))) for c, m in conversions.items()}


def far(one: ColumnMap) -> bool:
    """Whether a factor is beyond what a recalibration, or nature, could have made of a column."""
    return bool(one.words) and one.scale > 0 and bool(abs(np.log(one.scale)) >= NEAR)


def beyond(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether nothing else could have made a column so: by its factor, or by the place far from zero that is back."""
    if far(one) or not one.words or one.offset or one.scale <= 0:
        return far(one)
    return placed(case, column, one.apply(case.present(case.raw, column))).near <= NEAR_PLACE


def _own(case: Case, judged: Judgement, maps: InputMap) -> float:
    """``ΣD + 2ΣV`` of the mapped columns alone: other columns may drift naturally at the same time."""
    mapped = [case.model.features.index(c) for c in maps.columns]
    return float(judged.distance.marginal[mapped].sum() + 2 * judged.distance.outside[mapped].sum())


def column_ratio(case: Case, judged: Judgement, column: str) -> float:
    """How unusual one column is by itself: its marginal and its unseen values, over their bounds."""
    j = case.model.features.index(column)
    unseen = float(judged.distance.outside[j] / case.stick.bounds.outside[j])
    return max(_marginal(case, judged, column), unseen)


def _alone(case: Case, column: str) -> bool:
    """Whether a column is unusual given the others too.

    An instrument leaves its neighbours behind; where a population moves, columns keep their relations. In thirty worlds
    46 declared sensors were promoted under this rule, and the two harmful fits to a tilted population were not.
    """
    j = case.model.features.index(column)
    return bool(case.judged_raw.distance.residual[j] > case.stick.bounds.residual[j])


def _marginal(case: Case, judged: Judgement, column: str) -> float:
    j = case.model.features.index(column)
    return float(judged.distance.marginal[j] / case.stick.bounds.marginal[j])


def _half_gains(case: Case, maps: InputMap) -> list[float]:
    """Relative fall of the distance in each half in time, over that of the whole."""
    middle = len(case.raw) // 2
    mapped = maps.apply(case.raw)
    gains = []
    for rows in (slice(0, middle), slice(middle, None)):
        gains.append(case.stick.total(case.raw.iloc[rows]) - case.stick.total(mapped.iloc[rows]))
    whole = case.judged_raw.distance.total - case.stick.total(mapped)
    return [gain / whole if whole > 0 else 0.0 for gain in gains]
