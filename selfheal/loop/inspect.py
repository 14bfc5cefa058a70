"""Look at one closed window: guards, the two signals, the drift report, accuracy where labels have come."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from selfheal.drift.guards import guards, refused_rows
from selfheal.drift.yardstick import thinned
from selfheal.loop.expected import JUDGED, Expected, expected
from selfheal.steering.look import Look, last_look
from selfheal.steering.models import serving_model
from selfheal.steering.policies import PolicyOfRecord, policy_of_record
from selfheal.steering.workspace import Workspace
from selfheal.table import Refusal, Window, WindowRef

if TYPE_CHECKING:
    from selfheal.drift.report import DriftReport
    from selfheal.drift.signals import Signal
    from selfheal.model import MonitoredModel

REPORT_ROWS = 5_000
"""Rows of each side that Evidently sees; the signals read all of them."""

SAMPLE_ROWS = 2_000
"""What the table keeps of a window, and what a heal works on."""

YARDSTICK_WINDOWS = 6
"""Recent healthy windows that drift is judged against (HEALING.md: its relative test was measured with six)."""

_log = logging.getLogger("selfheal.loop")


@dataclass(frozen=True)
class Inspection:
    """What was seen in a window.

    Attributes
    ----------
    ref
        The window.
    version, look
        The version whose model units it is seen in, and the look that settled it.
    policy
        The policy in force, with what is wrong with its file.
    problems
        What the guards found: columns that make it a data fault.
    refused
        Rows of its time that the service refused: no window holds them.
    signals
        What the data say and what the rules say; empty when the guards found something.
    report
        Evidently's report, for people; None when there is nothing to compare.
    own_share
        Share of the rows that ``version`` itself answered.
    accuracy, labelled
        Of the served answers where labels have come (NaN without any), and how many have.
    estimate
        What accuracy to expect without labels, or why nothing is said; None when nothing was compared.
    latency
        p50 and p99 of the requests' milliseconds.
    sample
        Up to 2,000 rows in model units, spread over the window: the yardstick's, if it is healthy.
    """

    ref: WindowRef
    version: int
    look: Look
    policy: PolicyOfRecord
    problems: tuple[str, ...] = ()
    refused: tuple[Refusal, ...] = ()
    signals: tuple[Signal, ...] = ()
    report: DriftReport | None = field(default=None, repr=False)
    own_share: float = 0.0
    accuracy: float = float("nan")
    labelled: int = 0
    estimate: Expected | None = None
    latency: tuple[float, float] = (float("nan"), float("nan"))
    sample: pd.DataFrame | None = field(default=None, repr=False)

    @property
    def alarm(self) -> bool:
        """Whether either signal alarms."""
        return any(s.alarm for s in self.signals)


def inspect(ws: Workspace, name: str, ref: WindowRef) -> Inspection:
    """Read a window and compare it with this model's own recent healthy ones. Needs no MLflow.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database can't be reached.
    """
    loaded, version = serving_model(ws, name)
    record = policy_of_record(ws, name, loaded)
    model = loaded.with_policy(record.policy)
    look = last_look(ws, name) or Look(settled=version)
    refused = tuple(ws.table.refusals.between(name, ref.start, ref.end))
    problems = tuple(str(p) for p in refused_rows(refused, ref.rows))
    if ref.too_few:
        return Inspection(ref, version, look, record, problems, refused)
    window = ws.table.read(ref)
    recent = ws.table.recent(name, YARDSTICK_WINDOWS)
    accuracy, labelled = accuracy_of(window, model)
    p50, p99 = np.percentile(ws.table.latencies(ref), [50, 99])
    seen = Inspection(
        ref, version, look, record, problems, refused,
        own_share=float(np.mean(window.versions == version)), accuracy=accuracy, labelled=labelled,
        latency=(float(p50), float(p99)),
    )  # fmt: skip
    history = [c for c in ws.table.cycles(name, last=JUDGED) if c["index"] < ref.index]
    return _compared(seen, model, window, recent, history)


def _compared(
    seen: Inspection,
    model: MonitoredModel,
    window: Window,
    recent: list[pd.DataFrame],
    history: Sequence[dict[str, Any]],
) -> Inspection:
    from selfheal.drift.signals import SIGNAL_ROWS, signals
    from selfheal.drift.yardstick import Yardstick

    problems = (*seen.problems, *guards(window.frame, model, recent))
    if problems:
        return replace(seen, problems=problems)
    rows = thinned(window.frame, SIGNAL_ROWS)
    stick = Yardstick(model, recent, len(rows), window=model.model_units(rows))
    found = tuple(signals(model, rows, recent, stick))
    return replace(
        seen,
        signals=found,
        estimate=expected(model, rows, stick, recent, history),
        report=drift_report(model, window, found),
        sample=model.model_units(thinned(window.frame, SAMPLE_ROWS)),
    )


def accuracy_of(window: Window, model: MonitoredModel) -> tuple[float, int]:
    """Accuracy of the answers that were served, over the labelled rows; NaN without any. And their number."""
    known = window.labels.notna().to_numpy()
    if not known.any():
        return float("nan"), 0
    said = model.classes_[model.decide(window.probabilities[known])]
    return float(np.mean(said == window.labels[known].to_numpy(dtype=said.dtype))), int(known.sum())


def drift_report(model: MonitoredModel, window: Window, found: Sequence[Signal] = ()) -> DriftReport | None:
    """Evidently's view, against the model's own reference: a slow walk away from it shows here, window by window.

    Returns
    -------
    DriftReport or None
        None when Evidently failed: that is logged, and :func:`status` says so.
    """
    from selfheal.drift.report import report

    reference = thinned(model.reference, REPORT_ROWS)
    units = model.model_units(thinned(window.frame, REPORT_ROWS))
    scores = (model.proba_of_units(reference)[:, -1], model.proba_of_units(units)[:, -1])
    try:
        return report(reference, units, found, dtypes=model.dtypes, scores=scores, sample=REPORT_ROWS)
    except Exception:
        # Whatever Evidently or its parts may raise on odd data: a page that can't be drawn must not keep the loop from
        # deciding. The signals do that, and what they and the model raise above is not caught.
        _log.exception("%s, window %d: no drift report", window.ref.model, window.ref.index)
        return None
