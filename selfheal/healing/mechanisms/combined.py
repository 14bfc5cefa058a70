"""The instrument changed and the classes come in other shares, at the same time: an input map and a logit offset.

Neither estimate is right before the other: the map is fitted to a pool that is drawn anew with the shifted prior,
the prior is estimated on the mapped window, in turns.
"""

from __future__ import annotations

from dataclasses import replace

from selfheal.adapter import Adapter, InputMap
from selfheal.healing.case import Case
from selfheal.healing.mechanisms import fitting, matching, measurement
from selfheal.healing.mechanisms.prior import Shift, believed, estimate, offset, pool_weights
from selfheal.healing.outcome import Finding

ROUNDS = 4
"""Turns of map and prior (HEALING used six; the estimates stand still after three)."""


def measured(case: Case) -> Finding | None:
    """What a map alone explains; or a map of fewer columns with a prior shift, which many small lines can imitate."""
    alone = measurement.explain(case)
    if alone is None or not alone.explained or _fitted(alone) < 2:
        return alone
    both = explain(case)
    # At a tie too: shares that pass their own tests are likelier than a second sensor that moved by a hair.
    return both if both and both.explained and both.trusted and _fitted(both) < _fitted(alone) else alone


def _fitted(found: Finding) -> int:
    """Columns whose map is no known conversion."""
    return sum(not m.words for m in found.adapter.input_map.columns.values()) if found.adapter else 0


def explain(case: Case) -> Finding | None:
    """Whether a map and a prior shift together make the window natural."""
    if case.judged_raw.explained:
        return None
    known = matching.pruned(case, matching.named(case))
    tried = [_found(case, known)] if known else []
    for start in measurement.starts(case, known):
        for maps in fitting.proposals(case, start):
            if tried and tried[-1].explained:
                break
            tried.append(_found(case, maps))
    return measurement.simplest(tried)


def _found(case: Case, maps: matching.Maps) -> Finding:
    """The finding for a proposed map, once map and prior have settled."""
    shifted, shift, adapter = _settled(case, case, maps)
    alone = measurement.found(shifted, dict(adapter.input_map.columns))
    failed = believed(case, shift, adapter.input_map.apply(case.raw))
    shares = ", ".join(f"{v:.3f}" for v in shift.window)
    return Finding(
        "measurement and prior", "sensor", alone.explained and not failed, alone.measure, alone.value, alone.bound,
        f"{alone.reason}; class shares → {shares}" + "".join(f"; {why}" for why in failed),
        adapter=adapter, teacher=case.base.with_adapter(adapter).predict_proba(case.raw), trusted=alone.trusted,
        refit=lambda rows: _settled(case, case.part(rows), dict(adapter.input_map.columns))[2],
    )  # fmt: skip


def _settled(case: Case, part: Case, maps: matching.Maps) -> tuple[Case, Shift, Adapter]:
    """Map and prior of some of the rows, in turns; with them the case against the pool under that prior."""
    input_map = InputMap(maps)
    for _ in range(ROUNDS):
        shift = estimate(case, input_map.apply(part.raw))
        shifted = replace(part, stick=case.stick.resampled(pool_weights(case, shift)))
        input_map = fitting.refitted(shifted, maps).input_map
    return shifted, shift, Adapter(input_map, logit_offset=offset(case, shift))
