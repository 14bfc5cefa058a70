"""A column is cut off or speaks another code: it is named, and nothing is healed, for what it knew is gone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.fits import atoms
from selfheal.healing.fits.columns import PILED, added, cut_off
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding

UNKNOWN = 0.2
"""Share of rows with codes never seen from which a column has been recoded (fewer: a new level, or a few bad rows)."""


SAME = 0.9
"""Share of the values far outside that are one and the same: a wild row beside them is natural."""


def explain(case: Case) -> Finding | None:
    """Whether columns are clipped or recoded."""
    x = case.encoded
    faults = {name: fault for j, name in enumerate(case.model.features) if (fault := _fault(case, x[:, j], j))}
    if not faults:
        return None
    return Finding(
        "broken column", "data_fault", True, "columns", len(faults), 0.0, "; ".join(faults.values()), decision="refuse",
        faulty=frozenset(faults),
    )  # fmt: skip


def _fault(case: Case, values: Floats, j: int) -> str:
    name = case.model.features[j]
    pool = case.stick.pool[:, j]
    if case.model.dtypes[name] == "str" or name in case.code_columns:
        unknown = ~np.isin(np.round(values, 6), np.round(pool, 6))
        if unknown.mean() > UNKNOWN and _spelled_anew(case, name, unknown):
            new = _example(case, name, unknown)
            return f"column {name!r} spells its words anew in {unknown.mean():.0%} of rows, such as {new}"
        if unknown.mean() <= UNKNOWN or case.stick.support.outside_column(values, j) <= UNKNOWN or added(values, pool):
            return ""
        example = _example(case, name, unknown)
        return f"column {name!r} holds codes never seen, such as {example}, in {unknown.mean():.0%} of rows"
    return _placeholder(case, case.present(case.raw, name), j, name) or cut_off(case, name)


def _example(case: Case, name: str, rows: NDArray[np.bool_]) -> str:
    return repr(str(case.raw[name].to_numpy()[rows][0])[:40])


def _spelled_anew(case: Case, name: str, rows: NDArray[np.bool_]) -> bool:
    """Whether words never seen are known ones in another spelling: lower case, dotted, with blanks."""
    if case.model.dtypes[name] != "str":
        return False
    known = {_letters(word) for word in case.stick.pool_frame[name].dropna().unique()}
    words = case.raw[name][rows].dropna()
    return len(words) > 0 and float(words.map(_letters).isin(known).mean()) >= SAME


def _letters(word: object) -> str:
    return "".join(sign for sign in str(word).casefold() if sign.isalnum())


def _placeholder(case: Case, values: Floats, j: int, name: str) -> str:
    """Whether one value far outside stands for those that are missing, as -999 does."""
    support = case.stick.support
    # Of a long tail a wide margin beside the range is natural; not on the side where no value ever was.
    pool = case.stick.pool[:, j]
    spare = np.ptp(np.quantile(pool, [0.25, 0.75])) or np.ptp(pool)
    low, high = max(support.low[j], pool.min() - spare), min(support.high[j], pool.max() + spare)
    outside = values[(values < low) | (values > high)]
    levels, counts = np.unique(outside, return_counts=True)
    share = counts.max(initial=0) / max(len(values), 1)
    if share < PILED or counts.max() < SAME * len(outside):
        return ""
    value = float(levels[counts.argmax()])
    if value in atoms.moved(case, name).values():
        return ""
    return f"column {name!r} is {value:g} in {share:.0%} of rows, far from any value it had: does it stand for none?"


MECHANISM = Mechanism("broken column", rank=100, explain=explain, needs=(UNUSUAL_AS_SENT,))
