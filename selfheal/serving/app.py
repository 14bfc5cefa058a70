"""The ASGI application: MLflow's protocol, and what a loop that heals needs beside it."""

from __future__ import annotations

import asyncio
import logging
import time
from copy import copy
from datetime import UTC, datetime
from urllib.parse import parse_qs

import msgspec

from selfheal.errors import InputError, SelfhealError, nearest, shown
from selfheal.serving.config import ServingConfig
from selfheal.serving.csv_rows import csv_extent, parse_csv
from selfheal.serving.desk import Desk
from selfheal.serving.http import (
    KEY,
    OPEN,
    ROWS,
    GoneError,
    Message,
    Receive,
    Route,
    Send,
    StatusError,
    TooLargeError,
    TurnedAwayError,
    answer,
    error_body,
    header,
    is_json,
    media_type,
    read_body,
    refuse_body,
)
from selfheal.serving.inference import BINARY, SERVER, Tensors, metadata, tensors_extent
from selfheal.serving.lines import REQUESTS, trace
from selfheal.serving.log import LogWriter
from selfheal.serving.metrics import Metrics
from selfheal.serving.openapi import VERSION, openapi
from selfheal.serving.pages import Pages
from selfheal.serving.requests import extent, parse
from selfheal.serving.scoring import PATH, Extent, Read, Scoring
from selfheal.serving.sentinel import Sentinel
from selfheal.serving.shadow import Shadow
from selfheal.serving.source import Source
from selfheal.serving.standing import Standing
from selfheal.serving.telemetry import Telemetry
from selfheal.serving.watchdog import Reconciler
from selfheal.table import InferenceTable

_log = logging.getLogger("selfheal.serving")
_requests = logging.getLogger(REQUESTS)
_CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
}
"""Those that MLflow's clients know."""
_JSON = "application/json"
_READERS: dict[str, tuple[Read, Extent]] = {_JSON: (parse, extent), "text/csv": (parse_csv, csv_extent)}
FORMATS = ("rows", "frame")
"""How predictions are answered: a list a row in the order of the classes, or an object a row by class."""


