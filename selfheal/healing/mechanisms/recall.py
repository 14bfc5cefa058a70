"""Seen before: an earlier version's own window looks like this one, so that version comes back."""

from __future__ import annotations

import pandas as pd

from selfheal.adapter import Adapter
from selfheal.drift.yardstick import Judgement, Yardstick
from selfheal.healing.case import Case
from selfheal.healing.outcome import Finding


def explain(case: Case) -> Finding | None:
    """The version of memory that explains the window best, if one does."""
    found = []
    for version, adapter, sample in case.memory:
        if adapter.digest == case.model.adapter.digest:
            continue
        judged = _judge(case, adapter, sample)
        found.append((judged.worst[1], judged.distance.total, version, adapter))
    if not found:
        return None
    ratio, total, version, adapter = min(found, key=lambda f: (f[0] > 1.0, f[1]))
    better = total < 0.5 * case.judged.distance.total
    reason = f"version {version} ({'; '.join(adapter.describe())}): worst measure {ratio:.2f} of its natural bound"
    teacher = case.base.with_adapter(adapter).predict_proba(case.raw)
    return Finding(
        "recall", "sensor" if adapter.input_map or case.model.adapter.input_map else "concept", ratio <= 1.0 and better,
        "worst ratio", ratio, 1.0, reason, decision="recall", recall=version, teacher=teacher,
    )  # fmt: skip


def _judge(case: Case, adapter: Adapter, sample: pd.DataFrame | None) -> Judgement:
    """How unusual the window is under an earlier version: its map against today's pool, and its own window if kept.

    The pool knows what healthy looks like now, in model units, so it judges a map. What a map does not show (another
    prior, a new pattern) only the version's own window can tell.
    """
    units = adapter.input_map.apply(case.raw)
    now = case.stick.judge(units)
    same_map = adapter.input_map.columns == case.model.adapter.input_map.columns
    if sample is None or (not same_map and now.explained) or len(sample) < 50:
        return now
    own = adapter.input_map.apply(sample)
    half = len(own) // 2
    # Two halves of its own window: no spread of years is known for it, so chance alone bounds the distance.
    return Yardstick(case.model, [own.iloc[:half], own.iloc[half:], own.iloc[half:]], len(units), case.seed).judge(
        units
    )
