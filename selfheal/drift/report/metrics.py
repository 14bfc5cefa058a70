"""The Evidently side of :mod:`selfheal.drift.report`; imported when the first report is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.core.metric_types import (
    MetricTestResult,
    SingleValue,
    SingleValueBoundTest,
    SingleValueCalculation,
    SingleValueMetric,
)
from evidently.core.report import Snapshot
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from evidently.legacy.renderers.html_widgets import CounterData, counter, table_data
from evidently.legacy.tests.base_test import TestStatus
from evidently.metrics import DriftedColumnsCount, ValueDrift
from evidently.tests import lt

from selfheal.drift.report.columns import SCORE, Column, plain

if TYPE_CHECKING:
    from selfheal.drift.signals import Signal

METHODS = {True: "jensenshannon", False: "wasserstein"}


class SelfhealSignal(SingleValueMetric):  # type: ignore[misc]
    """One of selfheal's two signals, computed on all rows of the window."""

    signal: str
    measure: str
    observed: float
    bound: float
    alarm: bool
    reason: str


class SelfhealSignalCalculation(SingleValueCalculation[SelfhealSignal]):  # type: ignore[misc]
    """Shows the signal's value beside its bound, and its alarm as a failed test."""

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        """Pass the observed value on; the work was done on all rows."""
        metric = self.metric
        result = self.result(metric.observed)
        shown = [
            CounterData("alarm" if metric.alarm else "quiet", f"{metric.observed:.3g}"),
            CounterData("bound", f"{metric.bound:.3g}"),
        ]
        result.widget = [counter(title=f"{self.display_name()}: {metric.reason}", counters=shown)]
        test = lt(metric.bound).for_metric()
        result.set_tests(
            [
                MetricTestResult(
                    id="signal",
                    name=self.display_name(),
                    description=metric.reason,
                    status=TestStatus.FAIL if metric.alarm else TestStatus.SUCCESS,
                    metric_config=self.to_metric_config(),
                    test_config={},
                    bound_test=SingleValueBoundTest(test=test, metric_fingerprint=metric.metric_id),
                )
            ]
        )
        return result

    def display_name(self) -> str:
        """Title of the card."""
        return f"selfheal signal '{self.metric.signal}' ({self.metric.measure})"


class SkippedColumns(SingleValueMetric):  # type: ignore[misc]
    """The columns that could not be compared, by name and reason."""

    columns: dict[str, str]


class SkippedColumnsCalculation(SingleValueCalculation[SkippedColumns]):  # type: ignore[misc]
    """Their number, and a table of the reasons."""

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        """Count them."""
        result = self.result(len(self.metric.columns))
        rows = sorted(self.metric.columns.items())
        result.widget = [table_data(title=self.display_name(), column_names=["column", "reason"], data=rows)]
        return result

    def display_name(self) -> str:
        """Title of the card."""
        return "Columns that could not be compared"


def distances(columns: Sequence[Column]) -> list[float]:
    """The columns' distances as the page shows them, in order.

    Evidently's report draws its figures while it computes, which costs 30 times as much: here only its tests are run.
    """
    values = []
    for column in columns:
        kind = ColumnType.Categorical if column.categorical else ColumnType.Numerical
        test = get_stattest(column.reference, column.current, kind, METHODS[column.categorical])
        made = test(column.reference.dropna(), column.current.dropna(), kind, column.threshold)
        values.append(float(made.drift_score))
    return values


def page(columns: Sequence[Column], signals: Sequence[Signal], skipped: Mapping[str, str]) -> Snapshot:
    """The whole report, drawn; of a single row the signals alone."""
    metrics: list[Any] = [_signal(s) for s in signals]
    if skipped:
        metrics.append(SkippedColumns(columns={plain(k): plain(v) for k, v in skipped.items()}))
    if any(c.name != SCORE and len(c.current) > 1 for c in columns):
        metrics += _drift(columns)
    # Evidently correlates all columns, which is shown nowhere here, and divides by the spread of a constant one.
    with np.errstate(divide="ignore", invalid="ignore"):
        return Report(metrics).run(_dataset(columns, "current"), _dataset(columns, "reference"))


def _signal(signal: Signal) -> SelfhealSignal:
    return SelfhealSignal(
        signal=signal.name,
        measure=plain(signal.measure),
        observed=float(signal.value),
        bound=float(signal.bound),
        alarm=bool(signal.alarm),
        reason=plain(signal.reason, longest=400),
    )


def _drift(columns: Sequence[Column]) -> list[Any]:
    methods = {c.title: METHODS[c.categorical] for c in columns}
    thresholds = {c.title: c.threshold for c in columns}
    count = DriftedColumnsCount(
        columns=[c.title for c in columns if c.name != SCORE],
        per_column_method=methods,
        per_column_threshold=thresholds,
        drift_share=0.5,
    )
    return [count] + [ValueDrift(column=n, method=m, threshold=thresholds[n]) for n, m in methods.items()]


def _dataset(columns: Sequence[Column], side: str) -> Dataset:
    frame = pd.DataFrame({c.title: getattr(c, side) for c in columns})
    definition = DataDefinition(
        numerical_columns=[c.title for c in columns if not c.categorical],
        categorical_columns=[c.title for c in columns if c.categorical],
    )
    return Dataset.from_pandas(frame, definition)
