"""The micro-audit with simulated labels: where the healer sends a case to audit, the true labels answer."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from selfheal.drill.trial import Trial
from selfheal.healing.outcome import Outcome

PLACES = ("selfheal.healing.audit", "selfheal.lifecycle.audit")


def offered() -> str:
    """The module that offers a sequential test over labels, or empty."""
    return next((name for name in PLACES if find_spec(name) is not None), "")


def simulated(trial: Trial, outcome: Outcome | None) -> dict[str, Any] | None:
    """What an audit with true labels decides; None where nothing waits for one, ``skipped`` with the reason."""
    if outcome is None or outcome.decision != "audit":
        return None
    return {"skipped": "this version has no audit"} if not offered() else {"skipped": f"{offered()} is not driven yet"}
