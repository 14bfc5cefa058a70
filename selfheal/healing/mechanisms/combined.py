"""The instrument changed and the classes come in other shares, at the same time: an input map and a logit offset.

Neither estimate is right before the other: the map is fitted to a pool that is drawn anew with the shifted prior,
the prior is estimated on the mapped window, in turns.
"""

from __future__ import annotations

from dataclasses import replace

from selfheal.adapter import Adapter, InputMap
from selfheal.healing.case import Case
from selfheal.healing.mechanisms import matching, measurement
from selfheal.healing.mechanisms.prior import believed, estimate, offset, pool_weights
from selfheal.healing.outcome import Finding

ROUNDS = 4
"""Turns of map and prior (HEALING used six; the estimates stand still after three)."""


def explain(case: Case) -> Finding | None:
    """Whether a map and a prior shift together make the window natural."""
    if case.judged_raw.explained:
        return None
    shifted, maps = case, _maps(case, dominant=True)
    for _ in range(ROUNDS):
        if not maps:
            return None
        shift = estimate(case, InputMap(maps).apply(case.raw))
        shifted = replace(case, stick=case.stick.resampled(pool_weights(case, shift)))
        maps = _maps(shifted, dominant=False)
    maps = matching.pruned(shifted, maps)
    if not maps:
        return None
    alone = measurement.found(shifted, maps)
    failed = believed(case, shift)
    adapter = Adapter(alone.adapter.input_map if alone.adapter else InputMap(), logit_offset=offset(case, shift))
    shares = ", ".join(f"{v:.3f}" for v in shift.window)
    return Finding(
        "measurement and prior", "sensor", alone.explained and not failed, alone.measure, alone.value, alone.bound,
        f"{alone.reason}; class shares → {shares}" + "".join(f"; {why}" for why in failed),
        adapter=adapter, teacher=case.base.with_adapter(adapter).predict_proba(case.raw), trusted=alone.trusted,
        refit=lambda rows: _refitted(shifted, case, maps, rows),
    )  # fmt: skip


def _maps(case: Case, dominant: bool) -> matching.Maps:
    return matching.fitted(case, matching.named(case), dominant)


def _refitted(shifted: Case, case: Case, maps: matching.Maps, rows: measurement.Rows) -> Adapter:
    again = matching.refitted(shifted.part(rows), maps)
    shift = estimate(case, again.input_map.apply(case.raw.iloc[rows]))
    return replace(again, logit_offset=offset(case, shift))
