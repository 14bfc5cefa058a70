"""What `selfheal up` and `selfheal ui` run: scoring services, an MLflow server, a Prefect server, the schedules."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selfheal.errors import UnavailableError
from selfheal.settings import Settings
from selfheal.up.supervisor import Service

MLFLOW_PORT, PREFECT_PORT, SCORING_PORT = 5000, 4200, 8000
"""First choices, the two servers' own defaults among them; the next free port where one is taken."""

PROBE_SECONDS = 2.0

QUIET = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}

AT_REST = {
    # a run is shown as late after two minutes, and is started all the same. Of those that only wait for one at work
    # each mark is a transaction in which SQLite finds its database locked: 258 in 19 minutes of runs every 5 s
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "15",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_AFTER_SECONDS": "120",
    # until the runs of a new deployment are planned
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "15",
    # for runs that wait for a person and give up: ours do not wait
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    # for workers of a work pool that are lost: ours has none
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "60",
    # for automations that ask what did not happen: ours ask what did, and are told at once
    "PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT30S",
}
"""How often our Prefect server looks at what hardly ever changes: every 5 s each by default, a tenth of what it takes
at rest. What the environment says of them stays."""


def free_port(host: str, wanted: int, taken: Sequence[int] = ()) -> int:
    """The first port from ``wanted`` on that nobody listens on and that is not in ``taken``.

    Raises
    ------
    UnavailableError
        None among the next hundred, or no such interface.
    """
    reason = "all in use"
    for port in range(wanted, min(wanted + 100, 65536)):
        if port in taken:
            continue
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # As servers do: a port in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                reason = str(error)
                continue
            return port
    raise UnavailableError(f"no free port on {host} from {wanted} to {wanted + 99} ({reason}); choose another --port")


def mlflow_server(settings: Settings, host: str, port: int) -> Service:
    """MLflow's server and UI on the embedded store."""
    url = f"http://{host}:{port}"
    store = ["--backend-store-uri", settings.tracking_uri, "--artifacts-destination", str(settings.artifacts)]
    place = ["--default-artifact-root", settings.artifacts.as_uri(), "--host", host, "--port", str(port)]
    argv = [sys.executable, "-m", "mlflow", "server", *store, *place, "--workers", "1"]
    # its job runners serve features for language models: a handful of processes that nobody here needs
    environ = settings.environ() | QUIET | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return Service("MLflow", argv, environ, lambda: answers(f"{url}/health"), url)


def prefect_server(settings: Settings, host: str, port: int) -> Service:
    """Prefect's server and UI, its state below PREFECT_HOME."""
    url = f"http://{host}:{port}"
    argv = [sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port)]
    rest = {name: os.environ.get(name, value) for name, value in AT_REST.items()}
    environ = settings.environ() | QUIET | rest | {"PREFECT_API_URL": f"{url}/api", "PREFECT_LOGGING_LEVEL": "WARNING"}
    return Service("Prefect", argv, environ, lambda: answers(f"{url}/api/health"), url)


def scoring(settings: Settings, model: str, host: str, port: int) -> Service:
    """The scoring service of one model."""
    url = f"http://{host}:{port}"
    argv = [sys.executable, "-m", "selfheal.cli", "serve", model, "--host", host, "--port", str(port)]
    return Service(f"scoring {model}", argv, settings.environ(), lambda: answers(f"{url}/ping"), f"{url}/invocations")


def schedules(settings: Settings, api: str, models: Sequence[str]) -> Service:
    """The process that runs each model's monitor on its schedule."""
    ready = settings.home / "schedules.pid"
    argv = [sys.executable, "-m", "flows.deployments", "--ready", str(ready), *models]
    environ = settings.environ() | QUIET | {"PREFECT_API_URL": api, "PREFECT_LOGGING_LEVEL": "WARNING"}
    line = f"monitor of {', '.join(models)}"
    return Service("schedules", argv, environ, lambda: lives(ready), line, nice=5)


def lives(pid_file: Path) -> bool:
    """Whether the process that wrote its number there is alive."""
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text()), 0)
        return True
    return False


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    with suppress(OSError, HTTPException):
        return asked(url, "GET").status == 200
    return False


def experiments(mlflow: str) -> dict[str, str]:
    """Name → id of the experiments of an MLflow server."""
    with suppress(OSError, HTTPException, ValueError):
        answer = json.load(asked(f"{mlflow}/api/2.0/mlflow/experiments/search", "POST", {"max_results": 1000}))
        return {e["name"]: e["experiment_id"] for e in answer.get("experiments", ())}
    return {}


def asked(url: str, method: str, body: dict[str, Any] | None = None) -> HTTPResponse:
    """The answer of one of our own servers."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=PROBE_SECONDS)
    text = None if body is None else json.dumps(body)
    connection.request(method, parts.path, text, {"Content-Type": "application/json", "Connection": "close"})
    return connection.getresponse()


def pages(mlflow: str, models: Sequence[str]) -> list[tuple[str, str]]:
    """Where to look in MLflow: per model its versions, and its runs, in the view for models.

    The view that opens by default is the one for language models.
    """
    ids = experiments(mlflow)
    classic = "?workflowType=machine_learning"
    shown = [(f"{m}: versions and stages", f"{mlflow}/#/models/{m}{classic}") for m in models]
    runs = {m: ids[f"selfheal/{m}"] for m in models if f"selfheal/{m}" in ids}
    return shown + [(f"{m}: watch and heal runs", f"{mlflow}/#/experiments/{i}{classic}") for m, i in runs.items()]
