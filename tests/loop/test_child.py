"""A heal's process may die, hang or raise: each is said, none hurts the parent."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import sqlalchemy as sa

from selfheal.cli.history import as_csv, lines
from selfheal.loop import heal_window, history, load, pending
from selfheal.loop.child import HealTask, _heal
from selfheal.loop.forks import NICENESS, SERVER, Branch, ChildFailedError, ForkServer, serve
from selfheal.loop.heals import given
from tests.steering.given import NAME, START, rows, send

pytestmark = pytest.mark.xdist_group("loop")

LONG = 60.0


def die(task: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(task: object) -> None:
    time.sleep(600)


def fail(task: object) -> None:
    raise ValueError("no such column")


def niceness(task: object) -> int:
    return os.nice(0)


def stores(task: HealTask) -> tuple[bool, list[str]]:
    """In the child: whether a heal loads MLflow, and what it asks of a database."""
    said: list[str] = []
    sa.event.listen(sa.Engine, "before_cursor_execute", lambda *asked: said.append(asked[2]))
    assert _heal(task).decision
    return "mlflow" in sys.modules, said


def test_it_asks_no_store(ws):
    """What a window costs MLflow and the database is what its own process asks."""
    send(ws, rows(200, 1), 0)
    (window,) = pending(ws, NAME, START.replace(year=2027))
    *_, task = given(load(ws, NAME).at(window), (), 0)
    assert SERVER.call(stores, task, LONG) == (False, [])


def test_it_runs_at_low_priority():
    assert SERVER.call(niceness, None, LONG) == os.nice(0) + NICENESS


@pytest.mark.parametrize(
    ("work", "limit", "words"),
    [(die, LONG, "exit code -9"), (hang, 0.2, "within 0.2 s"), (fail, LONG, "ValueError at test_child.py")],
)
def test_its_end_is_said(work, limit, words):
    with pytest.raises(ChildFailedError, match=words):
        SERVER.call(work, None, limit)


def test_a_failed_heal_is_a_record(ws):
    send(ws, rows(200, 1), 0)
    (window,) = pending(ws, NAME, START.replace(year=2027))
    record = heal_window(ws, NAME, window, actor="ada", limit=0.0)
    assert record.decision == "failed" and "did not end within 0 s" in record.failure
    assert record.version is None
    assert ws.registry.production(NAME) == [1]
    (told,) = [event.record() for event in history(ws, NAME) if event.what == "heal failed"]
    assert (told["who"], told["window"], told["act"]) == ("ada", 0, True)
    assert "did not end within 0 s" in told["why"] and told["why"] == record.failure
    assert "did not end" in as_csv(history(ws, NAME))
    (line,) = [line for line in lines(history(ws, NAME), ws.clock(), 9, 200) if "heal failed" in line]
    assert line.split()[2:5] == ["ada", "heal", "failed"] and "window 0: ChildFailedError: " in line


def lend(said: Connection) -> None:
    """In a process without threads: what it says of the servers that it starts."""
    server = ForkServer(["json"])
    server.start(here=True)
    branch = server._process
    said.send((type(branch), server.call(niceness, None, LONG) - os.nice(0)))
    server.close()
    said.send(branch.returncode)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        server.start(here=True)
        server._process.kill()
        said.send(type(server._process))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_process_without_threads_lends_its_imports():
    """One with threads does not: their locks would be held for ever."""
    ours, its = mp.Pipe()
    alone = mp.get_context("fork").Process(target=lend, args=(its,))
    alone.start()
    its.close()
    assert ours.recv() == (Branch, NICENESS)
    assert ours.recv() == 0
    assert ours.recv() == subprocess.Popen
    alone.join()
    assert alone.exitcode == 0


def test_it_does_not_run_the_script_again(tmp_path, monkeypatch):
    script = tmp_path / "monitors.py"  # without if __name__ == "__main__"
    script.write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write('again')")
    main = types.ModuleType("__main__")
    main.__file__ = str(script)
    monkeypatch.setitem(sys.modules, "__main__", main)
    server = ForkServer(["json"])  # afresh: one that was forked from here would not run it anyway
    assert server.call(os.nice, 0, LONG) == os.nice(0) + NICENESS
    server.close()
    assert not (tmp_path / "ran").exists()


def say_and_hang(place: Path) -> None:
    place.with_suffix(".tmp").write_text(str(os.getpid()))
    place.with_suffix(".tmp").rename(place)
    time.sleep(600)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_it_dies_with_its_parent(tmp_path):
    place = tmp_path / "child"
    ours, its = mp.Pipe()

    def alone() -> None:
        ours.close()
        serve(its.fileno())

    server = mp.get_context("fork").Process(target=alone)
    server.start()
    its.close()
    ours.send((say_and_hang, place, 600))
    while not place.exists():
        time.sleep(0.01)
    ours.close()  # as the kernel does for a parent that died
    server.join()
    assert server.exitcode == 0
    assert not Path(f"/proc/{place.read_text()}").exists()
