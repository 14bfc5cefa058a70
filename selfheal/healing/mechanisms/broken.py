"""A column is cut off or speaks another code: it is named, and nothing is healed, for what it knew is gone."""

from __future__ import annotations

import numpy as np

from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding

PILED = 0.05
"""Share of rows on a column's largest (or smallest) value from which it may be cut off."""

BEYOND = 0.02
"""Share of healthy rows that lie beyond that value."""

PILE_GROWTH = 3.0
"""The pile must be this many times the largest that a healthy window has on its own largest value, and the largest that
this window has on any other value of that side: an hour's one reading of the weather stands on all flights of it."""

UNKNOWN = 0.2
"""Share of rows with codes never seen from which a column has been recoded (fewer: a new level, or a few bad rows)."""


def explain(case: Case) -> Finding | None:
    """Whether columns are clipped or recoded."""
    x = case.encoded
    told = [fault for j in range(x.shape[1]) if (fault := _fault(case, x[:, j], j))]
    if not told:
        return None
    return Finding("broken column", "data_fault", True, "columns", len(told), 0.0, "; ".join(told), decision="refuse")


def _fault(case: Case, values: Floats, j: int) -> str:
    name = case.model.features[j]
    pool = case.stick.pool[:, j]
    if case.model.dtypes[name] == "str" or case.stick.support.codes[j] is not None:
        unknown = ~np.isin(np.round(values, 6), np.round(pool, 6))
        if unknown.mean() <= UNKNOWN or case.stick.support.outside_column(values, j) <= UNKNOWN:
            return ""
        example = case.raw[name].to_numpy()[unknown][0]
        return f"column {name!r} holds codes never seen, such as {str(example)[:40]!r}, in {unknown.mean():.0%} of rows"
    values, healthy = case.present(case.raw, name), [case.present(block, name) for block in case.stick.blocks]
    if placeholder := _placeholder(case, values, j, name):
        return placeholder
    return _cut_off(values, healthy, name, "above") or _cut_off(-values, [-h for h in healthy], name, "below")


def _placeholder(case: Case, values: Floats, j: int, name: str) -> str:
    """Whether one value far outside stands for those that are missing, as -999 does."""
    support = case.stick.support
    outside = values[(values < support.low[j]) | (values > support.high[j])]
    share = len(outside) / max(len(values), 1)
    if share < PILED or np.ptp(outside) > 0:
        return ""
    return (
        f"column {name!r} is {outside[0]:g} in {share:.0%} of rows, far from any value it had: does it stand for none?"
    )


def _cut_off(values: Floats, healthy: list[Floats], name: str, side: str) -> str:
    """Whether many values stand on the largest one, where healthy values go beyond."""
    healthy = [block for block in healthy if len(block)]
    if not healthy or not len(values) or np.ptp(values) == 0:
        return ""
    limit = values.max()
    pile = float((values == limit).mean())
    usual = max(float((block == block.max()).mean()) for block in healthy)
    outer = values[(values < limit) & (values >= min(np.median(values), np.median(np.concatenate(healthy))))]
    usual = max(usual, float(np.unique(outer, return_counts=True)[1].max() / len(values)) if len(outer) else 0.0)
    beyond = float((np.concatenate(healthy) > limit).mean())
    if pile < max(PILED, PILE_GROWTH * usual) or beyond < BEYOND:
        return ""
    shown = limit if side == "above" else -limit
    return (
        f"column {name!r} is cut off {side} {shown:g}: {pile:.0%} of rows stand there, {beyond:.0%} used to lie beyond"
    )


MECHANISM = Mechanism("broken column", rank=100, explain=explain, needs=(UNUSUAL_AS_SENT,))
