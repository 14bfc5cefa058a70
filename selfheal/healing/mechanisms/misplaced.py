"""In a part of the rows columns hold each other's values: in one client's file two are swapped, or all one further.

Named with the rows that hold it, and refused. It shows where the columns' values cannot be taken for each other's.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from selfheal.drift.stats import Floats
from selfheal.healing.case import Case, once_a_case
from selfheal.healing.fits.columns import could_be, marginals
from selfheal.healing.fits.recorded import BACK, BESIDE, LEFT_GRID
from selfheal.healing.mechanism import UNUSUAL_AS_SENT, Mechanism
from selfheal.healing.outcome import Finding
from selfheal.healing.segments import FEWEST, named

PART = (0.03, 0.9)
"""Share of rows between which it is a part of them: fewer are left out as wild, more are the whole window."""


LEFT = 0.5
"""Share of what is unusual of those columns that may be left: else all rows moved, and some of them look misplaced."""

STAYS = 0.3
"""By how much (of a KS distance) another place must suit a column that is at home where it is: flags are alike."""


def explain(case: Case) -> Finding | None:
    """Whether some rows are as ever once columns change places in them."""
    swap = misplaced(case)
    if swap is None:
        return None
    return Finding("misplaced values", "data_fault", True, "rows", swap[0], PART[0], swap[1], decision="refuse")


@once_a_case
def misplaced(case: Case) -> tuple[float, str] | None:
    """The share of such rows, and what they hold, in words."""
    rows = case.sent
    columns = [j for j, c in enumerate(case.model.features) if c in case.numeric]
    x, pool = case.stick.encode(rows)[:, columns], case.stick.pool[:, columns]
    ranges = np.quantile(pool, [0.002, 0.998], axis=0)
    grids = [case.stick.support.grids[j] for j in columns]

    def fits(values: Floats, k: int) -> NDArray[np.bool_]:
        return could_be(values, ranges[0, k], ranges[1, k], grids[k])

    known = np.column_stack([fits(x[:, k], k) for k in range(len(columns))])
    usual = float(np.mean(np.sum([~fits(pool[:, k], k) for k in range(len(columns))], axis=0) >= 2))
    odd = (~known).sum(axis=1) >= 2
    if odd.sum() < FEWEST or not PART[0] + usual <= odd.mean() <= PART[1]:
        return None
    theirs = x[odd]
    apart = np.array([[1 - fits(theirs[:, i], k).mean() for i in range(len(columns))] for k in range(len(columns))])
    at_home = STAYS * np.diag(np.diag(apart) <= BACK)
    to, arrives = linear_sum_assignment(2 * apart + marginals(theirs, pool) - at_home)
    moved = [(k, i) for k, i in zip(to, arrives, strict=True) if k != i]
    # Each is at home in its new place, and two at least cannot have been where they are.
    if not moved or max(apart[k, i] for k, i in moved) > BESIDE or sum(apart[k, k] >= LEFT_GRID for k, _ in moved) < 2:
        return None
    names = [case.model.features[j] for j in columns]
    if _left(case, rows, odd, {names[k]: names[i] for k, i in moved}) > LEFT:
        return None
    broken = [names[k] for k, _ in moved]
    words = ", ".join(f"{names[i]} holds the values of {names[k]}" for k, i in moved)
    where = named(rows, odd, broken)
    apart_by = f"the rows where {where}" if where else "no other column separates these rows"
    return float(odd.mean()), f"in {odd.mean():.0%} of rows {words}; {apart_by}"


def _left(case: Case, rows: pd.DataFrame, odd: NDArray[np.bool_], moved: dict[str, str]) -> float:
    """The share of what is unusual of the columns by themselves that stays once they change places in those rows."""
    repaired = rows.assign(**{to: np.where(odd, rows[source], rows[to]) for to, source in moved.items()})
    places = [case.model.features.index(column) for column in moved]
    then, now = (case.stick.judge(frame).distance for frame in (rows, repaired))
    before, after = (float(d.marginal[places].sum() + 2 * d.outside[places].sum()) for d in (then, now))
    return after / max(before, 1e-12)


MECHANISM = Mechanism("misplaced values", rank=32, explain=explain, needs=(UNUSUAL_AS_SENT,))
