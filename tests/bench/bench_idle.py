"""What all of `selfheal up` holds and takes while nothing is asked: one small model, a schedule of five minutes.

``IDLE_S`` says for how long it is watched, by default the ten minutes of two monitor runs. What an adoption leaves to
do is done before: the first run after it has to open the model, and takes 9 CPU s like one that has a window.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import psutil

from tests.bench.servers import START_S, free_port, home

IDLE_S = float(os.environ.get("IDLE_S", "600"))
SETTLE_S = 60.0
"""After the last is said to be ready: the reconciler is not waited for, Prefect plans the first runs; some 2 CPU s."""

MOST_MB, MOST_SHARE = 1500.0, 3.0
_READY = "ready     schedules"


def family(process: psutil.Process) -> list[psutil.Process]:
    """A process and all that it started, as far as they live."""
    return [p for p in (process, *process.children(recursive=True)) if p.is_running()]


def held_mb(process: psutil.Process) -> float:
    """Proportional set size of all of it: memory that several share counts once."""
    return sum(float(p.memory_full_info().pss) for p in family(process)) / 2**20


def cpu_seconds(process: psutil.Process) -> float:
    """CPU seconds of all of it so far, of what has ended too."""
    return sum(sum(p.cpu_times()[:4]) for p in family(process))


def run() -> list[dict[str, Any]]:
    """From a minute after all is ready."""
    selfheal = [sys.executable, "-m", "selfheal.cli"]
    command = [*selfheal, "up", "--port", str(free_port())]
    with home("bench"):
        subprocess.run([*selfheal, "monitor", "bench"], check=True, stdout=subprocess.DEVNULL)
        return _watched(command)


def _watched(command: Sequence[str]) -> list[dict[str, Any]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as up:
        try:
            assert up.stdout is not None
            began = time.monotonic()
            while not up.stdout.readline().startswith(_READY):
                assert up.poll() is None and time.monotonic() - began < START_S, "`selfheal up` did not become ready"
            time.sleep(SETTLE_S)
            whole = psutil.Process(up.pid)
            begun, before = time.monotonic(), cpu_seconds(whole)
            time.sleep(IDLE_S)
            share = (cpu_seconds(whole) - before) / (time.monotonic() - begun) * 100
            memory = held_mb(whole)
        finally:
            up.send_signal(signal.SIGINT)
            up.wait(START_S)
    return [
        {"name": "all of `selfheal up`, idle", "value": memory, "unit": "MB PSS", "goal": ("max", MOST_MB)},
        {"name": "its CPU", "value": share, "unit": "% of a core", "goal": ("max", MOST_SHARE)},
    ]
