"""Requests per CPU second of one row, beside ``mlflow models serve`` of the same registered model."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import torch
from sklearn.preprocessing import StandardScaler

COLUMNS = 20
# Clients at once: what is measured is capacity, and a server that sleeps between two requests pays for waking up.
CONNECTIONS = 8
WARM_UP = 400
REQUESTS = {"selfheal serve": 16_000, "mlflow models serve": 800}
START_S = 120.0
GOAL = 50.0
_SERVE = "from selfheal.serving import serve; serve('bench', port=int(__import__('sys').argv[1]), reconcile=False)"


def adopt() -> pd.DataFrame:
    """A perceptron on 20 columns, adopted; returns its reference."""
    from selfheal.model import MonitoredModel
    from selfheal.registry import adopt

    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(500, COLUMNS)), columns=[f"x{i}" for i in range(COLUMNS)])
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(COLUMNS, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16), torch.nn.ReLU())
    reference = rows.assign(y=(rows["x0"] > 0).astype(int))
    scaler = StandardScaler().fit(rows)
    adopt("bench", MonitoredModel(body, torch.nn.Linear(16, 1), reference=reference, target="y", preprocess=scaler))
    return rows


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def served(*command: str) -> Iterator[psutil.Process]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        root = psutil.Process(process.pid)
        try:
            yield root
        finally:
            for one in [*root.children(recursive=True), root]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def cpu_seconds(root: psutil.Process) -> float:
    times = [one.cpu_times() for one in [root, *root.children(recursive=True)]]
    return sum(each.user + each.system for each in times)


def connect(port: int) -> socket.socket:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def ask(links: list[socket.socket], request: bytes) -> None:
    """One request on each kept connection, then their whole answers."""
    for link in links:
        link.sendall(request)
    for link in links:
        got = b""
        while b"\r\n\r\n" not in got:
            got += link.recv(65536)
        head, _, body = got.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            raise RuntimeError(f"not answered: {got[:300]!r}")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += link.recv(65536)


def per_cpu_second(name: str, port: int, request: bytes, *command: str) -> float:
    with served(*command) as root, contextlib.ExitStack() as stack:
        links = [stack.enter_context(connect(port)) for _ in range(CONNECTIONS)]
        for _ in range(WARM_UP // CONNECTIONS):
            ask(links, request)
        before = cpu_seconds(root)
        for _ in range(REQUESTS[name] // CONNECTIONS):
            ask(links, request)
        return REQUESTS[name] / (cpu_seconds(root) - before)


def run() -> list[dict[str, Any]]:
    """Eight connections, one row a request; ours also logs each row, the peer logs nothing."""
    from selfheal.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"SELFHEAL_HOME": str(Path(folder) / "home")})
        kept = dict(os.environ)
        # mlflow starts `uvicorn` by its name: the one beside this interpreter
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        os.environ.update(settings.environ() | {"PATH": path})
        try:
            rows = adopt()
            split = {"columns": list(rows.columns), "data": rows.iloc[:1].to_numpy().tolist()}
            body = json.dumps({"dataframe_split": split}).encode()
            head = b"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
            ours, theirs = free_port(), free_port()
            value = per_cpu_second("selfheal serve", ours, request, sys.executable, "-c", _SERVE, str(ours))
            peer = [
                sys.executable,
                "-m",
                "mlflow",
                "models",
                "serve",
                "-m",
                "models:/bench/1",
                "--env-manager",
                "local",
            ]
            peer_value = per_cpu_second("mlflow models serve", theirs, request, *peer, "-p", str(theirs))
        finally:
            os.environ.clear()
            os.environ.update(kept)
    return [
        {
            "name": "one-row requests",
            "value": value,
            "unit": "requests per CPU s",
            "peer": "mlflow models serve",
            "peer_value": peer_value,
            "goal": ("min", GOAL),
        }
    ]