class ScoringApp:
    """One model's scoring service; made by :func:`create_app`."""

    def __init__(self, config: ServingConfig, reconciler: Reconciler | None = None) -> None:
        self.config = config
        self.table = InferenceTable(config.database_url)
        self.source = Source(config, self.table)
        self.standing = Standing(self.source, reconciler)
        order = tuple(self.table.schema(config.model).dtypes)
        self.sentinel = Sentinel(self.table, config.model, self.source, order)
        kept = (config.queue_bytes, config.spill, config.spill_bytes)
        self.log = LogWriter(self.table, config.model, *kept, self.sentinel.see)
        self.metrics = Metrics()
        self.shadow = Shadow(self.table, config.model, self.source)
        self.scoring = Scoring(config, self.source, self.log, self.metrics, order, self.shadow)
        self.pages = pages = Pages(
            config, self.source, self.log, self.metrics, self.standing, self.shadow, self.sentinel
        )
        model = f"/v2/models/{config.model}"
        routes = {
            PATH: Route("POST", "score", self._invocations),
            "/feedback": Route("POST", "feedback", self._feedback),
            "/ping": Route("GET", OPEN, pages.ping),
            "/ready": Route("GET", OPEN, pages.readiness),
            "/health": Route("GET", "read", pages.health),
            "/version": Route("GET", "read", pages.version),
            "/metrics": Route("GET", "read", pages.metrics),
            "/openapi.json": Route("GET", "read", self._openapi),
            "/v2": Route("GET", "read", self._server),
            "/v2/health/live": Route("GET", OPEN, pages.life),
            "/v2/health/ready": Route("GET", OPEN, pages.readiness),
            model: Route("GET", "read", self._model),
            f"{model}/ready": Route("GET", OPEN, pages.readiness),
            f"{model}/infer": Route("POST", "score", self._infer),
        }
        if config.metrics_apart:
            del routes["/metrics"]
        self.routes: dict[str, Route] = routes
        self.telemetry: Telemetry | None = None
        self.desk = Desk({PATH: self.scoring})

    def counters(self) -> ScoringApp:
        """The same, of which only /metrics, /ping and /ready are answered."""
        apart = copy(self)
        apart.desk = Desk({})
        probes = {path: self.routes[path] for path in ("/ping", "/ready")}
        apart.routes = probes | {"/metrics": Route("GET", "read", self.pages.metrics)}
        return apart

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            path, began = scope["path"], time.perf_counter()
            status = await self._answer(path, scope, receive, send)
            known = path if path in self.routes else "other"
            self.metrics.answered(known, status)
            if self.telemetry is not None:
                more = {"model": self.config.model, "version": self.source.scorer.version, "rows": scope.get(ROWS, 0)}
                self.telemetry.tell(scope, known, status, time.perf_counter() - began, **more)
            if _requests.isEnabledFor(logging.INFO):
                ms = round((time.perf_counter() - began) * 1000, 3)
                fields = {"path": known, "status": status, "ms": ms, "rows": scope.get(ROWS, 0), "key": scope.get(KEY)}
                version = self.source.scorer.version
                _requests.info("answered", extra={"fields": fields | {"model": self.config.model, "version": version}})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.pages.ready = False
        await asyncio.to_thread(self.close)
        await send({"type": "lifespan.shutdown.complete"})

    def start(self) -> None:
        """Follow the pointer, log what is answered, be ready."""
        self.source.start()
        self.log.start()
        self.shadow.start()
        self.pages.ready = True

    def close(self) -> None:
        """Stop following the pointer, commit what waits, close the connections."""
        self.source.close()
        self.shadow.close()
        self.log.close()
        self.table.close()

    async def _answer(self, path: str, scope: Message, receive: Receive, send: Send) -> int:
        route = self.routes.get(path)
        try:
            if self.config.keys is not None and (route is None or route.scope != OPEN):
                scope[KEY] = self.config.keys.admit(scope, OPEN if route is None else route.scope)
            if route is None:
                raise StatusError(404, f"no such path {shown(path)}; there are {', '.join(self.routes)}")
            if scope["method"] != route.method and not (scope["method"] == "HEAD" and route.method == "GET"):
                words = f"{path} takes {route.method}, not {scope['method']}"
                raise StatusError(405, words, (b"allow", route.method.encode()))
            return await route.handler(scope, receive, send)
        except SelfhealError as error:
            return await self._refuse(send, error.http_status, str(error))
        except StatusError as error:
            return await self._refuse(send, error.status, str(error), *error.headers)
        except TooLargeError:
            mb = self.config.body_bytes // 2**20
            words = f"the body is larger than {mb} MiB; send the rows in several requests"
            await refuse_body(receive, send, error_body("BAD_REQUEST", words))
            return 413
        except TurnedAwayError:
            words = f"more is asked than is answered within {self.config.turn_s:g} s; nothing was done, send it again"
            return await self._refuse(send, 429, words, (b"retry-after", b"1"))
        except GoneError:
            return 499
        except Exception as error:
            # The edge of a request: a bug is told with its places, counted as 500, and costs this request alone.
            _log.error("%s failed: %s", path, trace(error))
            return await self._refuse(send, 500, "the service failed on this request; its log says why")

    async def _refuse(self, send: Send, status: int, words: str, *headers: tuple[bytes, bytes]) -> int:
        code = _CODES.get(status, "BAD_REQUEST" if status < 500 else "INTERNAL_ERROR")
        await answer(send, status, error_body(code, words), *headers)
        return status

    async def _invocations(self, scope: Message, receive: Receive, send: Send) -> int:
        kind = media_type(scope)
        if (reader := _READERS.get(kind) or (_READERS[_JSON] if is_json(kind) else None)) is None:
            raise StatusError(415, f"the content type {shown(kind)} is not read; send {_JSON} or text/csv")
        frame = _frame(scope["query_string"])
        scored = await self.scoring.answer(scope, receive, *reader)
        await answer(send, 200, scored.answer(frame))
        self.shadow.offer(scored)
        return 200

    async def _infer(self, scope: Message, receive: Receive, send: Send) -> int:
        _check_json(scope)
        if header(scope, b"inference-header-content-length"):
            raise StatusError(415, f"{BINARY}; send JSON (binary_data=False)")
        tensors = Tensors()
        scored = await self.scoring.answer(scope, receive, tensors.read, tensors_extent)
        await answer(send, 200, tensors.answer(self.config.model, scored))
        self.shadow.offer(scored)
        return 200

    async def _server(self, scope: Message, receive: Receive, send: Send) -> int:
        await answer(send, 200, SERVER | {"version": VERSION})
        return 200

    async def _model(self, scope: Message, receive: Receive, send: Send) -> int:
        await answer(send, 200, metadata(self.config.model, self.source.scorer))
        return 200

    async def _openapi(self, scope: Message, receive: Receive, send: Send) -> int:
        page = openapi(self.config.model, self.source.scorer.signature, self.routes)
        await answer(send, 200, page | {"servers": [{"url": scope.get("root_path") or "/"}]})
        return 200

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


def _check_json(scope: Message) -> None:
    if not is_json(kind := media_type(scope)):
        raise StatusError(415, f"the content type {shown(kind)} is not read; send {_JSON}")


def _frame(query: bytes) -> bool:
    """Whether rows are asked for by class."""
    if not query:
        return False
    asked = parse_qs(query.decode("latin-1")).get("format", ["rows"])[-1]
    if asked not in FORMATS:
        raise InputError(f"format is {shown(asked)}{nearest(asked, FORMATS)}; known: {', '.join(FORMATS)}")
    return asked == "frame"


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
