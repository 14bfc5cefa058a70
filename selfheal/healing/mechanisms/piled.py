"""Many rows stand on one value that few rows ever had: a default, a mean put in, a look-up that missed, a sensor stuck.

It may lie anywhere, in the middle of the range too. What such rows held before is lost, so they are named and refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.levels import SHARE, lasting, levels
from selfheal.healing.case import Case
from selfheal.healing.fits import atoms
from selfheal.healing.fits.columns import cut_off
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding
from selfheal.healing.segments import named

GROWTH = 3.0
"""It must be this many times the largest share that any value has had which comes and goes, and that this window has
on any other: an hour's one reading of the weather stands on all flights of it, and a coarse recorder piles up all."""

STILL = 0.6
"""Part of the different values (their effective number, geometric mean over columns) of as many rows by chance, below
which the other columns stand still in the rows of a pile: an hour's weather stands on all flights of it (.47)."""


def explain(case: Case) -> Finding | None:
    """Whether columns have piles that they never had."""
    coded = {c for c in case.code_columns if not case.stick.support.counted(case.model.features.index(c))}
    columns = [c for c in case.numeric if c not in coded and not cut_off(case, c)]
    piles = {c: pile for c in columns if (pile := _pile(case, c))}
    on = {c: case.raw[c].to_numpy(dtype=np.float64, na_value=np.nan) == v for c, (v, _) in piles.items()}
    others = [c for c in columns if c not in piles]
    piles = {c: pile for c, pile in piles.items() if atoms.invaded(case, c) or not _one_reading(case, on[c], others)}
    if not piles:
        return None
    part = np.logical_and.reduce([on[c] for c in piles])
    words = [
        f"column {c!r} is {v:g} in {share:.0%} of rows, {_before(case, c, v)}: a default, a value put in, or stuck?"
        for c, (v, share) in piles.items()
    ]
    where = named(case.raw, part, piles)
    words += [f"they are the rows where {where}"] if where else []
    return Finding(
        "piled column", "data_fault", True, "columns", len(piles), 0.0, "; ".join(words), decision="refuse",
        faulty=frozenset(piles),
    )  # fmt: skip


def _pile(case: Case, column: str) -> tuple[float, float] | None:
    """The value on which a column piles up, and the share of rows there; None if it does not."""
    healthy, (at, shares) = atoms.seen(case, column)
    if len(at) < 3:
        return None
    order = np.argsort(shares)[::-1]
    value, share = float(at[order[0]]), float(shares[order[0]])
    if share < SHARE:
        return None
    always = lasting(healthy)
    for k in order[:2]:
        value, share = float(at[k]), float(shares[k])
        usual = max((float(s[lv == value].sum()) for lv, s in healthy), default=0.0)
        fleeting = max((float(s[~np.isin(lv, always)].max(initial=0.0)) for lv, s in healthy), default=0.0)
        other = float(shares[~np.isin(at, [*always, value])].max(initial=0.0))
        if share - usual >= SHARE and share >= GROWTH * max(usual, fleeting, other):
            return None if value in atoms.moved(case, column).values() else (value, share)
    return atoms.invaded(case, column)


def _before(case: Case, column: str, value: float) -> str:
    """How many rows stood on a value, in words."""
    usual = max(float((case.present(block, column) == value).mean()) for block in case.stick.blocks)
    return f"where at most {usual:.0%} were" if usual >= SHARE else "which few ever were"


def _one_reading(case: Case, part: NDArray[np.bool_], others: Sequence[str]) -> bool:
    """Whether in these rows (bool [n]) the other columns stand still as this one does."""
    by_chance = np.random.default_rng(case.seed).permutation(part)
    ratios = [_variety(case, c, part) / _variety(case, c, by_chance) for c in others]
    return len(ratios) > 1 and float(np.exp(np.mean(np.log(ratios)))) < STILL


def _variety(case: Case, column: str, part: NDArray[np.bool_]) -> float:
    """Effective number of different values in some rows (Simpson 1949)."""
    shares = levels(case.present(case.raw[part], column))[1]
    return 1.0 / max(float((shares**2).sum()), 1e-12)


MECHANISM = Mechanism("piled column", rank=30, explain=explain, needs=(UNUSUAL_AS_SENT,))
