"""Two senders, two units, one window: some rows of a column are in another unit. Named, and refused.

No map of the whole column can be right, and which row is whose is not ours to guess; the column that separates the
senders, if there is one, tells the owner where to look.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift import stats
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.conversions import CONVERSIONS
from selfheal.healing.fits.columns import could_be
from selfheal.healing.fits.matching import NEARLY
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding
from selfheal.healing.segments import named

MIXED = (0.1, 0.9)
"""Share of rows in the other unit between which it is two senders, and not one changed instrument or a few bad rows."""

IN_TURN = 0.5
"""Groups whose places in the window lie farther apart than this did not send side by side: one took over from the
other, which is a change that began mid-window."""


def explain(case: Case) -> Finding | None:
    """Whether a known conversion of some of the rows makes an unusual column natural."""
    x = case.encoded
    before, bounds = case.judged_raw.distance, case.stick.bounds
    mixtures: list[_Mixture] = []
    for j, column in enumerate(case.model.features):
        unusual = before.marginal[j] > bounds.marginal[j] or before.outside[j] > bounds.outside[j]
        # On a grid the other sender's values are off it; that the day was windier is no second sender.
        foreign = before.outside[j] >= MIXED[0] or case.stick.support.grids[j].step <= 0
        if column in case.numeric and column not in case.code_columns and unusual and foreign:
            mixtures += _mixture(case, x, j)
    if not mixtures:
        return None
    # Two broken columns tell each other's rows apart, and the owner nothing.
    broken = [mixture.column for mixture in mixtures]
    words = "; ".join(mixture.words(case.raw, broken) for mixture in mixtures)
    return Finding("two senders", "data_fault", True, "columns", len(mixtures), 0.0, words, decision="refuse")


@dataclass(frozen=True)
class _Mixture:
    """A column of which some rows are in another unit."""

    column: str
    unit: str
    foreign: NDArray[np.bool_]
    """Rows in the other unit, bool [n]."""
    telling: NDArray[np.bool_]
    """Rows whose value shows which unit it is in, bool [n]: zeros are zeros in both."""

    def words(self, rows: pd.DataFrame, broken: Collection[str]) -> str:
        """The mixture, and what tells its two groups of rows apart, in words."""
        where = named(rows[self.telling], self.foreign[self.telling], broken)
        apart = f"they are the rows where {where}" if where else "no column separates these rows from the others"
        return f"column {self.column!r} is {self.unit} in {self.foreign.mean():.0%} of rows only; {apart}"


def _mixture(case: Case, x: Floats, j: int) -> list[_Mixture]:
    values, pool = x[:, j], case.stick.pool[:, j]
    low, high = np.quantile(pool, [0.002, 0.998])
    grid, bound = case.stick.support.grids[j], case.stick.bounds.marginal[j]
    if any(case.stick.ks(conversion.map.apply(values), j) <= bound for conversion in CONVERSIONS):
        return []  # the whole column was converted; of the young even pounds are an age
    for conversion in CONVERSIONS:
        mapped = conversion.map.apply(values)
        foreign = could_be(mapped, low, high, grid) & ~could_be(values, low, high, grid)
        if not MIXED[0] <= foreign.mean() <= MIXED[1]:
            continue
        repaired = np.where(foreign, mapped, values)
        if case.stick.ks(repaired, j) > bound or not could_be(repaired, low, high, grid).mean() > 0.98:
            continue
        # Rows of another sender are rows of the column; a new kind of row is a lump wherever it is mapped to.
        back = (pool - conversion.map.offset) / conversion.map.scale
        expected = pool[~could_be(back, low, high, grid)]
        if stats.ks(mapped[foreign], expected) > NEARLY * bound / np.sqrt(foreign.mean()):
            continue
        if stats.ks(*_places(foreign)) > IN_TURN:
            return []
        return [_Mixture(case.model.features[j], conversion.map.describe(), foreign, mapped != values)]
    return []


def _places(foreign: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """When the two groups of rows arrived."""
    order = np.arange(len(foreign), dtype=np.float64)
    return order[foreign], order[~foreign]


MECHANISM = Mechanism("two senders", rank=60, explain=explain, needs=(UNUSUAL_AS_SENT,))
