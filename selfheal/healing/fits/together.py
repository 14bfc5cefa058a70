"""An input map and a logit offset at once: the instrument changed, and the classes come in other shares.

Neither estimate is right before the other: the map is fitted to a pool that is drawn anew with the shifted prior,
the prior is estimated on the mapped window, in turns.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from selfheal.adapter import Adapter, InputMap
from selfheal.healing.case import Case, once_a_case
from selfheal.healing.fits import lines, maps, matching
from selfheal.healing.fits.known import Maps
from selfheal.healing.fits.shares import Shift, believed, estimate, offset, pool_weights
from selfheal.healing.outcome import Finding

ROUNDS = 4
"""Turns of map and prior (the prototypes used six, docs/notes.md; the estimates stand still after three)."""


@once_a_case
def finding(case: Case) -> Finding | None:
    """Whether a map and a prior shift together make the window natural."""
    if not case.prior.all():
        return None  # the share of a class without a reference row cannot be told
    known = matching.conversions(case)
    tried = [_finding(case, known)] if known else []
    for start in maps.starts(case, known):
        for proposal in lines.proposals(case, start):
            if tried and tried[-1].explained:
                break
            tried.append(_finding(case, proposal))
    both = maps.named(case, maps.simplest(tried), partial(_finding, case))
    return _unless_a_map_alone(case, known, both) if both and both.explained and both.trusted else both


def _unless_a_map_alone(case: Case, known: Maps, both: Finding) -> Finding:
    """The finding, and a doubt where a line of one more column explains the window without any other shares.

    A sensor that moved beside a listed conversion once passed for class shares in five of ten worlds, and cost six
    points. Several lines are no such rival: many small ones imitate a shift of the shares.
    """
    for start in maps.starts(case, known):
        for proposal in lines.proposals(case, start):
            more = [c for c, m in proposal.items() if not m.words]
            rival = maps.finding(case, proposal) if len(more) == 1 else None
            if rival is not None and rival.explained:
                doubt = f"{both.reason}; a line of {more[0]} explains it too, and no class shares moved then"
                return replace(both, trusted=False, reason=doubt, question=rival.question)
    return both


def _finding(case: Case, columns: Maps) -> Finding:
    """The finding for a proposed map, once map and prior have settled."""
    shifted, shift, adapter = _settled(case, case, columns)
    alone = maps.finding(shifted, dict(adapter.input_map.columns))
    failed = believed(case, shift, adapter.input_map.apply(case.raw))
    shares = ", ".join(f"{v:.3f}" for v in shift.window)
    return Finding(
        "measurement and prior", "sensor", alone.explained and not failed, alone.measure, alone.value, alone.bound,
        f"{alone.reason}; class shares → {shares}" + "".join(f"; {why}" for why in failed),
        adapter=adapter, teacher=case.base.with_adapter(adapter).predict_proba(case.raw), trusted=alone.trusted,
        refit=lambda rows: _settled(case, case.part(rows), dict(adapter.input_map.columns))[2], question=alone.question,
        answered=alone.answered,
    )  # fmt: skip


def _settled(case: Case, part: Case, columns: Maps) -> tuple[Case, Shift, Adapter]:
    """Map and prior of some of the rows, in turns; with them the case against the pool under that prior."""
    input_map = InputMap(columns)
    for _ in range(ROUNDS):
        shift = estimate(case, input_map.apply(part.raw))
        shifted = replace(part, stick=case.stick.resampled(pool_weights(case, shift)))
        input_map = lines.refitted(shifted, columns).input_map
    return shifted, shift, Adapter(input_map, logit_offset=offset(case, shift))
