"""What the service says of itself: /ping, /ready, /health, /version, /metrics."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Any

from selfheal.serving.config import ServingConfig
from selfheal.serving.http import Message, Receive, Send, answer, answer_text
from selfheal.serving.log import LogWriter
from selfheal.serving.metrics import Metrics, gauges, refused
from selfheal.serving.sentinel import Sentinel
from selfheal.serving.shadow import Shadow
from selfheal.serving.source import Source
from selfheal.serving.standing import Standing, complaints

PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
HEAVY = ("mlflow", "evidently", "prefect")
"""What a process that scores must never load; /version names what it did."""
WHOLE = ("torch", "sklearn", "pandas")
"""What it loads where a model has no stored path, or is asked for a value of which that knows nothing."""


class Pages:
    """Reads what others hold; asks nobody, so that it answers whatever is down.

    Attributes
    ----------
    standing
        How what is not this process's own stands.
    ready
        Whether requests should be sent here: from the start until the service is told to end.
    """

    def __init__(
        self,
        config: ServingConfig,
        source: Source,
        log: LogWriter,
        metrics: Metrics,
        standing: Standing,
        shadow: Shadow,
        sentinel: Sentinel,
    ) -> None:
        self._config, self._source, self._log = config, source, log
        self._shadow, self._sentinel = shadow, sentinel
        self._metrics, self.standing = metrics, standing
        self.ready = False

    async def ping(self, scope: Message, receive: Receive, send: Send) -> int:
        """Answer 200: the process lives and can score."""
        await answer_text(send, "\n", b"application/json")
        return 200

    async def life(self, scope: Message, receive: Receive, send: Send) -> int:
        """Answer 200, as the Open Inference Protocol does: the process lives."""
        await answer(send, 200, {"live": True})
        return 200

    async def readiness(self, scope: Message, receive: Receive, send: Send) -> int:
        """Answer 200 where requests should be sent here, 503 where they should not any more."""
        status = 200 if self.ready else 503
        await answer(send, status, {"ready": self.ready})
        return status

    async def version(self, scope: Message, receive: Receive, send: Send) -> int:
        """Name what serves."""
        await answer(send, 200, self.served())
        return 200

    def served(self) -> dict[str, Any]:
        """What serves, for /version."""
        pointer = self._source.scorer.pointer
        return {
            "model": self._config.model,
            "model_version": pointer.version,
            "base_version": pointer.base_version,
            "base_digest": pointer.base_digest,
            "adapter_digest": pointer.adapter_digest,
            "heavy_modules": [name for name in HEAVY if name in sys.modules],
            "loaded": [name for name in WHOLE if name in sys.modules],
        }

    async def health(self, scope: Message, receive: Receive, send: Send) -> int:
        """Tell whether all is well: 200 either way, for a replica that scores must stay in the balancer's list."""
        await answer(send, 200, self.condition())
        return 200

    def condition(self) -> dict[str, Any]:
        """What /health says."""
        scorer, log = self._source.scorer, self._log.state
        reasons = self.complaints()
        return {
            "status": "degraded" if reasons else "ok",
            "reasons": reasons,
            "frozen": "" if self._source.freeze is None else str(self._source.freeze),
            "model": self._config.model,
            "model_version": scorer.version,
            "settled_at": scorer.pointer.settled_at.isoformat(),
            "pointer_age_s": round(self._source.age, 3),
            "adapter": scorer.changed_part,
            "path": "frame" if scorer.path is None else "compiled",
            "event_clock": self._config.event_clock,
            "log": {
                "rows_waiting": log.waiting,
                "rows_written": log.written,
                "rows_dropped": log.dropped,
                "rows_refused": log.refused,
                "rows_replayed": log.replayed,
                "rows_torn": log.torn,
                "spill_bytes": log.spill_bytes,
            },
            "shadow": {"versions": self._shadow.versions, **asdict(self._shadow.state)},
        }

    def complaints(self) -> list[str]:
        """Why the service is degraded; empty when it is well."""
        return [*complaints(self._source, self._log, self._config), *self.standing.complaints().values()]

    async def metrics(self, scope: Message, receive: Receive, send: Send) -> int:
        """Count, in Prometheus' text."""
        await answer_text(send, self.counted(), PROMETHEUS)
        return 200

    def counted(self) -> str:
        """What /metrics says."""
        source = self._source
        text = self._metrics.text(self._config.model, source.scorer.version, source.age, source.swaps, self._log.state)
        text += refused(self._config.model, self._log.refusals.totals)
        shadow = self._shadow.state
        faults = [
            ("degraded", "gauge", bool(self.complaints())),
            *self.standing.gauges(),
            ("shadow_versions", "gauge", len(self._shadow.scorers)),
            ("shadow_rows_total", "counter", shadow.rows),
            ("shadow_rows_dropped_total", "counter", shadow.dropped),
            ("sentinel_ratio", "gauge", round(self._sentinel.ratio, 4)),
            ("sentinel_cuts_total", "counter", self._sentinel.cuts),
        ]
        text += gauges(self._config.model, faults)
        label, worker = f'{{model="{self._config.model}"', self._config.worker
        return text if worker is None else text.replace(label, f'{label},worker="{worker}"')
