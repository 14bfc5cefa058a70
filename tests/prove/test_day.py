"""A day of `selfheal up`, an hour in 40 s: no run overlaps, none piles up, a change of units is served in time."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from selfheal.steering import Workspace
from tests.flows.adopted import copied
from tests.prove.test_kill import until
from tests.steering.given import NAME, in_celsius, rows

HOURS, HOUR_S = 24, 40.0
BREAKS, RETURNS, SLEEPS = 8, 14, 19
"""Hours in which temperatures begin to come in °C, come in °F again, and all of it is stopped."""
ASLEEP_S = 180.0
AWAKE_S = 90.0
"""After it, in which nothing may be late any more: three windows and their heals."""

POLICY = """
model: toy
target: y
rules:
  - {name: warm, when: temperature > 70, vote: 1}
monitor: {every: 5s, window: 40s, min_rows: 300, lateness: 1s, sentinel: true}
heal: {patience: [2, 3], cooldown: 30s, max_changed: 0.9}
"""
"""Windows of an hour, ninety times as fast, and eight runs in each."""

LATENESS_S = 1.0
SERVED_S = 60.0
"""From the end of the confirming window and its lateness to the first answer."""
LATE = 12
"""Scheduled runs that may wait while one is at work; at its end they go. With a heal it takes under a minute."""


class Traffic(threading.Thread):
    """Rows that a client sends, a dozen at a time, four times a second; which version answered first, and when."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.celsius, self.over = url, False, threading.Event()
        self.answered: list[tuple[int, datetime]] = []
        self.failed: list[str] = []
        self.requests = 0

    def run(self) -> None:
        seed = 0
        while not self.over.wait(0.25):
            frame, seed = rows(12, 1000 + seed), seed + 1
            frame = (in_celsius(frame, "temperature", "dew") if self.celsius else frame).drop(columns="y")
            body = json.dumps({"inputs": frame.to_dict("list")}).encode()
            try:
                answer = ask(self.url, body, ASLEEP_S * 2)
            except OSError as error:
                self.failed.append(f"{type(error).__name__}: {error}")
                continue
            self.requests += 1
            if not self.answered or self.answered[-1][0] != answer["model_version"]:
                self.answered.append((answer["model_version"], datetime.now(UTC)))


def ask(url: str, body: bytes | None = None, seconds: float = 150.0) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return json.load(answer)


