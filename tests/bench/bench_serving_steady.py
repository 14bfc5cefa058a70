"""What clients notice of a thousand swaps and of a heal beside the service: the slowest percent, and the median.

The service is asked at 30 % of what it can do. Spans with and without alternate, and those without are held against
each other too: only what lies beyond that pair is said by the first.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from tests.bench.servers import CONNECTIONS, Server, free_port, home, request, running

LOAD = 0.3
SPANS, SPAN_S = 5, 5.0
BEHIND_S = 0.1
SWAPS = 1_000
SWAP_GOAL, HEAL_GOAL = 1.10, 1.06

_SERVE = """
import sys
from selfheal.serving import process
from dataclasses import replace
told = process.configured
process.configured = lambda *given: [replace(each, poll_s=0.002) for each in told(*given)]
process.serve("bench", port=int(sys.argv[1]), reconcile=False)
"""
"""A service that looks at the pointer often enough to follow each swap."""

_SWAP = """
import sys, time
from dataclasses import replace
import numpy as np
from selfheal.adapter import Adapter
from selfheal.settings import Settings
from selfheal.table import InferenceTable
table = InferenceTable(Settings.from_env().database_url)
pointer, every, version = table.pointer("bench"), float(sys.argv[1]), 1
adapters = [Adapter(logit_offset=np.array([0.0, 0.01 * k])) for k in range(2)]
made = [(each.to_bytes(), each.digest) for each in adapters]
for line in sys.stdin:
    due = time.monotonic()
    for _ in range(int(line)):
        version += 1
        data, digest = made[version % 2]
        table.set_pointer("bench", replace(pointer, version=version, adapter=data, adapter_digest=digest))
        due += every
        time.sleep(max(0.0, due - time.monotonic()))
    print("done", flush=True)
"""
_HEAL = """
import os, sys, time
os.nice(19)
import torch
torch.set_num_threads(1)
import selfheal
from tests.prove.rooms import COLUMNS, Rooms, celsius
rooms = Rooms(0)
window = celsius(rooms.rows(1000))[COLUMNS]
for line in sys.stdin:
    due, n = time.monotonic() + float(line), 0
    while time.monotonic() < due:
        selfheal.heal(rooms.model, window, recent=rooms.recent)
        n += 1
    print(n, flush=True)
"""


class Helper:
    """A process that does something for as long as it is told to."""

    def __init__(self, code: str, *arguments: str) -> None:
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, *arguments]
        self.process = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, bufsize=1, env=os.environ | one)

    def begin(self, what: object) -> None:
        """Say how much, or how long."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what}\n")

    def end(self) -> str:
        """Wait until it is done, for what it says."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextlib.contextmanager
def helper(code: str, *arguments: str) -> Iterator[Helper]:
    """One that has done its imports."""
    made = Helper(code, *arguments)
    try:
        made.begin(0)
        made.end()
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


def capacity(server: Server, one: bytes) -> float:
    """Requests a second that a whole core of the server's would answer."""
    with server.connected():
        before = server.cpu_seconds()
        for _ in range(250):
            server.ask(one)
        return 250 * CONNECTIONS / (server.cpu_seconds() - before)


def span(server: Server, one: bytes, rate: float) -> list[float]:
    """Seconds from when each request was due to its answer, one connection after the other.

    A client that woke up late began late: only what the answer before took is the server's. One that lies far behind
    gives those requests up.
    """
    with server.connected():
        taken, free = [], time.perf_counter()
        due, end = free, free + SPAN_S
        while due < end:
            time.sleep(max(0.0, due - time.perf_counter()))
            began = due if free > due else time.perf_counter()
            server.ask(one, 1)
            free = time.perf_counter()
            taken.append(free - began)
            due = max(due + 1.0 / rate, free - BEHIND_S)
            server.links.append(server.links.pop(0))
    return taken


def beside(
    server: Server, one: bytes, rate: float, of: Helper, much: object, what: Callable[[list[float]], float]
) -> tuple[float, float, float]:
    """A measure of the spans beside the helper's work, of as many without, and the latter's own ratio (an A/A pair)."""
    quiet: list[float] = []
    busy: list[float] = []
    for _ in range(SPANS):
        quiet.append(what(span(server, one, rate)))
        of.begin(much)
        busy.append(what(span(server, one, rate)))
        of.end()
        quiet.append(what(span(server, one, rate)))
    first, second = statistics.median(quiet[::2]), statistics.median(quiet[1::2])
    return statistics.median(busy), statistics.median(quiet), max(first, second) / min(first, second)


def run() -> list[dict[str, Any]]:
    """One-row requests at a fixed rate on eight connections in turn; the heal is one of 1,000 rows, again and again."""
    port = free_port()
    with home("bench") as rows, running(port, sys.executable, "-c", _SERVE, str(port)) as server:
        one = request(rows.iloc[:1])
        rate = LOAD * capacity(server, one)
        a_span = SWAPS // SPANS
        with helper(_SWAP, str(SPAN_S / a_span)) as swaps:
            slow = beside(server, one, rate, swaps, a_span, lambda taken: float(np.percentile(taken, 99)))
        with helper(_HEAL) as heals:
            middle = beside(server, one, rate, heals, SPAN_S, lambda taken: float(np.median(taken)))
    lines = []
    for name, (value, peer, pair), goal in (
        (f"p99 during {SWAPS:,} swaps", slow, SWAP_GOAL),
        ("p50 while a heal runs", middle, HEAL_GOAL),
    ):
        line = {"unit": "ms", "name": name, "value": value * 1e3, "peer": "the same without", "peer_value": peer * 1e3}
        lines += [line | {"goal": ("max", goal)}, {"name": f"{name}: an A/A pair", "value": pair, "unit": "ratio"}]
    return [*lines, {"name": f"requests at {LOAD:.0%} of a core", "value": rate, "unit": "requests/s"}]
