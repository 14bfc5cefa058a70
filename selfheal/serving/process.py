"""Runs a scoring service in this process, with its reconciler beside it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import Any, Literal

import uvicorn
from threadpoolctl import threadpool_limits

from selfheal.errors import NotFoundError, UnavailableError
from selfheal.registry.folder import MANIFEST, base_folder
from selfheal.serving.config import ServingConfig
from selfheal.serving.drain import DrainingServer
from selfheal.serving.keys import keys_for
from selfheal.serving.lines import write_json_lines
from selfheal.serving.models import create_models
from selfheal.serving.protocol import BoundedProtocol
from selfheal.serving.telemetry import telemetry_of
from selfheal.serving.watchdog import Reconciler
from selfheal.serving.wire import Wire
from selfheal.serving.workers import Fleet
from selfheal.settings import Settings
from selfheal.table import InferenceTable

FETCH_S = 120.0
"""How long the start waits for the reconciler to fetch the base: importing MLflow alone takes 10-20 s on a busy box."""
PACE = (700, 10, 10)
"""When the garbage collector looks: Python's own numbers."""
PLAIN = Wire()
BACKLOG = 2048
"""Connections that wait while no worker takes them: uvicorn's own."""


def serve(
    model: str | Sequence[str],
    settings: Settings | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    event_clock: bool = False,
    *,
    metrics_port: int | None = None,
    json_logs: bool = False,
    reconcile: bool = True,
    workers: int = 1,
    drain_s: float = 0.0,
    wire: Wire = PLAIN,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve a model, or several, until SIGINT or SIGTERM.

    Parameters
    ----------
    model
        Name, or names.
    event_clock
        Accept rows dated in the future: time is what the rows say, as in a replay.
    metrics_port
        Where /metrics is answered, beside /ping and /ready, and no more on ``port``.
    json_logs
        Write a JSON object a line to standard error, one for each request.
    reconcile
        Start the helper process that watches MLflow's stages; one a host is enough.
    workers
        So many processes on the one port. Each keeps a log and counts of its own: ``metrics_port`` is the first one's,
        the others' follow.
    drain_s
        Seconds for which /ready says 503, and requests are still answered, before the end.
    wire
        TLS, and how many connections; each worker has as many.
    on_ready
        Called with the service's URL once it answers.

    Raises
    ------
    NotFoundError
        A model was never adopted.
    RefusedError
        Other machines may reach ``host``, and no keys are set.
    InputError
        Keys that are set, or the certificate, can't be read.
    UnavailableError
        A port is taken, or the database or the base cannot be reached.
    """
    wire.check()
    here = settings or Settings.from_env()
    names = [model] if isinstance(model, str) else list(dict.fromkeys(model))
    configs = configured(names, here, host, event_clock, metrics_port is not None)
    with ExitStack() as stack:
        bound = stack.enter_context(_bound(host, port))
        ports = [] if metrics_port is None else range(metrics_port, metrics_port + workers)
        apart = [stack.enter_context(_bound(host, each)) for each in ports]
        stack.enter_context(terminable())
        reconciler = stack.enter_context(_reconciling(names, here, reconcile))
        for config in configs:
            _wait_for_base(config, FETCH_S if reconcile else 0.0)
        url = f"{wire.scheme}://{host}:{bound.getsockname()[1]}"
        ready = (lambda: None) if on_ready is None else (lambda: on_ready(url))
        if workers == 1:
            run(configs, reconciler, bound, next(iter(apart), None), json_logs, drain_s, ready, wire)
            return
        bound.listen(BACKLOG)
        setup = {"models": names, "host": host, "event_clock": event_clock, "json_logs": json_logs, "drain_s": drain_s}
        Fleet(setup | {"wire": asdict(wire)}, workers, bound, apart, here.environ()).run(ready)


def configured(
    models: Sequence[str],
    settings: Settings,
    host: str,
    event_clock: bool,
    metrics_apart: bool,
    worker: int | None = None,
) -> list[ServingConfig]:
    """What the service of each model is told; see :func:`serve`."""
    keys = keys_for(host, os.environ)
    made = (ServingConfig.of(name, settings, event_clock=event_clock) for name in models)
    return [replace(config, keys=keys, metrics_apart=metrics_apart, worker=worker) for config in made]


def run(
    configs: Sequence[ServingConfig],
    reconciler: Reconciler | None,
    bound: socket.socket,
    apart: socket.socket | None,
    json_logs: bool,
    drain_s: float,
    on_ready: Callable[[], object],
    wire: Wire = PLAIN,
) -> None:
    """Serve in this process on sockets that are bound, until SIGINT or SIGTERM."""
    if json_logs:
        write_json_lines()
    # A request is too small to share; more threads only take time from other replicas. Torch may come later.
    threadpool_limits(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    app = create_models(configs, reconciler)
    app.connections, telemetry = wire.most, telemetry_of(os.environ)
    app.tell(telemetry)
    server = DrainingServer(_settled(app, "on", json_logs, wire), app.leave, drain_s)
    with ExitStack() as stack:
        if telemetry is not None:
            stack.callback(telemetry.close)
        if apart is not None:
            counters = uvicorn.Server(_settled(app.counters(), "off", json_logs, wire))
            threading.Thread(target=counters.run, kwargs={"sockets": [apart]}, daemon=True).start()
            stack.callback(setattr, counters, "should_exit", True)
        # What was imported stays: the collector need not walk half a million objects between requests.
        gc.collect()
        gc.freeze()
        gc.set_threshold(*PACE)  # a command line looks rarely, and then long; that would be somebody's request
        threading.Thread(target=_announce, args=(server, on_ready), daemon=True).start()
        with contextlib.suppress(KeyboardInterrupt):  # repeated by the server after it has shut down in order
            server.run(sockets=[bound])


def _settled(app: Any, lifespan: Literal["on", "off"], json_logs: bool, wire: Wire) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=BoundedProtocol,
        ws="none",
        lifespan=lifespan,
        access_log=False,
        proxy_headers=False,  # nobody here asks who the client is
        log_level="warning",
        log_config=None if json_logs else uvicorn.config.LOGGING_CONFIG,
        timeout_graceful_shutdown=10,
        ssl_certfile=wire.cert,
        ssl_keyfile=wire.key,
    )


def _announce(server: uvicorn.Server, on_ready: Callable[[], object]) -> None:
    while not server.started and not server.should_exit:
        time.sleep(0.01)
    if server.started:
        on_ready()


@contextlib.contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            raise UnavailableError(
                f"{host}:{port} cannot be listened on: {error.strerror}; stop what listens there or choose another"
            ) from error
        yield bound


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the service in order: the server repeats the signal when it is done, and we still have a child."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _reconciling(models: Sequence[str], settings: Settings, wanted: bool) -> Iterator[Reconciler | None]:
    if not wanted:
        yield None
        return
    reconciler = Reconciler.of(models, settings)
    try:
        yield reconciler
    finally:
        reconciler.close()


def _wait_for_base(config: ServingConfig, seconds: float) -> None:
    """On a host that never served this base the reconciler has to fetch it first."""
    table = InferenceTable(config.database_url)
    try:
        pointer = table.pointer(config.model)
    finally:
        table.close()
    if pointer is None:
        return  # create_app says it better
    manifest = base_folder(config.cache, pointer.base_manifest, pointer.base_digest) / MANIFEST
    deadline = time.monotonic() + seconds
    while not manifest.exists():
        if time.monotonic() > deadline:
            raise NotFoundError(
                f"base {pointer.base_digest[:12]} of {config.model!r} is not in {config.cache}; check that MLflow can "
                "be reached from this host"
            )
        time.sleep(0.1)
