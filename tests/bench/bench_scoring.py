"""Requests per CPU second: the scoring service beside ``mlflow models serve`` on the very same registered model."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

REQUESTS = 3000
PEER_REQUESTS = 300
"""Fewer for the slower one: each costs it some 12 ms."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def service(command: list[str], port: int, log: Path) -> Iterator[psutil.Process]:
    """A service that answers /ping; ended with all of its children."""
    with log.open("wb") as out:
        # mlflow models serve starts uvicorn by name
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        process = psutil.Popen(command, stdout=out, stderr=out, env=os.environ | {"PATH": path})
        try:
            wait_for(port, process, log)
            yield process
        finally:
            tree = [*process.children(recursive=True), process]
            for one in tree:
                one.terminate()
            for one in psutil.wait_procs(tree, timeout=15)[1]:
                one.kill()


def wait_for(port: int, process: psutil.Process, log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        if not process.is_running():
            break
        time.sleep(0.3)
    raise RuntimeError(f"no answer on port {port}:\n{log.read_text()[-2000:]}")


def cpu(process: psutil.Process) -> float:
    """User and system seconds of what answers: a server's own worker processes too, but not the helper beside ours,
    which costs the same 1 % of a core however many requests come."""
    tree = [process, *process.children(recursive=True)]
    answering = [one for one in tree if "selfheal.serving.reconciler" not in one.cmdline()]
    return float(sum(sum(one.cpu_times()[:2]) for one in answering))


def requests_per_cpu_second(port: int, process: psutil.Process, body: bytes, n: int) -> float:
    """One-row requests over one connection, after a warm-up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask() -> None:
        connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200

    for _ in range(max(20, n // 10)):
        ask()
    before = cpu(process)
    for _ in range(n):
        ask()
    return n / (cpu(process) - before)


def run() -> list[dict[str, Any]]:
    """Both serve version 1 of the same adopted model from the same store."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        os.environ.update(SELFHEAL_HOME=str(home), MLFLOW_TRACKING_URI=f"sqlite:///{home}/mlflow.db")
        import selfheal
        from tests.prove.rooms import COLUMNS, Rooms

        world = Rooms(0)
        selfheal.adopt("rooms", world.model)
        row = world.rows(1)[COLUMNS].to_dict("split")
        body = json.dumps({"dataframe_split": {"columns": row["columns"], "data": row["data"]}}).encode()
        port, other = free_port(), free_port()
        serve = [sys.executable, "-m", "selfheal.cli", "serve", "rooms", "--port", str(port)]
        peer = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/rooms/Production"]
        peer += ["--env-manager", "local", "--port", str(other)]
        with service(serve, port, home / "serve.log") as process:
            value = requests_per_cpu_second(port, process, body, REQUESTS)
        with service(peer, other, home / "peer.log") as process:
            peer_value = requests_per_cpu_second(other, process, body, PEER_REQUESTS)
    return [
        {
            "name": "one-row requests",
            "value": value,
            "unit": "per CPU s",
            "peer": "mlflow models serve",
            "peer_value": peer_value,
            "goal": ("min", 50.0),
        }
    ]
