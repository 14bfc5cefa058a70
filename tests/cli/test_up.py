"""`selfheal up`, whole: every part answers, a second one is refused, a signal ends all of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.flows.adopted import copied

STARTS = 170.0
"""Four services at once on a loaded two-core box."""


def read_until(out: Path, holds: Callable[[str], bool], seconds: float) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        text = out.read_text() if out.exists() else ""
        if holds(text):
            return text
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds} s:\n{out.read_text()}")


def descendants(pid: int) -> dict[int, str]:
    """Processes below ``pid``, with their commands."""
    found: dict[int, str] = {}
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found[child.pid] = " ".join(child.cmdline())
    return found


def alive(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def running(pids: dict[int, str]) -> dict[int, str]:
    return {pid: args for pid, args in pids.items() if alive(pid)}


@pytest.mark.timeout(400)
@pytest.mark.xdist_group("prefect")
def test_up_serves_everything_and_a_signal_ends_it(tmp_path: Path, root: Path, prefect: Path) -> None:
    home = tmp_path / "home"
    copied(home).table.close()
    (home / "prefect").mkdir()
    shutil.copyfile(prefect, home / "prefect" / "prefect.db")
    environ = {**os.environ, "SELFHEAL_HOME": str(home), "SELFHEAL_RULES": str(home / "rules"), "PYTHONUNBUFFERED": "1"}
    environ.pop("PREFECT_HOME", None)
    command = [sys.executable, "-m", "selfheal.cli", "up", "--port", "18500"]
    out = tmp_path / "out.txt"
    with out.open("w") as sink:
        process = subprocess.Popen(command, env=environ, cwd=root, stdout=sink, stderr=subprocess.STDOUT)
    family: dict[int, str] = {}
    try:
        text = read_until(out, lambda t: t.count("ready     ") == 4 or "restart" in t, STARTS)
        assert "restart" not in text, text + logs(home)
        urls = dict(re.findall(r"ready     (\S+(?: toy)?)\s+(http\S+)", text))
        assert set(urls) == {"MLflow", "Prefect", "scoring toy"}
        assert "ready     schedules          monitor of toy" in text
        scored = urllib.request.Request(
            urls["scoring toy"],
            data=json.dumps({"inputs": {"temperature": [80.0], "dew": [75.0], "wind": [3.0]}}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(scored, timeout=20) as answer:
            assert json.load(answer)["model_version"] == 1
        prefect_api = f"{urls['Prefect']}/api"
        for page in (urls["MLflow"], f"{prefect_api}/health", f"{prefect_api}/deployments/name/monitor/monitor%20toy"):
            with urllib.request.urlopen(page, timeout=20) as answer:
                assert answer.status == 200
        second = subprocess.run(command, env=environ, cwd=root, capture_output=True, text=True, check=False)
        assert (second.returncode, "another `selfheal up`" in second.stderr) == (1, True)
        kill_and_stop_reconciler(process.pid, urls["scoring toy"].replace("/invocations", "/metrics"))
        family = descendants(process.pid)
        assert len(family) >= 5
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert "stopped   nothing is left running" in out.read_text()
        deadline = time.monotonic() + 10
        while running(family) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not running(family)
        assert not (home / "up.json").exists()
    finally:
        process.kill()
        process.wait()


def kill_and_stop_reconciler(pid: int, metrics: str) -> None:
    """One that is killed is counted and started again; one that is stopped too must end with the rest."""
    killed = reconciler_of(pid)
    os.kill(killed, signal.SIGKILL)
    read_until_metric(metrics, "selfheal_reconciler_ended_total", 1)
    os.kill(reconciler_of(pid, other_than=killed), signal.SIGSTOP)


def reconciler_of(pid: int, other_than: int = 0) -> int:
    """The process beside the scoring service that looks at MLflow; it is started again a second after it died."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = [p for p, args in descendants(pid).items() if "selfheal.serving.reconciler" in args and p != other_than]
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(descendants(pid))


def read_until_metric(url: str, name: str, value: float) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with urllib.request.urlopen(url, timeout=20) as answer:
            text = answer.read().decode()
        if re.search(rf"^{name}{{\S+ {value:g}$", text, re.MULTILINE):
            return
        time.sleep(0.2)
    raise AssertionError(text)


def logs(home: Path) -> str:
    return "\n".join(f"--- {p.name}\n{p.read_text()[-2000:]}" for p in sorted((home / "logs").glob("*.log")))
