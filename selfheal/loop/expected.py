"""The accuracy to expect without labels, and what labels said of it when they came."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from selfheal.errors import SelfhealError
from selfheal.steering.workspace import Workspace

if TYPE_CHECKING:
    from selfheal.drift.yardstick import Yardstick
    from selfheal.healing.estimate import Estimate
    from selfheal.model import MonitoredModel

JUDGED = 12
"""Windows whose estimate is held against labels that come late, and that may refute the next one."""

LABELLED = 30
"""Labels of a window below which they say nothing about an estimate."""

ERRORS = 2.0
"""Standard errors of the labels' accuracy that an estimate's interval is widened by before labels refute it."""

_log = logging.getLogger("selfheal.loop")


@dataclass(frozen=True)
class Expected:
    """What is said of a window's accuracy, and the interval that labels will judge.

    Attributes
    ----------
    shown
        The estimate, or why nothing is said.
    judged
        (value, low, high) of the accuracy. Also kept where labels refuted an earlier one and nothing is shown: only so
        can labels bear it out again.
    """

    shown: Estimate
    judged: tuple[float, float, float] | None


def expected(
    model: MonitoredModel,
    frame: pd.DataFrame,
    stick: Yardstick,
    recent: Sequence[pd.DataFrame],
    history: Sequence[Mapping[str, Any]],
) -> Expected:
    """The estimate of a window (raw rows); silent where labels have refuted the last one that they speak about.

    Parameters
    ----------
    history
        The cycles before it, oldest first.
    """
    from selfheal.healing.estimate import of_window, silent

    made = of_window(model, frame, stick, list(recent))
    judged = [c for c in history if (c.get("estimate") or {}).get("held") is not None]
    if judged and not judged[-1]["estimate"]["held"]:
        last = judged[-1]["estimate"]
        why = (
            f"labels refuted the estimate of window {judged[-1]['index']}: {last['labels_say']:.3f} on "
            f"{last['labelled']} labels, expected was {last['judged'][1]:.3f} to {last['judged'][2]:.3f}"
        )
        return Expected(silent(why), made.accuracy)
    return Expected(made, made.accuracy)


def as_entry(found: Expected | None) -> dict[str, Any] | None:
    """An estimate in a cycle's record; ``held`` says, once labels have come, whether they bear it out."""
    if found is None:
        return None
    return {**asdict(found.shown), "judged": found.judged, "labels_say": None, "labelled": 0, "held": None}


def back_test(ws: Workspace, name: str, model: MonitoredModel) -> int:
    """Hold the estimates of the last windows against labels that have come since; the result joins their records.

    Returns
    -------
    int
        How many windows were judged now.
    """
    judged = 0
    for cycle in ws.table.cycles(name, last=JUDGED):
        entry = cycle.get("estimate")
        if not entry or entry["judged"] is None:
            continue
        window = ws.table.labelled(ws.table.window(name, cycle["index"]))
        count = len(window.frame)
        if count < LABELLED or count == entry["labelled"]:
            continue
        said = model.classes_[model.decide(window.probabilities)]
        accuracy = float(np.mean(said == window.labels.to_numpy(dtype=said.dtype)))
        slack = ERRORS * float(np.sqrt(max(accuracy * (1 - accuracy), 1 / count) / count))
        _, low, high = entry["judged"]
        held = low - slack <= accuracy <= high + slack
        told = {**entry, "labels_say": accuracy, "labelled": count, "held": bool(held)}
        ws.table.amend_cycle(name, cycle["index"], estimate=told)
        _log_error(ws, name, cycle, accuracy - entry["judged"][0])
        judged += 1
    return judged


def _log_error(ws: Workspace, name: str, cycle: Mapping[str, Any], error: float) -> None:
    """On the watch run, at the window's step; MLflow being away loses a point of a plot and nothing else."""
    try:
        run = ws.registry.watch_run(name, cycle["version"])
        ws.registry.log_metrics(run, {"estimate error": error}, cycle["index"], None)
    except SelfhealError as error_:
        _log.warning("%s, window %d: the estimate's error was not logged: %s", name, cycle["index"], error_)


def metrics_of(found: Expected | None) -> dict[str, float]:
    """The numbers of an estimate, by the names that they have in MLflow; none where it is silent."""
    estimate = None if found is None else found.shown
    if estimate is None or estimate.accuracy is None or estimate.log_loss is None:
        return {}
    names = ("", " low", " high")
    return {f"estimated accuracy{n}": v for n, v in zip(names, estimate.accuracy, strict=True)} | {
        "estimated log-loss": estimate.log_loss[0]
    }
