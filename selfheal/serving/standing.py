"""What /health and /metrics say is wrong: with this process's own log and pointer, and with what is not its own."""

from __future__ import annotations

import time
from collections.abc import Iterator

from selfheal.serving.config import ServingConfig
from selfheal.serving.log import LogWriter
from selfheal.serving.log_state import LogState
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
            faults = beat.complaints()
        elif time.monotonic() - self._source.beat_at > UNWATCHED_S:
            faults = {
                "stages": "no reconciler looks at the stages in MLflow, so that no change of them is served; let "
                "`selfheal serve` run one on some host"
            }
        else:
            faults = {}
        if self._reconciler is not None and (words := self._reconciler.complaint()):
            faults["reconciler"] = words
        return faults

    def gauges(self) -> Iterator[tuple[str, str, float]]:
        """Name, Prometheus type and value of each."""
        complaints = self.complaints()
        for kind in ("production", "policy", "restored", "approvals", "stages", "reconciler"):
            yield f"{kind}_fault", "gauge", float(kind in complaints)
        yield "frozen", "gauge", float(self._source.freeze is not None)
        if self._source.beat is not None:
            yield "stages_age_seconds", "gauge", round(self._source.beat.age, 3)
        if self._reconciler is not None:
            yield "reconciler_age_seconds", "gauge", round(self._reconciler.age, 3)
            yield "reconciler_ended_total", "counter", self._reconciler.ended
            yield "reconciler_hung_total", "counter", self._reconciler.hung


def complaints(source: Source, writer: LogWriter | None, config: ServingConfig) -> list[str]:
    """What is wrong with the pointer that is followed and the log that is written; empty when nothing is."""
    out = []
    if source.error:
        out.append(f"the pointer cannot be followed: {source.error}")
    elif source.age > config.stale_s:
        out.append(f"the pointer was last read {source.age:.0f} s ago (limit {config.stale_s:g} s)")
    return [*out, *_losses(writer.state, config)] if writer is not None else out


def _losses(log: LogState, config: ServingConfig) -> list[str]:
    out = []
    if log.failing_since is not None:
        seconds = time.monotonic() - log.failing_since
        out.append(f"answered rows have not been logged for {seconds:.0f} s, {log.waiting} wait: {log.error}")
    if log.lost_recently and log.dropped:
        out.append(f"{log.dropped} answered rows were dropped: {_bounds(config)}")
    if log.spill_error:
        out.append(
            f"answered rows wait in memory alone, where a kill loses them: {log.spill_error}; make room, or see "
            "that the folder can be written"
        )
    if log.lost_recently and log.refused:
        out.append(f"{log.refused} answered rows were refused by the database; the service's log says why")
    return out


def _bounds(config: ServingConfig) -> str:
    """How many rows may wait, in words."""
    memory, disk = config.queue_bytes / 2**20, config.spill_bytes / 2**20
    file = "" if config.spill is None else f" and {disk:.3g} MiB in {config.spill}"
    return f"no more than {memory:.3g} MiB of them may wait in memory{file}, until the database takes them"
