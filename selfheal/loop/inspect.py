"""Look at one closed window: guards, the two signals, the drift report, accuracy where labels have come."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selfheal.loop.context import SAMPLE_ROWS, Context
from selfheal.loop.expected import JUDGED, expected
from selfheal.loop.records import Inspection
from selfheal.table import Window, spread

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.drift.report import DriftReport
    from selfheal.drift.signals import Signal
    from selfheal.drift.yardstick import Yardstick
    from selfheal.model import MonitoredModel

REPORT_ROWS = 5_000
"""Rows of each side that Evidently sees; the signals read all of them."""

OFF = 5.0
"""Natural bounds beyond which a mapped column is not brought back, whatever the season: half of the rows displaced at
1,000 rows. A wrong conversion that passed for proven lay at 94 afterwards, under a status that said healthy."""

_log = logging.getLogger("selfheal.loop")


def inspect(ctx: Context) -> Context:
    """Read a window and compare it with this model's own recent healthy ones. Needs no MLflow.

    Raises
    ------
    UnavailableError
        The database or the log can't be reached.
    """
    from selfheal.drift.guards import fractions, guards, refused_rows

    source, ref, model = ctx.source, ctx.ref, ctx.model
    tally = source.tally(ref)
    faults = refused_rows(tally.refused, tally.used, source.says)
    early = ctx.ws.table.sentinels.cut_at(ctx.name, ref.end) if ref.seqs is None else ""  # windows of time are cut
    seen = Inspection(tuple(str(p) for p in faults), tally.refused, tally.dropped, size=tally.size, early=early)
    if ref.too_few:
        return replace(ctx, seen=seen)
    whole = source.read(ref)
    window = ctx.own(whole)
    if strange := len(whole.frame) - len(window.frame):
        seen, kept = replace(seen, strange=strange), len(window.frame)
        ref = replace(ref, rows=kept, too_few=kept < ctx.policy.monitor.min_rows)
        ctx = replace(ctx, ref=ref, seen=seen)
        if ref.too_few:
            return ctx
    if window.frame.empty:  # not one of its rows can be used
        return replace(ctx, seen=replace(seen, problems=seen.problems or tuple(guards(window.frame, model))))
    recent = ctx.healthy()
    accuracy, labelled = accuracy_of(window, model)
    took = source.latencies(ref)
    p50, p99 = np.percentile(took, [50, 99]) if len(took) else (np.nan, np.nan)
    seen = replace(
        seen,
        own_share=float(np.mean(window.versions == ctx.version)),
        accuracy=accuracy,
        labelled=labelled,
        latency=(float(p50), float(p99)),
        fractions=fractions(window.frame, model),
    )
    sample = window.take(spread(len(window.frame), SAMPLE_ROWS))
    return replace(ctx, window=sample, recent=recent, seen=_compared(seen, model, window, recent, ctx.cycles[-JUDGED:]))


def _compared(
    seen: Inspection,
    model: MonitoredModel,
    window: Window,
    recent: list[pd.DataFrame],
    history: Sequence[Mapping[str, Any]],
) -> Inspection:
    from selfheal.drift.guards import guards
    from selfheal.drift.signals import SIGNAL_ROWS, signals
    from selfheal.drift.yardstick import Yardstick, thinned

    problems = (*seen.problems, *guards(window.frame, model, recent))
    if problems:
        return replace(seen, problems=problems)
    rows = thinned(window.frame, SIGNAL_ROWS)
    stick = Yardstick(model, recent, len(rows), window=model.model_units(rows))
    alarms = tuple(signals(model, rows, recent, stick))
    return replace(
        seen,
        failed=failed_heal(model, stick, rows),
        signals=alarms,
        estimate=expected(model, rows, stick, recent, history),
        report=drift_report(model, window, alarms),
        sample=model.model_units(thinned(window.frame, SAMPLE_ROWS)),
        segments=segments_of(model, window, recent, history),
    )


def segments_of(
    model: MonitoredModel, window: Window, recent: list[pd.DataFrame], history: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """Of each part of a window that the policy declares: what the data say, for how long, and accuracy by labels."""
    columns = model.policy.declare.segments
    if not columns:
        return ()
    from selfheal.drift.by_segment import by_segment

    before = {(s["column"], s["value"]): s["alarms"] for s in (history[-1].get("segments") or () if history else ())}
    parts = []
    for part in by_segment(model, window.frame, recent, columns):
        accuracy, labelled = accuracy_of(window.take(part.rows), model)
        entry = {"column": part.column, "value": part.value, "rows": len(part.rows), "ratio": None, "alarms": 0}
        if part.signal is not None:
            again = before.get((part.column, part.value), 0) + 1
            entry |= {"ratio": part.signal.value, "alarms": again if part.signal.alarm else 0}
        reason = "too few healthy rows to compare with" if part.signal is None else part.signal.reason
        parts.append(entry | {"reason": reason, "accuracy": accuracy if labelled else None, "labelled": labelled})
    return tuple(parts)


def failed_heal(model: MonitoredModel, stick: Yardstick, rows: pd.DataFrame) -> tuple[str, ...]:
    """Columns that the serving map was to bring back and that lie off the healthy windows, and by how much."""
    maps = model.adapter.input_map.columns
    off = stick.alone(model.model_units(rows), [c for c in maps if c in model.features])
    return tuple(
        f"{column} lies at {ratio:.1f} of its natural bound (at most {OFF:g}) under {maps[column].describe()}: "
        "the heal failed, or its unit changed again"
        for column, ratio in off.items()
        if ratio > OFF
    )


def accuracy_of(window: Window, model: MonitoredModel) -> tuple[float, int]:
    """Accuracy of the answers that were served, over the labelled rows; NaN without any. And their number."""
    known = window.labels.notna().to_numpy()
    if not known.any():
        return float("nan"), 0
    said = model.classes_[model.decide(window.probabilities[known])]
    return float(np.mean(said == window.labels[known].to_numpy(dtype=said.dtype))), int(known.sum())


def drift_report(model: MonitoredModel, window: Window, shown: Sequence[Signal] = ()) -> DriftReport | None:
    """Evidently's view, against the model's own reference: a slow walk away from it shows here, window by window.

    Returns
    -------
    DriftReport or None
        None when Evidently failed: that is logged, and :func:`status` says so.
    """
    from selfheal.drift.report import report
    from selfheal.drift.yardstick import thinned

    reference, rows = thinned(model.reference, REPORT_ROWS), thinned(window.frame, REPORT_ROWS)
    units = model.model_units(rows)
    scores = (model.proba_of_units(reference)[:, -1], model.proba_of_units(units)[:, -1])
    try:
        return report(reference, units, shown, dtypes=model.dtypes, scores=scores, sample=REPORT_ROWS)
    except Exception:
        # Whatever Evidently or its parts may raise on odd data: a page that can't be drawn must not keep the loop from
        # deciding. The signals do that, and what they and the model raise above is not caught.
        _log.exception("%s, window %d: no drift report", window.ref.model, window.ref.index)
        return None
