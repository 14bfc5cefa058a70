"""Is this window fit to be compared at all? Schema, missing and non-finite values, stuck columns, enough rows.

Evidently drops NaNs without a word and raises on empty columns, and no statistic means anything on a column that an
upstream job stopped filling. So these guards come first; what they find is a data fault, named by column, and
nothing is healed on it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from selfheal.drift.context import placing
from selfheal.drift.put_in import put_in
from selfheal.drift.recoded import recoded, renumbered
from selfheal.drift.stats import Floats
from selfheal.input_map import BEYOND

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel
    from selfheal.table import Refusal

SLACK = 0.02
"""Share of rows without a usable value that no column is blamed for: hygiene drops such rows before a heal."""

SIGMAS = 4.0
"""Binomial standard errors above the worst natural rate: one false alarm in 30,000 columns."""

NATURAL_MARGIN = 1.3
"""A null rate may exceed the largest natural one by this factor, like every bound of the yardstick."""

NEVER = 1e-6
"""A column that shows one value is stuck when the reference makes that less likely than this ..."""

RUN = 3
"""... and when it has shown it for this many times the longest run that a healthy stretch has of any value."""

Kind = Literal[
    "missing column",
    "too few rows",
    "not a number",
    "null rate",
    "non-finite",
    "constant",
    "refused",
    "codes",
]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a window: of what kind, in which column (empty for the window), in words."""

    kind: Kind
    column: str
    text: str

    def __str__(self) -> str:
        return self.text


def guards(frame: pd.DataFrame, model: MonitoredModel, recent: Sequence[pd.DataFrame] = ()) -> list[str]:
    """The problems of :func:`problems` in words."""
    return [p.text for p in problems(frame, model, recent)]


def problems(
    frame: pd.DataFrame, model: MonitoredModel, recent: Sequence[pd.DataFrame] = (), slack: float = SLACK
) -> list[Problem]:
    """What makes a window unfit to be compared, the window itself first, then column by column.

    Parameters
    ----------
    frame
        The window's rows, raw or in model units: a conversion of units neither fills nor empties a column.
    model
        Its reference says what is natural: a null rate, a column that may be constant for a whole window.
    recent
        Recent healthy windows; what is natural in one of them is natural too.
    slack
        Share of rows without a usable value that no column is blamed for.
    """
    faults = _too_few(frame, model.policy.monitor.min_rows)
    if frame.empty:
        return faults
    may_stand = placing(model, recent) | {*model.policy.declare.context}
    maps = model.adapter.input_map.columns
    for name in model.features:
        if name not in frame:
            text = f"column {name!r} is missing; send it, or adopt a base model that does without"
            faults.append(Problem("missing column", name, text))
            continue
        natural = _natural(name, model, recent)
        faults += _column(name, frame[name], natural, model.dtypes[name], slack, may_stand=name in may_stand)
        if name not in {*may_stand, *maps, *(p.column for p in faults)}:
            faults += _codes(name, frame[name], natural)
    return faults


def _natural(name: str, model: MonitoredModel, recent: Sequence[pd.DataFrame]) -> list[pd.Series]:
    """What a column was like: in the reference, and in the recent windows that have it."""
    return [model.reference[name], *(r[name] for r in recent if name in r and len(r))]


def values_put_in(frame: pd.DataFrame, model: MonitoredModel, recent: Sequence[pd.DataFrame] = ()) -> tuple[str, ...]:
    """Columns with rows here and there on one value that few ever had, in words.

    A heal asks, and no guard: columns in another order put one another's values in, and a heal can say so.
    """
    passed_over = {*placing(model, recent), *model.policy.declare.context, *model.adapter.input_map.columns}
    lines = []
    for name in (c for c in model.features if model.dtypes[c] != "str" and c not in passed_over):
        blocks = (_numbers(block) for past in _natural(name, model, recent) for block in _blocks(past, len(frame)))
        if pile := put_in(_numbers(frame[name]), blocks):
            lines.append(
                f"column {name!r} is {pile[0]:g} in {pile[1]:.0%} of rows, here and there, which few ever were: "
                "a default, or a value put in?"
            )
    return tuple(lines)


def fractions(frame: pd.DataFrame, model: MonitoredModel) -> tuple[str, ...]:
    """Columns of whole numbers in which rows hold fractions, in words; no problem, for another unit may bring them."""
    maps, lines = model.adapter.input_map.columns, []
    for name in (c for c in model.features if model.dtypes[c] != "str" and c not in maps):
        if len(_broken(model.reference[name])):
            continue
        if len(broken := _broken(frame[name])):
            lines.append(
                f"{len(broken)} of {len(frame)} rows hold a fraction in {name!r}, such as {broken[0]:g}, which was "
                "whole in all of the reference; it is scored as it is"
            )
    return tuple(lines)


def _broken(column: pd.Series) -> Floats:
    """The values that are no whole numbers."""
    values = _numbers(column)
    return np.asarray(values[values != np.floor(values)])


