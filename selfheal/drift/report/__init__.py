"""The Evidently report of one window: the one door to evidently.

Evidently looks at a bounded, seeded sample, in model units, beside the model's score and selfheal's two signals,
which are custom metrics of the same report. Exact statistics on all rows are the signals' business: the report
shows, the signals decide. What Evidently gets wrong silently is set right here, before it sees a row:

* the test is fixed per kind of column (left alone, Evidently changes it with the sample size): the 1-Wasserstein
  distance in reference standard deviations for numbers, the Jensen-Shannon distance for categories;
* the threshold is a distance, alarming at or above it, and is raised where the sample is too small for it;
* columns without a value on either side are listed, not computed (Evidently raises), and columns of numbers so large
  that it can draw no bins of them (it raises) are computed and listed as not drawn; missing categories are a
  category of their own, and the share of missing numbers is reported beside the drift (Evidently drops NaN);
* text that came with the traffic loses its angle brackets (Evidently writes it into a script element).

evidently costs seconds to import, so it is loaded by the first report, not by this module.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import chi2

from selfheal.drift.report.columns import SCORE, Column, plain
from selfheal.drift.report.runs import WindowRun
from selfheal.errors import InputError, UnavailableError

if TYPE_CHECKING:
    from evidently.core.report import Snapshot

    from selfheal.drift.signals import Signal

DISTANCE = 0.1
"""Drift at or above this distance (Evidently's own default for both distances)."""

NOISE_W = 3.0
"""Wasserstein distances below ``NOISE_W * sqrt(1/n + 1/m)`` are noise: 99 % of 18,000 pairs of equal samples from six
distributions (normal, exponential, uniform, Student t3, Bernoulli .1, log-normal; 365 to 5,000 rows) lay below
2.4 to 3.4 of these units."""

NOISE_P = 0.999
"""Jensen-Shannon distances below the ``NOISE_P`` quantile of equal samples are noise: 8 * JS^2 / (1/n + 1/m) is
asymptotically chi-squared with (categories - 1) degrees of freedom."""

CATEGORIES = 30
"""The most frequent categories that keep their names; the rest are shown as one."""

TINY = 0.01
"""Evidently never divides by less than .001: a column that spreads less than this is shown times a power of ten."""

BINS = 10
"""Evidently draws so many of each side, between edges that must be different numbers: next to 1e30 is 1e30 + 1e14."""


class Pages(NamedTuple):
    """What shows a report.

    Attributes
    ----------
    html
        Draws the self-contained page (about 4 MB) and writes it to a path; whether it could, what went wrong is logged.
    publish
        Draws it and adds it to an Evidently workspace, see :func:`selfheal.drift.report.workspace.publish`.
    """

    html: Callable[[Path], bool]
    publish: Callable[[str, WindowRun], None]


@dataclass(frozen=True)
class DriftReport:
    """What Evidently said about one window.

    Attributes
    ----------
    values
        ``drift/<column>``: distance of the column from the reference; ``drift_score``: of the model's score, if given;
        ``drift_share``: share of the columns at or above their threshold; ``missing/<column>``: share of the window's
        rows without a value, where there is any; ``signal/data`` and ``signal/rules``: the signals' values.
    thresholds
        Column -> the distance at or above which it counts as drifted.
    drifted
        The columns at or above their threshold, farthest first.
    skipped
        Columns that could not be compared, with the reason.
    rows
        Rows that were looked at: (reference, window).
    pages
        What shows it.
    """

    values: dict[str, float]
    thresholds: dict[str, float]
    drifted: tuple[str, ...]
    skipped: dict[str, str]
    rows: tuple[int, int]
    pages: Pages = field(repr=False, compare=False)

    def html(self, place: Path) -> bool:
        """Draw the self-contained page (about 4 MB) and write it; whether it could, what went wrong is logged."""
        return self.pages.html(place)


def report(
    reference: pd.DataFrame,
    window: pd.DataFrame,
    signals: Sequence[Signal] = (),
    *,
    dtypes: Mapping[str, str] | None = None,
    scores: tuple[npt.ArrayLike, npt.ArrayLike] | None = None,
    sample: int = 5000,
    seed: int = 0,
) -> DriftReport:
    """Compare a window with its reference, both in model units.

    Parameters
    ----------
    reference
        The recent healthy windows, or the model's own reference; its columns are the ones compared.
    window
        The window's rows, in order of time.
    signals
        selfheal's signals of this window, shown inside the report.
    dtypes
        Feature -> ``"float" | "int" | "bool" | "str"`` (``MonitoredModel.dtypes``); told from the frames when None.
    scores
        The model's score for the rows of ``reference`` and of ``window``, e.g. the last class's probability.
    sample
        At most this many rows of each side are looked at.
    seed
        Of the sample.

    Raises
    ------
    InputError
        When a side has no rows; the guards name that before.
    """
    if reference.empty or window.empty:
        side = "reference" if reference.empty else "window"
        raise InputError(f"the {side} has 0 rows, a report needs some; run the guards first and wait for more rows")
    frames = _with_scores(reference, scores, 0), _with_scores(window, scores, 1)
    left, right = (bounded_sample(f, sample, seed) for f in frames)
    columns, skipped = [], {}
    for name in left.columns:
        made = _column(str(name), left, right, (dtypes or {}).get(str(name)))
        if isinstance(made, Column):
            columns.append(made)
        else:
            skipped[str(name)] = made
    distances, pages = _evidently().distances(columns), _pages(columns, signals, skipped)
    return _result(columns, skipped, distances, signals, (len(left), len(right)), pages)


def bounded_sample(frame: pd.DataFrame, rows: int, seed: int) -> pd.DataFrame:
    """At most ``rows`` rows of ``frame``, drawn without replacement, in their order, newly indexed."""
    if len(frame) > rows:
        kept = np.sort(np.random.default_rng(seed).choice(len(frame), size=rows, replace=False))
        frame = frame.iloc[kept]
    return frame.reset_index(drop=True)


def _with_scores(frame: pd.DataFrame, scores: tuple[npt.ArrayLike, npt.ArrayLike] | None, side: int) -> pd.DataFrame:
    return frame if scores is None else frame.assign(**{SCORE: np.asarray(scores[side], dtype=float)})


def _column(name: str, reference: pd.DataFrame, window: pd.DataFrame, dtype: str | None) -> Column | str:
    """Both sides of one column made ready, or the reason why it can't be compared."""
    if name not in window:
        return "missing from the window"
    left, right = reference[name], window[name]
    categorical = not _is_number(left) if dtype is None else dtype in ("bool", "str")
    if left.isna().all() or right.isna().all():
        return f"no value in the {'reference' if left.isna().all() else 'window'}"
    if categorical:
        left, right = _categories(left, right)
        return Column(name, plain(name, longest=200), True, _categorical_threshold(left, right), left, right)
    left, right = _numbers(left), _numbers(right)
    if not left.notna().any() or not right.notna().any():
        return f"no finite number in the {'window' if left.notna().any() else 'reference'}"
    return _numeric(name, left, right)


def _numeric(name: str, left: pd.Series, right: pd.Series) -> Column:
    noise = NOISE_W * np.sqrt(1 / left.notna().sum() + 1 / right.notna().sum())
    spread = float(left.std(ddof=0))
    power = int(np.ceil(-np.log10(spread))) if 0 < spread < TINY else 0
    title = plain(name, longest=200) + (f" (×1e{power})" if power else "")
    return Column(name, title, False, max(DISTANCE, float(noise)), left * 10.0**power, right * 10.0**power)


def _is_number(values: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)


def _numbers(values: pd.Series) -> pd.Series:
    """As float64, NaN for what is no finite number."""
    numbers = pd.to_numeric(values, errors="coerce").astype("float64")
    return numbers.where(np.isfinite(numbers))


def _categories(left: pd.Series, right: pd.Series) -> tuple[pd.Series, pd.Series]:
    """As plain text: missing ones named, rare ones together."""
    sides = [s.astype("object").where(s.notna(), "(missing)").map(plain) for s in (left, right)]
    shares = pd.concat([s.value_counts(normalize=True) for s in sides]).groupby(level=0).sum()
    kept = set(shares.sort_values(ascending=False, kind="stable").index[:CATEGORIES])
    first, second = (s.where(s.isin(kept), "(other)") for s in sides)
    return first, second


def _categorical_threshold(left: pd.Series, right: pd.Series) -> float:
    freedom = max(1, len(set(left) | set(right)) - 1)
    return max(DISTANCE, float(np.sqrt(chi2.ppf(NOISE_P, freedom) / 8 * (1 / len(left) + 1 / len(right)))))


_log = logging.getLogger("selfheal.drift")


def _evidently() -> ModuleType:
    os.environ.setdefault("DO_NOT_TRACK", "1")
    with warnings.catch_warnings():
        # evidently's own imports: numpy.core, litestar's renamed classes, an escape sequence
        warnings.simplefilter("ignore", DeprecationWarning)
        from selfheal.drift.report import metrics
    return metrics


def _not_drawn(column: Column) -> str:
    """Why a page cannot have a column that was measured, empty where it can: each side must fit Evidently's bins."""
    for side in () if column.categorical else (column.reference, column.current):
        values = side.dropna()
        try:
            np.histogram(values, bins=BINS)
        except ValueError:
            return f"not drawn: no {BINS} bins fit from {values.min():.4g} to {values.max():.4g}"
    return ""


def _pages(columns: Sequence[Column], signals: Sequence[Signal], skipped: Mapping[str, str]) -> Pages:
    def drawing() -> Snapshot:
        odd = {column.name: why for column in columns if (why := _not_drawn(column))}
        return _evidently().page([c for c in columns if c.name not in odd], signals, {**skipped, **odd})

    drawn = cache(drawing)
    text = cache(lambda: drawn().get_html_str(as_iframe=False))  # the window's page, and its heal's

    def html(path: Path) -> bool:
        try:
            path.write_text(text(), encoding="utf-8")
        except Exception:  # whatever Evidently or its parts may raise on odd data: the numbers stand without a page
            _log.exception("no drift report was drawn")
            return False
        return True

    def publish(place: str, run: WindowRun) -> None:
        from selfheal.drift.report import workspace

        try:
            snapshot = drawn()
        except Exception as error:  # as above
            raise UnavailableError(f"no report was drawn: {type(error).__name__}: {error}") from error
        workspace.publish(snapshot, place, run)

    return Pages(html, publish)


def _result(
    columns: Sequence[Column],
    skipped: dict[str, str],
    distances: Sequence[float],
    signals: Sequence[Signal],
    rows: tuple[int, int],
    pages: Pages,
) -> DriftReport:
    values, over = {}, {}
    for column, distance in zip(columns, distances, strict=True):
        values["drift_score" if column.name == SCORE else f"drift/{column.name}"] = distance
        missing = float(column.current.isna().mean())
        if column.categorical:
            missing = float((column.current == "(missing)").mean())
        if missing:
            values[f"missing/{column.name}"] = missing
        if distance >= column.threshold:
            over[column.name] = distance / column.threshold
    features = [c.name for c in columns if c.name != SCORE]
    values["drift_share"] = len([n for n in features if n in over]) / max(1, len(features))
    values |= {f"signal/{s.name}": float(s.value) for s in signals}
    thresholds = {c.name: c.threshold for c in columns}
    return DriftReport(values, thresholds, tuple(sorted(over, key=lambda n: -over[n])), skipped, rows, pages)
