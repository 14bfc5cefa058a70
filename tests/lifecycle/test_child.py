"""A heal's process may die, hang or raise: each is said, none hurts the parent."""

from __future__ import annotations

import os
import signal
import time

import pytest

from selfheal.lifecycle import heal_window, pending
from selfheal.lifecycle.child import NICENESS, ChildFailedError, run_in_child
from tests.lifecycle.given import NAME, START, rows, send

pytestmark = pytest.mark.xdist_group("lifecycle loop")

LONG = 60.0


def die(task: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang(task: object) -> None:
    time.sleep(600)


def fail(task: object) -> None:
    raise ValueError("no such column")


def niceness(task: object) -> int:
    return os.nice(0)


def test_it_runs_at_low_priority():
    assert run_in_child(niceness, None, LONG) == os.nice(0) + NICENESS


@pytest.mark.parametrize(
    ("work", "limit", "words"),
    [(die, LONG, "exit code -9"), (hang, 0.2, "within 0.2 s"), (fail, LONG, "ValueError at test_child.py")],
)
def test_its_end_is_said(work, limit, words):
    with pytest.raises(ChildFailedError, match=words):
        run_in_child(work, None, limit)


def test_a_failed_heal_is_a_record(ws):
    send(ws, rows(200, 1), 0)
    (window,) = pending(ws, NAME, START.replace(year=2027))
    record = heal_window(ws, NAME, window, limit=0.0)
    assert record.decision == "failed" and "did not end within 0 s" in record.failure
    assert record.version is None
    assert ws.registry.production(NAME) == [1]
