"""The supervisor with real, light children: readiness, restart with back-off, nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from selfheal.errors import BusyError, UnavailableError
from selfheal.registry.door import Door
from selfheal.settings import Settings
from selfheal.table import InferenceTable
from selfheal.up import Run, home_lock, running, services, without_password
from selfheal.up.lifeline import alive, end
from selfheal.up.services import free_port
from selfheal.up.supervisor import Service, Supervisor

SLEEPS = "import time; time.sleep(60)"
WITH_CHILD = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]); {SLEEPS}"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def service(name: str, code: str, ready: Callable[[], bool] = lambda: True) -> Service:
    return Service(name, [sys.executable, "-c", code], {}, ready, f"{name}://here")


def until(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.02)
    return False


def test_ready_is_said_once_and_stop_ends_grandchildren_too(tmp_path: Path) -> None:
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append)
    supervisor.start(service("web", WITH_CHILD))
    assert supervisor.wait_ready(["web"], 10, lambda: False)
    supervisor.tick()
    assert said == ["ready     web                web://here"]
    process = supervisor.children["web"].process
    assert process is not None
    supervisor.stop()
    assert not alive(process.pid)


def test_a_child_that_dies_is_said_and_restarted_with_a_growing_wait(tmp_path: Path) -> None:
    now = [0.0]
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append, clock=lambda: now[0])
    supervisor.start(service("weak", "import sys; print('disk is full'); sys.exit(3)"))
    waits = []
    for _ in range(3):
        child = supervisor.children["weak"]
        assert child.process is not None
        child.process.wait()
        supervisor.tick()
        assert child.process is None
        waits.append(child.due - now[0])
        supervisor.tick()
        assert child.process is None, "not before its wait is over"
        now[0] = child.due
        supervisor.tick()
    assert waits == [1, 2, 5]
    assert "ended with status 3; again in 1 s" in said[0]
    assert "disk is full" in said[1]
    supervisor.stop()


def test_a_killed_child_is_named_by_signal_and_a_long_life_forgives(tmp_path: Path) -> None:
    now = [0.0]
    said: list[str] = []
    supervisor = Supervisor(tmp_path, said.append, clock=lambda: now[0])
    supervisor.start(service("long", SLEEPS))
    child = supervisor.children["long"]
    child.failures, now[0] = 4, 3600.0
    assert child.process is not None
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    supervisor.tick()
    assert "was killed by SIGKILL; again in 1 s" in said[0]
    supervisor.stop()


def test_a_stubborn_group_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfheal.up.lifeline.KILL_SECONDS", 0.3)
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        end([process.pid], reap=process.poll)
        assert process.wait(5) == -signal.SIGKILL


def test_kill_minus_nine_leaves_no_child(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from selfheal.up.supervisor import Service, Supervisor
supervisor = Supervisor(Path({str(tmp_path)!r}), print)
supervisor.start(Service("web", [sys.executable, "-c", {WITH_CHILD!r}], {{}}, lambda: True, "here"))
print(supervisor.children["web"].process.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as supervising:
        assert supervising.stdout is not None
        group = int(supervising.stdout.readline())
        assert alive(group)
        supervising.kill()
        supervising.wait()
    assert until(lambda: not any_running(group))


def any_running(group: int) -> bool:
    """Whether a group has a member that is no zombie (a container may lack a process that reaps orphans)."""
    states = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(int(g) == group and not s.startswith("Z") for g, s in (line.split() for line in states.splitlines()))


def test_one_home_is_held_once_and_the_system_frees_it(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from selfheal.up import home_lock
with home_lock(Path({str(tmp_path)!r})):
    print('held', flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert running(tmp_path) == {}
        with pytest.raises(BusyError, match=f"process {other.pid}"), home_lock(tmp_path):
            pass
        other.kill()
        other.wait()
    with home_lock(tmp_path):
        assert running(tmp_path) is not None
    assert running(tmp_path) is None


def test_a_taken_port_is_passed_over() -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port("127.0.0.1", port) > port
        assert free_port("127.0.0.1", port, [port + 1]) > port + 1
    with pytest.raises(UnavailableError, match=r"no free port on 203\.0\.113\.7"):
        free_port("203.0.113.7", 8000)


def test_no_mlflow_server_is_started_on_a_store_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would make an empty one; scoring and schedules go on, and it is started once the store is back."""
    settings = Settings.from_env({"SELFHEAL_HOME": str(tmp_path), "PREFECT_API_URL": "http://127.0.0.1:9/api"})
    monkeypatch.setattr(services, "mlflow_server", lambda *place: service("MLflow", SLEEPS))
    monkeypatch.setattr(InferenceTable, "served", lambda table: ["toy"])
    said: list[str] = []
    run = Run(settings, InferenceTable(settings.database_url), "127.0.0.1", 8000, said.append, lambda: False)
    try:
        assert run._servers() == []
        assert "waiting   MLflow             toy were adopted into" in said[0]
        run._start_lost_mlflow()
        assert not run.supervisor.children and not (tmp_path / "mlflow.db").exists()
        monkeypatch.setattr(Door, "is_there", True)
        run._start_lost_mlflow()
        assert list(run.supervisor.children) == ["MLflow"] and run.lost is None
    finally:
        run.end()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:secret@host:5000", "http://user:***@host:5000"),
        ("http://host:5000/api", "http://host:5000/api"),
        ("sqlite:////srv/a@b/mlflow.db", "sqlite:////srv/a@b/mlflow.db"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert without_password(url) == shown
