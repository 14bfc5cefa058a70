"""The ASGI application: MLflow's protocol, and what a loop that heals needs beside it."""

from __future__ import annotations

import asyncio
import logging
import math
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from selfheal.errors import InputError, SelfhealError, UnavailableError, shown
from selfheal.serving.answered import answered_rows
from selfheal.serving.config import ServingConfig
from selfheal.serving.http import (
    GoneError,
    Message,
    Receive,
    Send,
    TooLargeError,
    answer,
    answer_text,
    error_body,
    read_body,
    refuse_body,
)
from selfheal.serving.log import LogWriter
from selfheal.serving.metrics import Metrics, gauges, refused
from selfheal.serving.requests import Request, extent, parse
from selfheal.serving.scorer import Scorer
from selfheal.serving.source import Source
from selfheal.serving.spill import Row
from selfheal.serving.standing import Standing, complaints
from selfheal.serving.watchdog import Reconciler
from selfheal.table import InferenceTable

_log = logging.getLogger("selfheal.serving")
_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
_CODES = {400: "BAD_REQUEST", 404: "NOT_FOUND", 503: "TEMPORARILY_UNAVAILABLE"}
HEAVY = ("mlflow", "evidently", "prefect")
"""What a process that scores must never load; /version names what it did."""


class ScoringApp:
    """One model's scoring service; made by :func:`create_app`."""

    def __init__(self, config: ServingConfig, reconciler: Reconciler | None = None) -> None:
        self.config = config
        self.table = InferenceTable(config.database_url)
        self.source = Source(config, self.table)
        self.standing = Standing(self.source, reconciler)
        self.log = LogWriter(self.table, config.model, config.queue_bytes, config.spill)
        self.metrics = Metrics()
        # Rows are logged in the table's column order, which may differ from a later base's own.
        self._order = tuple(self.table.schema(config.model).dtypes)
        self._routes: dict[str, tuple[str, Callable[[Message, Receive, Send], Awaitable[int]]]] = {
            "/invocations": ("POST", self._invocations),
            "/feedback": ("POST", self._feedback),
            "/ping": ("GET", self._ping),
            "/health": ("GET", self._health),
            "/version": ("GET", self._version),
            "/metrics": ("GET", self._metrics),
        }

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            path = scope["path"]
            status = await self._answer(path, scope, receive, send)
            self.metrics.answered(path if path in self._routes else "other", status)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.source.start()
        self.log.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await asyncio.to_thread(self.close)
        await send({"type": "lifespan.shutdown.complete"})

    def close(self) -> None:
        """Stop following the pointer, commit what waits, close the connections."""
        self.source.close()
        self.log.close()
        self.table.close()

    async def _answer(self, path: str, scope: Message, receive: Receive, send: Send) -> int:
        method, handler = self._routes.get(path, ("", None))
        if handler is None:
            return await self._refuse(send, 404, f"no such path {shown(path)}; there are {', '.join(self._routes)}")
        if scope["method"] != method and not (scope["method"] == "HEAD" and method == "GET"):
            return await self._refuse(send, 405, f"{path} takes {method}, not {scope['method']}")
        try:
            return await handler(scope, receive, send)
        except SelfhealError as error:
            return await self._refuse(send, error.http_status, str(error))
        except TooLargeError:
            mb = self.config.body_bytes // 2**20
            words = f"the body is larger than {mb} MiB; send the rows in several requests"
            await refuse_body(receive, send, error_body("BAD_REQUEST", words))
            return 413
        except GoneError:
            return 499
        except Exception:
            # The edge of a request: a bug is told with its traceback, counted as 500, and costs this request alone.
            _log.exception("%s failed", path)
            return await self._refuse(send, 500, "the service failed on this request; its log says why")

    async def _refuse(self, send: Send, status: int, words: str) -> int:
        code = _CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
        await answer(send, status, error_body(code, words))
        return status

    async def _invocations(self, scope: Message, receive: Receive, send: Send) -> int:
        began = time.perf_counter()
        _check_json(scope)
        body = await read_body(scope, receive, self.config.body_bytes)
        scorer = self.source.scorer  # taken once: parsed, scored and named by this version alone
        if len(body) <= self.config.inline_bytes:
            request, rows, answered = self._score(body, scorer, began)
        else:
            request, rows, answered = await asyncio.to_thread(self._score, body, scorer, began)
        text = len(body) if scorer.texts else 0
        if not request.durable:
            if not self.log.put(rows, text):
                answered["logged"] = False
        elif not await self.log.put_durably(rows, text, self.config.durable_s):
            raise UnavailableError(
                f"the rows were scored but not committed within {self.config.durable_s:g} s "
                f"({self.log.state.error or 'the log is full or refused them'}); send them again with the same "
                "prediction ids, or without durable"
            )
        await answer(send, 200, answered)
        return 200

    def _score(self, body: bytes | bytearray, scorer: Scorer, began: float) -> tuple[Request, list[Row], Any]:
        latest = math.inf if self.config.event_clock else (time.time() + self.config.future_s) * 1e6
        try:
            request = parse(body, scorer, latest_us=latest)
            proba = scorer.proba(request.numbers, request.words)
        except InputError as error:
            self.log.refuse(error, *extent(body, latest))
            raise
        ms = (time.perf_counter() - began) * 1000
        self.metrics.scored(len(request.ids), ms)
        rows = answered_rows(self._order, request, scorer, proba, ms)
        answered = {
            "predictions": proba.tolist(),
            "prediction_ids": request.ids,
            "model_version": scorer.version,
        }
        return request, rows, answered

    async def _feedback(self, scope: Message, receive: Receive, send: Send) -> int:
        _check_json(scope)
        body = await read_body(scope, receive, self.config.body_bytes)
        try:
            message = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"the body is not JSON: {error}") from error
        if not isinstance(message, dict) or set(message) != {"prediction_ids", "labels"}:
            raise InputError('the body must be {"prediction_ids": [...], "labels": [...]}')
        ids, labels = message["prediction_ids"], message["labels"]
        if not isinstance(ids, list) or not isinstance(labels, list):
            raise InputError("prediction_ids and labels must be lists of equal length")
        report = await asyncio.to_thread(self.table.add_labels, self.config.model, ids, labels, datetime.now(UTC))
        await answer(send, 200, {"stored": report.stored, "pending": report.pending, "refused": report.refused})
        return 200

    async def _ping(self, scope: Message, receive: Receive, send: Send) -> int:
        await answer_text(send, "\n", b"application/json")
        return 200

    async def _version(self, scope: Message, receive: Receive, send: Send) -> int:
        pointer = self.source.scorer.pointer
        version = {
            "model": self.config.model,
            "model_version": pointer.version,
            "base_version": pointer.base_version,
            "base_digest": pointer.base_digest,
            "adapter_digest": pointer.adapter_digest,
            "heavy_modules": [name for name in HEAVY if name in sys.modules],
        }
        await answer(send, 200, version)
        return 200

    async def _health(self, scope: Message, receive: Receive, send: Send) -> int:
        """Tell whether all is well: 200 either way, for a replica that scores must stay in the balancer's list."""
        scorer, log = self.source.scorer, self.log.state
        reasons = self.complaints()
        health = {
            "status": "degraded" if reasons else "ok",
            "reasons": reasons,
            "frozen": "" if self.source.freeze is None else str(self.source.freeze),
            "model": self.config.model,
            "model_version": scorer.version,
            "settled_at": scorer.pointer.settled_at.isoformat(),
            "pointer_age_s": round(self.source.age, 3),
            "adapter": scorer.model.adapter.changed_part,
            "path": "frame" if scorer.path is None else "compiled",
            "event_clock": self.config.event_clock,
            "log": {
                "rows_waiting": log.waiting,
                "rows_written": log.written,
                "rows_dropped": log.dropped,
                "rows_refused": log.refused,
                "rows_replayed": log.replayed,
            },
        }
        await answer(send, 200, health)
        return 200

    def complaints(self) -> list[str]:
        """Why the service is degraded; empty when it is well."""
        return [*complaints(self.source, self.log, self.config), *self.standing.complaints().values()]

    async def _metrics(self, scope: Message, receive: Receive, send: Send) -> int:
        source = self.source
        text = self.metrics.text(self.config.model, source.scorer.version, source.age, source.swaps, self.log.state)
        text += refused(self.config.model, self.log.refusals.totals)
        text += gauges(self.config.model, [("degraded", "gauge", bool(self.complaints())), *self.standing.gauges()])
        await answer_text(send, text, _PROMETHEUS)
        return 200


def _check_json(scope: Message) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type" and b"json" not in value.lower():
            raise InputError(f"the content type {shown(value.decode('latin-1'))} is not read; send application/json")


def create_app(config: ServingConfig, reconciler: Reconciler | None = None) -> ScoringApp:
    """The service of a model, its serving version loaded; ``reconciler`` is the reconciler beside it, for /health.

    Raises
    ------
    NotFoundError
        The model was never adopted, or its base is not in the cache.
    ArtifactError
        A stored file is not what was registered.
    UnavailableError
        The database cannot be reached.
    """
    return ScoringApp(config, reconciler)
