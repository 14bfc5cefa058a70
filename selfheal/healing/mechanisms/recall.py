"""Seen before: an earlier version's own window looks like this one, so that version comes back."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from selfheal.adapter import Adapter
from selfheal.drift.yardstick import Judgement, Yardstick
from selfheal.healing.case import Case
from selfheal.healing.fits.maps import DOMINANT, LEFT, column_ratio
from selfheal.healing.fits.matching import NEARLY
from selfheal.healing.mechanism import MEMORY, Mechanism
from selfheal.healing.outcome import Finding


@dataclass(frozen=True)
class _Remembered:
    """How a window looks under an earlier version."""

    version: int
    adapter: Adapter
    judged: Judgement
    natural: bool

    @property
    def total(self) -> float:
        return self.judged.distance.total


def explain(case: Case) -> Finding:
    """The version of memory that explains the window best, if one does."""
    remembered = [_remembered(case, version, adapter, sample) for version, adapter, sample in case.others]
    best = min(remembered, key=lambda r: (not r.natural, r.total))
    name, ratio = best.judged.worst
    share = best.total / max(case.judged.distance.total, 1e-12)
    reason = (
        f"version {best.version} ({'; '.join(best.adapter.describe())}) leaves {share:.0%} of the distance "
        f"(bound {LEFT:.0%}); worst measure: {name} at {ratio:.2f} of its natural bound"
    )
    teacher = case.base.with_adapter(best.adapter).predict_proba(case.raw)
    mapped = best.adapter.input_map or case.model.adapter.input_map
    return Finding(
        "recall", "sensor" if mapped else "concept", best.natural and share < LEFT,
        "distance left", share, LEFT, reason, decision="recall", adapter=best.adapter,
        recall=best.version, teacher=teacher,
    )  # fmt: skip


def _remembered(case: Case, version: int, adapter: Adapter, sample: pd.DataFrame | None) -> _Remembered:
    """The window under an earlier version: its map against today's pool, or against its own window if kept.

    The pool knows what healthy looks like now, in model units, so it judges a map, as leniently as a known conversion:
    where a map takes away most of the distance, some natural drift may stay beside it. What a map does not show
    (another prior, a new pattern) only the version's own window can tell.
    """
    units = adapter.input_map.apply(case.raw)
    now = case.stick.judge(units)
    maps = (case.model.adapter.input_map.columns, adapter.input_map.columns)
    changed = [c for c in case.model.features if maps[0].get(c) != maps[1].get(c)]
    if changed:
        back = max(column_ratio(case, now, c) for c in changed) <= NEARLY and now.ratios["score"] <= NEARLY
        dominant = now.distance.total <= DOMINANT * case.judged.distance.total
        if now.explained or (back and dominant):
            return _Remembered(version, adapter, now, natural=True)
    if sample is None or len(sample) < 50:
        return _Remembered(version, adapter, now, now.explained)
    own = adapter.input_map.apply(sample)
    half = len(own) // 2
    # Two halves of its own window: no spread of years is known for it, so chance alone bounds the distance.
    stick = Yardstick(case.model, [own.iloc[:half], own.iloc[half:], own.iloc[half:]], len(units), case.seed)
    judged = stick.judge(units)
    return _Remembered(version, adapter, judged, judged.explained)


MECHANISM = Mechanism("recall", rank=10, explain=explain, needs=(MEMORY,), foretold=True)
