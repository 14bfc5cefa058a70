"""The instrument changed, not the world: a unit, a scale, an offset, a sign. Undone at the input, in words."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from selfheal.adapter import ColumnMap, InputMap
from selfheal.healing.case import Case
from selfheal.healing.fits import lines, maps, matching, recorded, together
from selfheal.healing.fits.known import Maps, by_declaration
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding

NEIGHBOURS = 4
"""Conversions beside the likeliest that are tried; of factors near 1 the listed ones lie so close."""

FEW = 4
"""Columns of a map up to which one of them under another conversion is tried: of many, one is not what fails, and each
try asks for the other conversions of all of them (64 pixels half as bright: 300 s, 18 without)."""


def explain(case: Case) -> Finding | None:
    """What a map alone explains; or a map of fewer columns with a prior shift, which many small lines can imitate."""
    alone = maps.named(case, _alone(case), partial(maps.finding, case))
    if alone is None or not alone.explained or _fitted(alone) < 2 or not UNUSUAL_AS_SENT.met(case):
        return alone
    both = together.finding(case)
    # At a tie too: shares that pass their own tests are likelier than a second sensor that moved by a hair.
    return both if both and both.explained and both.trusted and _fitted(both) < _fitted(alone) else alone


def _fitted(finding: Finding) -> int:
    """Columns whose map is no known conversion."""
    return sum(not m.words for m in finding.adapter.input_map.columns.values()) if finding.adapter else 0


def _alone(case: Case) -> Finding | None:
    """Whether known conversions, or fitted maps of declared columns, make the window natural.

    Columns whose values come back onto their grid are proof by themselves; what moved beside them must then explain
    itself, and what it leaves is natural drift.
    """
    sure = recorded.recovered(case)
    if not sure or recorded.refused(case, sure):
        return _likely(case)
    known = {**sure, **recorded.neighbours(case, sure)}
    beside = _likely(replace(case, raw=InputMap(known).apply(case.raw)))
    more = beside.adapter.input_map.columns if beside and beside.adapter and beside.explained and beside.trusted else {}
    columns = {**more, **known}
    finding = maps.finding(case, columns, proven=known)
    reason = (
        "; ".join(InputMap(columns).describe()) + f"; the values of {', '.join(sure)} are known ones again, and under "
    )
    reason += "no other known conversion"
    if finding.explained:
        return replace(finding, proven=not more, reason=reason)
    # The grid alone proves nothing: a fact that its owner can tell, where the conversion helps at all.
    likely = _likely(case)
    if likely and likely.explained:
        return likely
    return replace(finding, explained=True, trusted=False, reason=f"{reason}, but {finding.reason}")


def _likely(case: Case) -> Finding | None:
    """What the distributions say."""
    if not UNUSUAL_AS_SENT.met(case):
        return None
    known = matching.conversions(case)
    tried = [maps.finding(case, known)] if known else []
    if tried and not tried[0].explained:
        tried += _neighbours(case, known)
    if tried and tried[-1].explained and not maps.expected(case, known):
        return maps.simplest(tried)
    for start in maps.starts(case, known):
        for proposal in lines.proposals(case, start):
            tried.append(maps.finding(case, proposal))
            if tried[-1].explained:
                break
    return _listed_first(case, known, maps.simplest(tried))


def _neighbours(case: Case, known: Maps) -> list[Finding]:
    """The first conversion of one column beside the likeliest that explains the window: 2.20 where 2.24 is near it.

    By itself a column may not tell them; beside a column that it nearly determines, the model's score does.
    """
    for column in known if len(known) <= FEW else ():
        for one in matching.alternatives(case, known, column)[:NEIGHBOURS]:
            finding = maps.finding(case, {**known, column: one})
            if finding.explained:
                return [finding]
    return []


def _listed_first(case: Case, known: Maps, finding: Finding | None) -> Finding | None:
    """The finding; or a known conversion that would be it but for its place, with the line as another answer.

    Who is asked knows units, and no lines of six digits.
    """
    if finding is None or not finding.explained or finding.trusted or finding.adapter is None:
        return finding
    fitted = finding.adapter.input_map.columns
    known = matching.in_declared_units(case, known)
    if not known or known.keys() != fitted.keys() or not all(_stands_out(case, c, m) for c, m in known.items()):
        return finding
    listed = maps.finding(case, known, beside_drift=True, rival={c: m for c, m in fitted.items() if not m.words})
    return listed if listed.explained else finding


def _stands_out(case: Case, column: str, one: ColumnMap) -> bool:
    """Whether a conversion is likelier than a line near it, wherever the column then lies."""
    return maps.far(one) or bool(one.offset) or by_declaration(case, column, one)


MECHANISM = Mechanism("measurement", rank=50, explain=explain, foretold=True, beside_faults=True)
