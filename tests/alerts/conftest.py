"""The adopted home of the tests of steering, and a place that is told: a real server that fails when it is asked to."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from selfheal.steering.workspace import Workspace
from selfheal.table.database import Database
from selfheal.table.schema import ALERT_TARGETS
from tests.steering.conftest import home, template
from tests.steering.conftest import ws as plain

__all__ = ["home", "plain", "template"]


@dataclass
class Sink:
    """What came, and whether the next message is taken."""

    fails: Callable[[], bool] = lambda: False
    taken: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    url: str = ""

    def names(self, model: str = "toy") -> list[str]:
        """The alerts that arrived, by their ids."""
        found = [re.search(r"^alert: (\S+)$", m["message"], re.MULTILINE) for m in self.taken]
        return [f[1] for f in found if f and f[1].rpartition("-")[0] == model]


@pytest.fixture
def sink() -> Iterator[Sink]:
    """On loopback, a port of its own."""
    state = Sink()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.asked += 1
            fails = state.fails()
            if not fails:
                state.taken.append(json.loads(body))
            self.send_response(500 if fails else 200)
            self.end_headers()

        def do_GET(self) -> None:
            state.taken.append({"path": self.path})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def ws(plain: Workspace, sink: Sink) -> Workspace:
    """A home that tells the sink."""
    return replace(plain, settings=replace(plain.settings, alerts=f"json://{sink.url}/{{x}}"))


@pytest.fixture
def at_once(ws: Workspace) -> Callable[[], None]:
    """As if the wait after a failure were over."""

    def over() -> None:
        database = Database(ws.settings.database_url)
        with database.write() as connection:
            connection.execute(ALERT_TARGETS.update().values(due=0))
        database.close()

    return over