def refused_rows(refused: Sequence[Refusal], served: int, says: str = "were refused by the service") -> list[Problem]:
    """Columns because of which more of a window's rows were refused than hygiene may drop without a word.

    Parameters
    ----------
    refused
        The window's refused rows; those that no column is to blame for (a body that is no JSON) are no data.
    served
        Rows that were answered and logged.
    says
        What follows "50 of 200 rows": who refused them.
    """
    n = served + sum(one.rows for one in refused)
    bound = max(SLACK, SIGMAS * math.sqrt(SLACK / max(n, 1)))
    return [
        Problem(
            "refused",
            one.column,
            f"{one.rows} of {n} rows {says}: {one.reason} in {one.column!r} "
            f"({one.rows / n:.1%}, bound {bound:.1%}); mend what sends them",
        )
        for one in refused
        if one.column and one.rows / n > bound
    ]


def _too_few(frame: pd.DataFrame, least: int) -> list[Problem]:
    if len(frame) >= least:
        return []
    text = f"{len(frame)} rows, fewer than min_rows {least}; wait for more, or lower monitor.min_rows in the policy"
    return [Problem("too few rows", "", text)]


def _column(
    name: str, values: pd.Series, natural: Sequence[pd.Series], dtype: str, slack: float, may_stand: bool
) -> list[Problem]:
    if dtype == "str":
        stuck = [] if may_stand else _stuck(name, values.dropna(), natural)
        return _nulls(name, values, natural, slack) + stuck
    numbers = pd.to_numeric(values, errors="coerce")
    # Text is never natural, so by default a single such row counts.
    if (unread := numbers.isna() & values.notna()).mean() > slack - SLACK:
        example = str(values[unread].iloc[0])[:40]
        text = f"column {name!r} holds {example!r} in {unread.sum()} of {len(values)} rows where a number belongs"
        return [Problem("not a number", name, text)]
    faults = _nulls(name, numbers, natural, slack)
    infinite = np.abs(numbers.to_numpy(dtype=float, na_value=np.nan)) > BEYOND
    if infinite.mean() > slack:
        text = (
            f"column {name!r} is infinite, or beyond {BEYOND:g}, in {infinite.mean():.1%} of rows (bound {slack:.1%}); "
            "a division by zero?"
        )
        faults.append(Problem("non-finite", name, text))
    return faults if may_stand else faults + _stuck(name, numbers[~infinite].dropna(), natural)


def _nulls(name: str, values: pd.Series, natural: Sequence[pd.Series], slack: float) -> list[Problem]:
    rate = float(values.isna().mean())
    if rate <= slack:
        return []
    rates = [float(block.isna().mean()) for past in natural for block in _blocks(past, len(values))]
    usual = max(rates)
    bound = max(slack, NATURAL_MARGIN * usual + SIGMAS * float(np.sqrt(max(usual, slack) / len(values))))
    if len(rates) > 2:
        # A missing hourly reading is missing on all rows of its hour: then windows differ by more than chance. The
        # arcsine of the root is as widely spread at every rate.
        angles = np.arcsin(np.sqrt(rates))
        furthest = min(float(angles.mean() + SIGMAS * angles.std(ddof=1)), np.pi / 2)
        bound = max(bound, float(np.sin(furthest) ** 2))
    if rate <= bound:
        return []
    natural_rate = f"natural {usual:.1%}, bound {bound:.1%}"
    text = f"column {name!r} has no value in {rate:.1%} of rows ({natural_rate}); is its source down?"
    return [Problem("null rate", name, text)]


def _stuck(name: str, values: pd.Series, natural: Sequence[pd.Series]) -> list[Problem]:
    """A column that varied in every stretch of this length and now shows one value."""
    if len(values) < 2 or not _constant(values):
        return []
    for past in natural:
        shares = past.value_counts(normalize=True)
        rare_enough = len(shares) > 1 and float(shares.iloc[0]) ** len(values) < NEVER
        # Rows need not be independent: on a clear day visibility is 10 miles for all flights.
        if not rare_enough or RUN * _longest_run(past) > len(values):
            return []
    shown = str(values.iloc[0])
    text = f"column {name!r} is {shown!r} in all {len(values)} rows and never was constant before; is it stuck?"
    return [Problem("constant", name, text)]


def _codes(name: str, values: pd.Series, natural: Sequence[pd.Series]) -> list[Problem]:
    """Codes, or words, that were renumbered."""
    moved = recoded(pd.to_numeric(values, errors="coerce"), natural) if natural[0].dtype.kind in "iuf" else ""
    change = moved or renumbered(values, natural)
    text = f"column {name!r} holds codes that do not mean what they meant: {change}; was its look-up renumbered?"
    return [Problem("codes", name, text)] if change else []


def _numbers(values: pd.Series) -> Floats:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(numbers[np.isfinite(numbers)])


def _longest_run(values: pd.Series) -> int:
    """Most consecutive rows with one value; a missing value breaks no run."""
    known = values.dropna()
    return int((known != known.shift()).cumsum().value_counts().max()) if len(known) else len(values)


def _constant(values: pd.Series) -> bool:
    known = values.dropna()
    return known.empty or bool((known == known.iloc[0]).all())


def _blocks(values: pd.Series, rows: int) -> list[pd.Series]:
    """Consecutive stretches of ``rows`` rows (the rest, if shorter, left out), or the whole when it is shorter."""
    if len(values) <= rows:
        return [values]
    return [values.iloc[start : start + rows] for start in range(0, len(values) - rows + 1, rows)]
