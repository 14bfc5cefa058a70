"""One row of the scoreboard: a trial put to a healer, and every figure from rows that the healer never saw."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score
from threadpoolctl import threadpool_limits

from selfheal.board import audit, owner, rivals
from selfheal.board.estimators import estimates
from selfheal.board.literature import LITERATURE
from selfheal.board.trial import Floats, Scenario, Trial
from selfheal.healing.facts import Fact
from selfheal.healing.heal import heal
from selfheal.healing.outcome import Outcome
from selfheal.model import MonitoredModel

Row = dict[str, Any]
Healer = Callable[..., Outcome]

HARM = {"accuracy": 0.01, "log_loss": 0.02}
"""A promotion that loses more accuracy or adds more log-loss (nats) than this against no healing is harmful."""

WORTH = 0.01
"""Less accuracy than this between no healing and the oracle is no gap: a share of it would be noise."""


def metrics(model: MonitoredModel, truth: Any, proba: Floats | None) -> dict[str, float] | None:
    """Accuracy, balanced accuracy, F1, average precision, log-loss, and the cost a row where one is declared.

    Parameters
    ----------
    truth : labels [n].
    proba : float [n, k]; None, or any NaN in it, gives None: rows that cannot be scored have no figures.

    Returns
    -------
    dict
        F1 and average precision are of the last class for two classes, else averaged over classes.
    """
    if proba is None or not np.isfinite(proba).all():
        return None
    y = np.searchsorted(model.classes_, truth)
    decided, k = model.decide(proba), len(model.classes_)
    hot = np.eye(k)[y]
    present = [j for j in ([1] if k == 2 else range(k)) if hot[:, j].any()]
    figures = {
        "accuracy": float((decided == y).mean()),
        "balanced_accuracy": float(balanced_accuracy_score(y, decided)) if len(np.unique(y)) > 1 else np.nan,
        "f1": float(f1_score(y, decided, average="binary" if k == 2 else "macro", zero_division=0.0)),
        "average_precision": float(np.mean([average_precision_score(hot[:, j], proba[:, j]) for j in present] or [0])),
        "log_loss": float(-np.log(np.maximum(proba[np.arange(len(y)), y], 1e-7)).mean()),
    }
    cost = model.policy.cost
    if cost is not None:
        wrong = np.where(decided == 1, (y == 0) * cost.false_positive, (y == 1) * cost.false_negative)
        figures["cost"] = float(wrong.mean())
    return figures


def run(scenario: Scenario, seed: int, healer: Healer = heal, *, literature: bool = False) -> Row:
    """Build the trial, put it to the healer, score it. A healer that raises gives a row with decision ``error``.

    Parameters
    ----------
    literature
        Whether the rivals and estimators of the literature are asked too: under ``rivals``, and ``estimates``.
    """
    with threadpool_limits(1):
        trial = scenario.build(seed)
        began = time.process_time()
        outcome, fault = _asked(trial, healer, seed)
        seconds = time.process_time() - began
        row = scored(scenario, seed, trial, outcome, fault, seconds)
        if literature:
            scores = {name: _against(trial, rival) for name, rival in LITERATURE.items()}
            row |= {"rivals": row["rivals"] | scores, "estimates": estimates(trial)}
        settled, questions = owner.answered(trial, outcome, lambda facts: _asked(trial, healer, seed, facts)[0])
        return row | {"questions": questions, "answered": _settled(trial, row, settled) if questions else None}


def _settled(trial: Trial, row: Row, outcome: Outcome | None) -> Row:
    """What became of a case whose questions were answered truthfully."""
    models = audit.served(trial, outcome)
    case: Row = {
        "decision": outcome.decision if outcome else "error", "after": _figures(trial, models),
        "acted": any(m is not trial.model for m in models), "named": _named(trial, outcome), "before": row["before"],
    }  # fmt: skip
    return case | {"harmful": harmful(case)}


def _asked(trial: Trial, healer: Healer, seed: int, facts: Sequence[Fact] = ()) -> tuple[Outcome | None, str]:
    arguments: dict[str, Any] = {"recent": trial.recent, "labels": trial.labels, "memory": trial.memory, "seed": seed}
    if facts:
        arguments["facts"] = facts
    if trial.labelled_before:
        arguments["earlier"] = trial.labelled_before
    try:
        return healer(trial.model, trial.window, **arguments), ""
    except Exception as error:  # the drill reports whatever a healer does
        return None, f"{type(error).__name__}: {error}"


def scored(scenario: Scenario, seed: int, trial: Trial, outcome: Outcome | None, fault: str, seconds: float) -> Row:
    """The row of a trial and what the healer made of it."""
    decision, diagnosis = (outcome.decision, outcome.diagnosis) if outcome else ("error", "unknown")
    models = audit.served(trial, outcome)
    before, after = _figures(trial, [trial.model]), _figures(trial, models)
    row: Row = {
        "scenario": scenario.name, "group": scenario.group, "kind": scenario.kind, "seed": seed,
        **scenario.facts, "mechanism": trial.right.mechanism, "identifiable": trial.right.identifiable,
        "declared": trial.declared, "decision": decision, "diagnosis": diagnosis,
        "expected": " or ".join(sorted(trial.right.decisions)),
        "right": trial.right.judges(decision, diagnosis),
        "served": sum(m is not trial.model for m in models) / len(models),
        "acted": decision in ("promote", "recall") or any(m is not trial.model for m in models),
        "before": before, "after": after, "oracle": _against(trial, rivals.oracle),
        "rivals": {name: _against(trial, rival) for name, rival in rivals.RIVALS.items()},
        "undrifted": None if trial.undrifted is None else _at(trial, trial.undrifted),
        "waiting": _waiting(trial, outcome), "named": _named(trial, outcome),
        "reason": outcome.reasons[0] if outcome and outcome.reasons else fault, "seconds": round(seconds, 3),
    }  # fmt: skip
    verdict = audit.judged(audit.simulated(trial, outcome, seed), row["before"], row["waiting"], HARM)
    return row | {"audit": verdict, "harmful": harmful(row), "gap": gap(row)}


def harmful(row: Mapping[str, Any]) -> bool:
    """Whether what was promoted is worse than no healing by more than :data:`HARM`."""
    before, after = row["before"], row["after"]
    if not row["acted"] or before is None:
        return False
    if after is None:
        return True
    lost = before["accuracy"] - after["accuracy"], after["log_loss"] - before["log_loss"]
    return bool(lost[0] > HARM["accuracy"] + 1e-9 or lost[1] > HARM["log_loss"] + 1e-9)


def gap(row: Mapping[str, Any]) -> float | None:
    """Share of (oracle − no healing) in accuracy that came back; None where the oracle gains under a point."""
    if not row["before"] or not row["after"] or not row["oracle"]:
        return None
    room = row["oracle"]["accuracy"] - row["before"]["accuracy"]
    return (row["after"]["accuracy"] - row["before"]["accuracy"]) / room if room >= WORTH else None


def _figures(trial: Trial, models: Sequence[MonitoredModel]) -> dict[str, float] | None:
    """Figures of models that serve equal parts of the unseen rows, one after the other."""
    parts = np.array_split(np.arange(len(trial.unseen)), len(models))

    def served() -> Floats:
        return np.concatenate(
            [rivals.served(model, trial.unseen.iloc[rows]) for model, rows in zip(models, parts, strict=True)]
        )

    return metrics(trial.model, trial.unseen_truth, _answers(served))


def _at(trial: Trial, frame: pd.DataFrame) -> dict[str, float] | None:
    return metrics(trial.model, trial.unseen_truth, _answers(lambda: rivals.served(trial.model, frame)))


def _against(trial: Trial, rival: Callable[[Trial], Floats | None]) -> dict[str, float] | None:
    return metrics(trial.model, trial.unseen_truth, _answers(lambda: rival(trial)))


def _answers(ask: Callable[[], Floats | None]) -> Floats | None:
    """A rival on broken rows (text in numbers, a missing column) has no answer; that is not the drill's fault."""
    try:
        return ask()
    except (KeyError, ValueError, TypeError, RuntimeError, np.linalg.LinAlgError):
        return None


def _waiting(trial: Trial, outcome: Outcome | None) -> dict[str, float] | None:
    """What the adapter that waits for an audit would do."""
    if outcome is None or outcome.decision != "audit" or outcome.adapter is None:
        return None
    return _figures(trial, [trial.model.with_adapter(outcome.adapter)])


def _named(trial: Trial, outcome: Outcome | None) -> bool | None:
    """Whether the healed input map turns drifted values into the old ones, column by column (None: nothing to say).

    Exact means within 0.1 % of the column's standard deviation on every unseen row.
    """
    if outcome is None or outcome.adapter is None or trial.undrifted is None or trial.right.mechanism != "sensor":
        return None
    back = outcome.adapter.input_map.apply(trial.unseen[list(trial.model.features)])
    for column in trial.model.features:
        if trial.model.dtypes[column] == "str":
            continue
        old = trial.undrifted[column].to_numpy(dtype=float)
        apart = np.nanmax(np.abs(back[column].to_numpy(dtype=float) - old)) if np.isfinite(old).any() else 0.0
        if apart > 1e-3 * max(float(np.nanstd(old)), 1e-9):
            return False
    return True
