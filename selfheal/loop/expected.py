"""The accuracy to expect of a window without labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.drift.yardstick import Yardstick
    from selfheal.healing.estimate import Estimate
    from selfheal.model import MonitoredModel

JUDGED = 12
"""Windows whose estimate is held against labels that come late, and that may refute the next one."""


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


def as_entry(estimate: Expected | None) -> dict[str, Any] | None:
    """An estimate in a cycle's record; ``held`` says, once labels have come, whether they bear it out."""
    if estimate is None:
        return None
    return {**asdict(estimate.shown), "judged": estimate.judged, "labels_say": None, "labelled": 0, "held": None}


def of_serving(newest: Mapping[str, Any], serving: int) -> dict[str, Any] | None:
    """What the newest window says to expect of the version that serves now, as an entry of its cycle's record.

    A window that was judged through the map before says nothing of it but what the heal foretold of these rows.
    """
    entry: dict[str, Any] | None = newest.get("estimate")
    if entry is None or newest["version"] == serving:
        return entry
    window, heal = newest["index"], newest.get("heal") or {}
    numbers = (heal.get("numbers") or {}) if heal.get("version") == serving else {}
    foretold, error = numbers.get("expected_accuracy_healed"), numbers.get("expected_accuracy_error")
    unseen = f"version {serving} has answered no window yet"
    estimate = entry | {"assumes": "", "accuracy": None, "log_loss": None, "judged": None}
    if foretold is None or error is None:
        return estimate | {"reason": f"{unseen}; window {window} was judged as version {newest['version']} read it"}
    return estimate | {
        "assumes": f"{heal['diagnosis']}, undone in window {window}",
        "accuracy": (foretold, max(foretold - error, 0.0), min(foretold + error, 1.0)),
        "reason": f"{unseen}: foretold by its heal of window {window}",
    }


def metrics_of(known: Expected | None) -> dict[str, float]:
    """The numbers of an estimate, by the names that they have in MLflow; none where it is silent."""
    estimate = None if known is None else known.shown
    if estimate is None or estimate.accuracy is None or estimate.log_loss is None:
        return {}
    names = ("", " low", " high")
    return {f"estimated accuracy{n}": v for n, v in zip(names, estimate.accuracy, strict=True)} | {
        "estimated log-loss": estimate.log_loss[0]
    }
