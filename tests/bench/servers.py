"""Servers as processes of their own and a client that asks them: what the benchmarks of serving share."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import psutil

COLUMNS = 20
CONNECTIONS = 8
"""Clients at once: what is measured is capacity, and a server that sleeps between two requests pays for waking up."""
START_S = 180.0
SETTLE_S = 0.3
"""After a turn, and counted in it: a log commits what came last."""

SERVE = """
import sys
from selfheal.serving import serve
serve(sys.argv[2:], port=int(sys.argv[1]), reconcile=False)
"""
"""``selfheal serve`` without the process that looks at MLflow; models after the port."""


def network(name: str, columns: int = COLUMNS) -> tuple[Any, pd.DataFrame]:
    """A perceptron of 20-32-16-1 behind a StandardScaler, and its reference's features."""
    import torch
    from sklearn.preprocessing import StandardScaler

    from selfheal.model import MonitoredModel

    rng = np.random.default_rng(0)
    rows = pd.DataFrame(rng.normal(size=(500, columns)), columns=[f"x{i}" for i in range(columns)])
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Linear(columns, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16), torch.nn.ReLU())
    reference = rows.assign(y=(rows["x0"] > 0).astype(int))
    made = (body, torch.nn.Linear(16, 1))
    scaler = StandardScaler().fit(rows)
    return MonitoredModel(*made, reference=reference, target="y", preprocess=scaler, name=name), rows


@contextlib.contextmanager
def home(*names: str) -> Iterator[pd.DataFrame]:
    """An installation of its own, named by the environment, in which the models are adopted; yields feature rows."""
    from selfheal.registry import adopt
    from selfheal.settings import Settings

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env({"SELFHEAL_HOME": str(Path(folder) / "home")})
        kept = dict(os.environ)
        # mlflow starts `uvicorn` by its name: the one beside this interpreter
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        os.environ.update(settings.environ() | {"PATH": path})
        try:
            for name in names:
                model, rows = network(name)
                adopt(name, model)
            yield rows
        finally:
            os.environ.clear()
            os.environ.update(kept)


def request(rows: pd.DataFrame) -> bytes:
    """A whole HTTP request that asks for these rows."""
    split = {"columns": list(rows.columns), "data": rows.to_numpy().tolist()}
    body = json.dumps({"dataframe_split": split}).encode()
    head = b"POST /invocations HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A running process, and kept connections to it while there are some."""

    def __init__(self, process: psutil.Process, port: int) -> None:
        self.process, self._port = process, port
        self.links: list[socket.socket] = []

    @contextlib.contextmanager
    def connected(self, links: int = CONNECTIONS) -> Iterator[Server]:
        """So many connections; an idle one would be closed after some seconds."""
        with contextlib.ExitStack() as stack:
            self.links = [stack.enter_context(_connected(self._port, self.process)) for _ in range(links)]
            yield self

    def ask(self, request: bytes, links: int = CONNECTIONS) -> None:
        """One request on each of so many connections, then their whole answers."""
        for link in self.links[:links]:
            link.sendall(request)
        for link in self.links[:links]:
            got = b""
            while b"\r\n\r\n" not in got:
                got += link.recv(65536)
            head, _, body = got.partition(b"\r\n\r\n")
            if b" 200 " not in head.split(b"\r\n")[0]:
                raise RuntimeError(f"not answered: {got[:300]!r}")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            while len(body) < length:
                body += link.recv(65536)

    def cpu_seconds(self) -> float:
        """User and system, of the process and its children, all threads that live."""
        return sum(_cpu(each) for each in [self.process, *self.process.children(recursive=True)])

    def memory_mb(self) -> float:
        """Private memory, MB."""
        return float(self.process.memory_full_info().uss) / 2**20


def _cpu(process: psutil.Process) -> float:
    try:  # in nanoseconds; what psutil reads counts hundredths of a second
        stats = Path(f"/proc/{process.pid}/task").glob("*/schedstat")
        return sum(int(path.read_text().split()[0]) for path in stats) / 1e9
    except OSError:
        times = process.cpu_times()
        return float(times.user + times.system)


@contextlib.contextmanager
def running(port: int, *command: str) -> Iterator[Server]:
    """A process that listens on the port, once it does."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        root = psutil.Process(process.pid)
        try:
            _connected(port, root).close()
            yield Server(root, port)
        finally:
            for one in [*root.children(recursive=True), root]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def _connected(port: int, process: psutil.Process) -> socket.socket:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=30)
        except OSError:
            if process.status() == psutil.STATUS_ZOMBIE or time.monotonic() > deadline:
                raise RuntimeError(f"nothing listens on {port}: the process ended, or took {START_S:g} s") from None
            time.sleep(0.02)


class Cost(NamedTuple):
    """Of one request, µs: the server's CPU, the client's own, and the time that passed."""

    cpu: float
    own: float
    wall: float


def turns(asked: Mapping[str, tuple[Server, bytes, int]], rounds: int = 5) -> dict[str, Cost]:
    """What a request costs, by name: server, request and how many of it a turn; medians of turns that alternate."""
    found: dict[str, list[Cost]] = {name: [] for name in asked}
    for name, (server, one, many) in [*asked.items()] * (1 + rounds):
        with server.connected():
            before, own, began = server.cpu_seconds(), time.process_time(), time.perf_counter()
            for _ in range(many // CONNECTIONS):
                server.ask(one)
            wall, own = time.perf_counter() - began, time.process_time() - own
            time.sleep(SETTLE_S)
            spent = server.cpu_seconds() - before
        found[name].append(Cost(*(each / many * 1e6 for each in (spent, own, wall))))
    found = {name: costs[1:] for name, costs in found.items()}  # the first is for warming up
    return {name: Cost(*map(statistics.median, zip(*costs, strict=True))) for name, costs in found.items()}
