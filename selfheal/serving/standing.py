"""What /health and /metrics say of what is not this process's own: the stages, the policy, the reconciler beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from selfheal.serving.source import Source
from selfheal.serving.watchdog import Reconciler

UNWATCHED_S = 120.0
"""After the start, or after the last one stopped on purpose, a reconciler must say something within this time."""


class Standing:
    """Reads what the source and the reconciler hold; asks nobody, so that it answers whatever is down.

    Parameters
    ----------
    reconciler
        The reconciler that was started beside this service, if one was.
    """

    def __init__(self, source: Source, reconciler: Reconciler | None) -> None:
        self._source, self._reconciler = source, reconciler

    def complaints(self) -> dict[str, str]:
        """Kind → words, each with the time since when; empty when all is well."""
        beat = self._source.beat
        if beat is not None:
            found = beat.complaints()
        elif time.monotonic() - self._source.beat_at > UNWATCHED_S:
            found = {
                "stages": "no reconciler looks at the stages in MLflow, so that no change of them is served; let "
                "`selfheal serve` run one on some host"
            }
        else:
            found = {}
        if self._reconciler is not None and (words := self._reconciler.complaint()):
            found["reconciler"] = words
        return found

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """Name, Prometheus type and value of each."""
        told = self.complaints()
        for kind in ("production", "policy", "restored", "approvals", "stages", "reconciler"):
            yield f"{kind}_fault", "gauge", float(kind in told)
        yield "frozen", "gauge", float(self._source.freeze is not None)
        if self._source.beat is not None:
            yield "stages_age_seconds", "gauge", round(self._source.beat.age, 3)
        if self._reconciler is not None:
            yield "reconciler_age_seconds", "gauge", round(self._reconciler.age, 3)
            yield "reconciler_ended_total", "counter", self._reconciler.ended
            yield "reconciler_hung_total", "counter", self._reconciler.hung
