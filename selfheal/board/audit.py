"""The micro-audit with simulated labels: where the healer sends a case to audit, the true labels answer.

Rows are chosen and answers are read by the parts that `selfheal audit` uses; only the person is simulated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from selfheal.board.trial import Trial
from selfheal.healing.labels.asked import ask
from selfheal.healing.labels.trials import let_out, taken_back
from selfheal.healing.outcome import Outcome
from selfheal.healing.sequential import lead
from selfheal.model import MonitoredModel


def simulated(trial: Trial, outcome: Outcome | None, seed: int) -> dict[str, Any] | None:
    """What an audit with the window's true labels decides; None where nothing waits for one.

    Returns
    -------
    dict
        ``passed``: whether the waiting adapter goes out; ``labels``: how many answers that took; ``says``: in words.
        Fewer rows on which the two differ than the test needs leave things as they are, with no label.
    """
    if outcome is None or outcome.decision != "audit" or outcome.adapter is None or trial.later:
        return None
    window = trial.window.reset_index(drop=True)
    asked = ask(trial.model, trial.model.with_adapter(outcome.adapter), window, seed)
    if len(asked.rows) < lead():
        return {"passed": False, "labels": 0, "says": f"they differ on {len(asked.rows)} rows, {lead()} are needed"}
    asked = replace(asked, answers={i: trial.truth[i] for i in asked.rows.index})
    ruling, why = asked.ruling(trial.model.policy)
    return {"passed": ruling == "passed", "labels": asked.wald.answered, "says": why}


def judged(record: dict[str, Any] | None, before: Mapping[str, float] | None, waiting: Mapping[str, float] | None,
           harm: Mapping[str, float]) -> dict[str, Any] | None:  # fmt: skip
    """The audit with its truth: ``right`` if what it let through is better on unseen rows, or what it stopped not."""
    if record is None or before is None or waiting is None:
        return record
    gained = waiting["accuracy"] - before["accuracy"]
    worse = gained < -harm["accuracy"] - 1e-9 or waiting["log_loss"] - before["log_loss"] > harm["log_loss"] + 1e-9
    return record | {"right": record["passed"] == (gained > 0), "harmful": bool(record["passed"] and worse)}


def served(trial: Trial, outcome: Outcome | None) -> list[MonitoredModel]:
    """What serves the unseen windows one after the other, once the outcome is carried out.

    What waits goes out as soon as labels of the windows before prove it, and comes back as soon as they speak against
    it, by the tests of the loop; who answers nothing changes nothing.
    """
    model = trial.model
    first = _at_once(trial, outcome)
    if outcome is None or outcome.adapter is None or not trial.later:
        return [first] * (len(trial.later) + 1)
    candidate, models, since = model.with_adapter(outcome.adapter), [first], 0
    for window in range(1, len(trial.later) + 1):
        if models[-1] is not model:
            worse = taken_back(model, candidate, trial.later[since:window])[0] == "worse"
            models.append(model if worse else candidate)
        else:
            bet = outcome.numbers.get("labels_held", 1.0)
            waits = outcome.decision == "audit" and not any(m is not model for m in models)
            goes = waits and let_out(model, candidate, trial.later[:window], lambda: trial.window, bet)[0] == "better"
            models.append(candidate if goes else model)
            since = window
    return models


def _at_once(trial: Trial, outcome: Outcome | None) -> MonitoredModel:
    if outcome is not None and outcome.decision == "recall":
        return trial.model.with_adapter({v: a for v, a, _ in trial.memory}[outcome.recall or 0])
    if outcome is not None and outcome.decision == "promote" and outcome.adapter is not None:
        return trial.model.with_adapter(outcome.adapter)
    return trial.model
