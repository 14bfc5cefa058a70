"""What was estimated without labels, held against the labels that have come since."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from selfheal.errors import SelfhealError
from selfheal.loop.context import Serving
from selfheal.loop.expected import JUDGED

LEAST = 30
"""Labels of a window below which they say nothing about an estimate."""

ERRORS = 2.0
"""Standard errors of the labels' accuracy that an estimate's interval is widened by before labels refute it."""

_log = logging.getLogger("selfheal.loop")


def back_test(serving: Serving) -> Serving:
    """Judge the estimates of the last windows by labels that have come since; the result joins their records."""
    last = [c for c in serving.cycles[-JUDGED:] if (c.get("estimate") or {}).get("judged") is not None]
    counts = serving.labelled_windows([c["index"] for c in last])
    judged = {c["index"]: entry for c in last if (entry := _judged(serving, c, counts.get(c["index"], 0))) is not None}
    told_now = ({**c, "estimate": judged[c["index"]]} if c["index"] in judged else c for c in serving.cycles)
    return replace(serving, cycles=tuple(told_now)) if judged else serving


def _judged(serving: Serving, cycle: Mapping[str, Any], count: int) -> dict[str, Any] | None:
    """The estimate of a window with what labels say of it; None where they say nothing new."""
    entry = cycle["estimate"]
    if count < LEAST or count == entry["labelled"]:
        return None
    ws, name, model = serving.ws, serving.name, serving.model
    window = serving.labelled(cycle["index"])
    if window.frame.empty:
        return None
    said = model.classes_[model.decide(window.probabilities)]
    accuracy = float(np.mean(said == window.labels.to_numpy(dtype=said.dtype)))
    slack = ERRORS * float(np.sqrt(max(accuracy * (1 - accuracy), 1 / count) / count))
    _, low, high = entry["judged"]
    holds = bool(low - slack <= accuracy <= high + slack)
    anew = {**entry, "labels_say": accuracy, "labelled": count, "held": holds}
    ws.table.amend_cycle(name, cycle["index"], estimate=anew)
    _log_error(serving, cycle, accuracy - entry["judged"][0])
    return anew


def _log_error(serving: Serving, cycle: Mapping[str, Any], error: float) -> None:
    """On the watch run, at the window's step; MLflow being away loses a point of a plot and nothing else."""
    runs, name = serving.ws.registry.runs, serving.name
    try:
        run = cycle.get("run") or runs.watch_run(name, cycle["version"], lambda: serving.info(cycle["version"]))
        runs.log_metrics(run, {"estimate error": error}, cycle["index"], None)
    except SelfhealError as away:
        _log.warning("%s, window %d: the estimate's error was not logged: %s", name, cycle["index"], away)
