"""What the demo found: one record an act, and the report that ``--json`` writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers on the same unseen rows, 0 to 1.

    Attributes
    ----------
    clean : the base model on the rows as they were before the fault was put in.
    broken : the base model, unhealed, on the rows as they arrived.
    after : what was served, on the rows as they arrived.
    constant : always answering the more frequent class.
    """

    clean: float
    broken: float
    after: float
    constant: float

    @property
    def recovered(self) -> float:
        """Share of the lost accuracy that is back: 1 where ``after`` equals ``clean``; NaN where nothing was lost."""
        lost = self.clean - self.broken
        return (self.after - self.broken) / lost if lost > 0 else float("nan")


@dataclass(frozen=True)
class ActResult:
    """One act as it went.

    ``missing`` lists what had to be seen and was not (empty: the act went as it must), ``alerts`` what was said aloud.
    """

    name: str
    model: str
    signals: tuple[str, ...]
    diagnosis: str
    decision: str
    changed_part: str
    reasons: tuple[str, ...]
    accuracy: Accuracy
    production_version: int
    seconds: float
    missing: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The act as the report's JSON holds it."""
        return {
            "name": self.name,
            "model": self.model,
            "signals": list(self.signals),
            "diagnosis": self.diagnosis,
            "decision": self.decision,
            "changed_part": self.changed_part,
            "reasons": list(self.reasons),
            "accuracy": {key: round(value, 4) for key, value in vars(self.accuracy).items()},
            "production_version": self.production_version,
        }


@dataclass(frozen=True)
class Requests:
    """Requests over the whole demo; ``mixed_versions`` counts answers not given by the one version they name."""

    sent: int
    failed: int
    mixed_versions: int


@dataclass(frozen=True)
class Report:
    """The whole demo; ``seconds`` is wall time from the first line to the last."""

    acts: tuple[ActResult, ...]
    requests: Requests
    seconds: float

    @property
    def missing(self) -> list[str]:
        """Everything that did not go as it must, a line each; empty when the demo succeeded."""
        lines = [f"{act.name}: {words}" for act in self.acts for words in act.missing]
        if self.requests.failed:
            lines.append(f"requests: {self.requests.failed} of {self.requests.sent} failed")
        if self.requests.mixed_versions:
            lines.append(f"requests: {self.requests.mixed_versions} answers mix versions")
        return lines

    def to_json(self) -> dict[str, Any]:
        """The report as ``--json`` writes it."""
        return {
            "acts": [act.to_json() for act in self.acts],
            "requests": vars(self.requests).copy(),
            "seconds": round(self.seconds, 1),
        }
