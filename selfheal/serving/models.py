"""Several models in one service: each its own scorer, log and counters below ``/models/NAME``; pages of all above.

With one model every route without its name is that model's too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, ClassVar

from selfheal.errors import nearest, shown
from selfheal.serving.app import ScoringApp
from selfheal.serving.config import ServingConfig
from selfheal.serving.desk import Desk
from selfheal.serving.http import Message, Receive, Send, StatusError, answer, answer_text, error_body
from selfheal.serving.inference import SERVER
from selfheal.serving.metrics import merged
from selfheal.serving.openapi import VERSION
from selfheal.serving.pages import PROMETHEUS
from selfheal.serving.telemetry import Telemetry
from selfheal.serving.watchdog import Reconciler

PREFIX = "/models/"
OPEN_PAGES = ("/ping", "/ready", "/v2/health/live", "/v2/health/ready")
"""Pages of all models together that never ask for a key."""


class ModelsApp:
    """The scoring services of some models as one ASGI application.

    Parameters
    ----------
    apps
        One a model, by name.

    Attributes
    ----------
    connections
        The most that may be open at once; None: no bound.
    """

    def __init__(self, apps: Sequence[ScoringApp]) -> None:
        self.apps = {app.config.model: app for app in apps}
        self._first = next(iter(self.apps.values()))
        self._only_counters = False
        self.connections: int | None = None
        scorings = {f"{PREFIX}{name}/invocations": app.scoring for name, app in self.apps.items()}
        self.desk = Desk(scorings | ({"/invocations": self._first.scoring} if len(self.apps) == 1 else {}))

    def counters(self) -> ModelsApp:
        """The same, of which only /metrics, /ping and /ready are answered."""
        apart = copy(self)
        apart.apps = {name: app.counters() for name, app in self.apps.items()}
        apart._first = next(iter(apart.apps.values()))
        apart._only_counters, apart.desk = True, Desk({})
        return apart

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in the server's life."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            return
        app, path = self._route(scope["path"])
        if app is not None:
            below = scope["path"][: len(scope["path"]) - len(path)]
            await app({**scope, "path": path, "root_path": below}, receive, send)
            return
        try:
            await self._own(path, scope, send)
        except StatusError as error:
            code = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}.get(error.status, "BAD_REQUEST")
            await answer(send, error.status, error_body(code, str(error)), *error.headers)

    def crowded(self) -> None:
        """Count a connection that was refused, there being as many as may be."""
        self._first.metrics.answered("other", 503)

    def tell(self, telemetry: Telemetry | None) -> None:
        """Tell of every request; then none takes the short way, where nobody would see it."""
        self.desk.all_go_on = telemetry is not None
        for app in self.apps.values():
            app.telemetry = telemetry

    def leave(self) -> None:
        """Say that requests should be sent elsewhere."""
        for app in self.apps.values():
            app.pages.ready = False

    def _route(self, path: str) -> tuple[ScoringApp | None, str]:
        """Which model's a path is, and what it is called there."""
        name, slash, rest = path.removeprefix(PREFIX).partition("/")
        if path.startswith(PREFIX) and name in self.apps:
            return self.apps[name], slash + rest
        if len(self.apps) == 1 and path != "/models":
            return self._first, path
        name = path.removeprefix("/v2/models/").partition("/")[0]
        return (self.apps.get(name) if path.startswith("/v2/models/") else None), path

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        for app in self.apps.values():
            app.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self.leave()
        await asyncio.gather(*(asyncio.to_thread(app.close) for app in self.apps.values()))
        await send({"type": "lifespan.shutdown.complete"})

    async def _own(self, path: str, scope: Message, send: Send) -> None:
        """What is asked of all models together."""
        keys = self._first.config.keys
        if keys is not None and path not in OPEN_PAGES:
            keys.admit(scope, "read")
        counters = self._only_counters or not self._first.config.metrics_apart
        if self._only_counters and path not in ("/ping", "/ready", "/metrics"):
            raise StatusError(404, f"no such path {shown(path)} on this port; there are /ping, /ready and /metrics")
        if scope["method"] not in ("GET", "HEAD") and path in self._pages:
            raise StatusError(405, f"{path} takes GET, not {scope['method']}", (b"allow", b"GET"))
        if path == "/ping":
            await answer_text(send, "\n", b"application/json")
        elif path == "/metrics" and counters:
            await answer_text(send, merged([app.pages.counted() for app in self.apps.values()]), PROMETHEUS)
        elif path in self._pages:
            status, content = self._pages[path](self)
            await answer(send, status, content)
        else:
            raise StatusError(404, self._unknown(path))

    def _unknown(self, path: str) -> str:
        names = ", ".join(self.apps)
        name = path.removeprefix(PREFIX).partition("/")[0]
        if path.startswith(PREFIX):
            return f"no model {shown(name)} is served here{nearest(name, list(self.apps))}; served: {names}"
        example = f"{PREFIX}{next(iter(self.apps))}{path if path in self._first.routes else '/invocations'}"
        return f"no such path {shown(path)}: {len(self.apps)} models are served ({names}), as in {example}"

    def _ready(self) -> tuple[int, Any]:
        ready = all(app.pages.ready for app in self.apps.values())
        return (200 if ready else 503), {"ready": ready}

    def _live_page(self) -> tuple[int, Any]:
        return 200, {"live": True}

    def _health(self) -> tuple[int, Any]:
        models = {name: app.pages.condition() for name, app in self.apps.items()}
        reasons = [f"{name}: {words}" for name, state in models.items() for words in state["reasons"]]
        return 200, {"status": "degraded" if reasons else "ok", "reasons": reasons, "models": models}

    def _version(self) -> tuple[int, Any]:
        return 200, {"models": {name: app.pages.served() for name, app in self.apps.items()}}

    def _names(self) -> tuple[int, Any]:
        return 200, {"models": list(self.apps)}

    def _server(self) -> tuple[int, Any]:
        return 200, SERVER | {"version": VERSION}

    _pages: ClassVar[dict[str, Callable[[ModelsApp], tuple[int, Any]]]] = {
        "/ready": _ready,
        "/v2/health/live": _live_page,
        "/v2/health/ready": _ready,
        "/health": _health,
        "/version": _version,
        "/models": _names,
        "/v2": _server,
    }


def create_models(configs: Sequence[ServingConfig], reconciler: Reconciler | None = None) -> ModelsApp:
    """The service of some models; see :func:`selfheal.serving.app.create_app`."""
    return ModelsApp([ScoringApp(config, reconciler) for config in configs])
