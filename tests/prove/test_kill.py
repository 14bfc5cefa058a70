"""A worker that is killed: the next run on the schedule goes on where it stopped, within a minute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from selfheal.steering import Workspace
from selfheal.steering.leases import monitor_lease
from tests.flows.adopted import POLICY, copied
from tests.steering.given import NAME, rows, send

BLIND_SECONDS = 60.0
"""The monitor may not be blind for longer; runs are due every ten seconds of it."""

Found = TypeVar("Found")


def until(look: Callable[[], Found], seconds: float, what: str) -> Found:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds:g} s"
        time.sleep(0.05)
    return found


def at_work(ws: Workspace) -> int:
    """Number of the process that handles windows now; 0 while none does."""
    held = ws.table.lease_holder(monitor_lease(NAME))
    return int(held[0].split(":")[-2]) if held else 0


def dies_at_work(ws: Workspace, first: int, *more: int) -> float:
    """Send windows, kill whoever takes them (and ``more``); seconds until all of them were handled after all."""
    windows = len(ws.table.processed(NAME)) + 3
    for offset in range(3):
        send(ws, rows(200, first + offset), 200 * (first + offset))
    for process in (until(lambda: at_work(ws), 240, "a run at work"), *more):
        os.kill(process, signal.SIGKILL)
    killed = time.monotonic()
    assert len(ws.table.processed(NAME)) < windows
    until(lambda: len(ws.table.processed(NAME)) == windows, BLIND_SECONDS, "the windows of a run that was killed")
    return time.monotonic() - killed


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_kill_9_of_a_run_and_of_the_worker(tmp_path: Path, root: Path) -> None:
    home = tmp_path / "home"
    ws = copied(home)
    (home / "rules" / f"{NAME}.yaml").write_text(POLICY.replace("every: 10m", "every: 10s"))
    environ = {**os.environ, "SELFHEAL_HOME": str(home), "SELFHEAL_RULES": str(home / "rules"), "PYTHONUNBUFFERED": "1"}
    out, ready = tmp_path / "out.txt", home / "schedules.pid"
    with out.open("w") as sink:
        command = [sys.executable, "-m", "selfheal.cli", "up", "--port", "18700"]
        up = subprocess.Popen(command, env=environ, cwd=root, stdout=sink, stderr=subprocess.STDOUT)
    try:
        until(ready.exists, 400, "the schedules")
        blind = [dies_at_work(ws, 0), dies_at_work(ws, 3, int(ready.read_text()))]
        print(f"blind for {blind[0]:.0f} s after a run was killed, for {blind[1]:.0f} s after the worker was")
    finally:
        ws.table.close()
        up.send_signal(signal.SIGINT)
        up.wait(60)
        print(out.read_text(), *(log.read_text()[-2000:] for log in (home / "logs").glob("*.log")))