class Runs:
    """What Prefect says of the runs of the monitor."""

    def __init__(self, server: str) -> None:
        self.server, self.slowest = server, 0.0
        self.deployment: str = self._ask(f"deployments/name/monitor/monitor%20{NAME}")["id"]

    def _ask(self, path: str, what: dict[str, Any] | None = None) -> Any:
        asked = time.monotonic()
        try:
            return ask(f"{self.server}/api/{path}", None if what is None else json.dumps(what).encode())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {what}: {error.read().decode()}") from error
        finally:
            self.slowest = max(self.slowest, time.monotonic() - asked)

    def all(self) -> list[dict[str, Any]]:
        """Those that are over or began, in the order in which they were due."""
        found: list[dict[str, Any]] = []
        while page := self._filtered(sort="EXPECTED_START_TIME_ASC", offset=len(found)):
            found += page
        return [run for run in found if run["state_type"] != "SCHEDULED"]

    def late(self) -> int:
        """How many are due and wait."""
        due = {"before_": datetime.now(UTC).isoformat()}
        return len(self._filtered({"state": {"type": {"any_": ["SCHEDULED"]}}, "expected_start_time": due}))

    def tasks(self, run: str) -> list[dict[str, Any]]:
        """Those of a run that are over, the heal among them, in order."""
        tasks = self._ask("task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}, "limit": 200})
        return sorted((t for t in tasks if t["end_time"]), key=lambda t: at(t["end_time"]))

    def _filtered(self, more: dict[str, Any] | None = None, **how: Any) -> list[dict[str, Any]]:
        only = {"deployment_id": {"any_": [self.deployment]}, **(more or {})}
        found: list[dict[str, Any]] = self._ask("flow_runs/filter", {"flow_runs": only, "limit": 200, **how})
        return found


@contextmanager
def everything(ws: Workspace, root: Path, out: Path) -> Iterator[tuple[subprocess.Popen[bytes], str, str]]:
    """`selfheal up` on a home; its process, where it scores, where Prefect is."""
    home = ws.settings.home
    environ = {**os.environ, "SELFHEAL_HOME": str(home), "SELFHEAL_RULES": str(home / "rules"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "selfheal.cli", "up", "--port", "18800"]
    with out.open("w") as sink:
        up = subprocess.Popen(command, env=environ, cwd=root, stdout=sink, stderr=subprocess.STDOUT)
    try:
        until(lambda: "ready     schedules" in out.read_text(), 400, "the schedules")
        named = dict(re.findall(r"ready     (\S+(?: toy)?)\s+(http\S+)", out.read_text()))
        yield up, named["scoring toy"], named["Prefect"]
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(60)


def all_of(up: subprocess.Popen[bytes], what: signal.Signals) -> None:
    for process in (psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(what)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def at_work(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of which a process handled windows: one that found another at work ended at once."""
    return [r for r in runs if r["start_time"] and r["total_run_time"] and r["state_name"] != "Busy"]


def shares(ws: Workspace, runs: Runs, version: int, served: datetime) -> list[tuple[str, float]]:
    """What became of the time between the end of the confirming window and the first answer, in seconds."""
    healed = [c for c in ws.table.cycles(NAME) if (c["heal"] or {}).get("version") == version and at(c["end"]) < served]
    end = at(healed[-1]["end"]).timestamp() + LATENESS_S
    run = [r for r in at_work(runs.all()) if at(r["start_time"]) < served][-1]
    moments = [("a run is due", at(run["expected_start_time"])), ("its process is at work", at(run["start_time"]))]
    moments += [(task["name"], at(task["end_time"])) for task in runs.tasks(run["id"]) if at(task["end_time"]) < served]
    moments += [("answered by it", served)]
    before, out = end, list[tuple[str, float]]()
    for what, moment in moments:
        out.append((what, moment.timestamp() - before))
        before = moment.timestamp()
    return [*out, ("all", served.timestamp() - end)]


@pytest.mark.prove
@pytest.mark.timeout(3000)
def test_a_day_in_minutes(tmp_path: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ws = copied(tmp_path / "home")
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    out = tmp_path / "out.txt"
    with everything(ws, root, out) as (up, scoring, prefect):
        runs, traffic, most = Runs(prefect), Traffic(scoring), 0
        traffic.start()
        begun = time.monotonic()
        for hour in range(HOURS):
            traffic.celsius = BREAKS <= hour < RETURNS
            asleep = 0.0
            if hour == SLEEPS:
                all_of(up, signal.SIGSTOP)
                time.sleep(ASLEEP_S)
                all_of(up, signal.SIGCONT)
                asleep = time.monotonic()
                begun += ASLEEP_S
            while time.monotonic() - begun < (hour + 1) * HOUR_S:
                time.sleep(2.0)
                if not asleep or time.monotonic() - asleep > AWAKE_S:
                    most = max(most, runs.late())
        traffic.over.set()
        traffic.join(60)
        with suppress(AssertionError):
            until(lambda: {run["state_type"] for run in runs.all()} == {"COMPLETED"}, 120, "the last run")
        done, left = runs.all(), runs.late()
        took = [shares(ws, runs, version, moment) for version, moment in traffic.answered[1:]]
    ws.table.close()
    with capsys.disabled():
        print(
            f"\n{len(done)} runs, at most {most} late, {left} at the end; Prefect's slowest answer {runs.slowest:.1f} s"
        )
        print(f"{traffic.requests} requests, {len(traffic.failed)} failed")
        for (version, moment), parts in zip(traffic.answered[1:], took, strict=True):
            print(f"version {version} at {moment:%H:%M:%S}:", ", ".join(f"{what} {s:.1f}" for what, s in parts))
    assert not traffic.failed
    assert not [{**run, "parameters": {}} for run in done if run["state_type"] != "COMPLETED"]
    spans = sorted((at(r["start_time"]), at(r["end_time"])) for r in at_work(done))
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(spans))
    assert (most <= LATE, left <= 2) == (True, True)
    assert len(traffic.answered) == 3, "°C was healed, °F recalled"
    assert all(parts[-1][1] <= SERVED_S for parts in took)
