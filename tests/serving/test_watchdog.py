"""The reconciler's keeper, with small real processes in its place: dead, stopped, hanging, in a crash loop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from selfheal.serving import watchdog
from selfheal.serving.watchdog import Reconciler
from tests.serving.test_swap import until

GOES_ON = "import os, time\nwhile True: os.write(1, b'.'); time.sleep(0.01)"
HANGS = "import time; time.sleep(60)"
DIES = "raise SystemExit(3)"


@pytest.fixture
def keep(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(watchdog, "TICK_S", 0.02)
    monkeypatch.setattr(watchdog, "STALE_S", 0.5)

    def made(code: str, **limits) -> Reconciler:
        limits = {"hangs_s": 30.0, "starts_s": 5.0, "backoff_s": (0.05, 0.1)} | limits
        kept = Reconciler([sys.executable, "-S", "-c", code], {}, **limits)
        request.addfinalizer(kept.close)
        return kept

    return made


def test_one_that_makes_progress_is_well_and_ends_with_its_service(keep):
    kept = keep(GOES_ON, starts_s=60.0)
    assert until(lambda: kept.age > 0)  # heard: before that it may still be starting
    assert kept.complaint() == "" and (kept.ended, kept.hung) == (0, 0)
    child = kept._child
    kept.close()
    assert child.returncode == -signal.SIGTERM


def test_one_that_is_killed_is_counted_and_started_again(keep):
    kept = keep(GOES_ON)
    before = kept._child.pid
    os.kill(before, signal.SIGKILL)
    assert until(lambda: kept.ended == 1 and kept._child is not None and kept._child.pid != before)
    assert until(lambda: kept.complaint() == "")
    assert kept.hung == 0


def test_one_that_is_stopped_is_told_then_killed_and_started_again(keep):
    kept = keep(GOES_ON, hangs_s=1.5, starts_s=0.0)
    assert until(lambda: 0 < kept.age < 0.4)
    stopped = kept._child.pid
    os.kill(stopped, signal.SIGSTOP)
    assert until(lambda: "no progress since" in kept.complaint() and kept.hung == 0)
    assert until(lambda: kept.hung == 1 and kept.ended == 0 and kept._child is not None)
    assert kept._child.pid != stopped and not Path(f"/proc/{stopped}").exists()
    assert until(lambda: kept.complaint() == "")


def test_one_that_never_gets_on_is_restarted_with_a_growing_wait(keep, caplog):
    kept = keep(DIES, starts_s=0.0, backoff_s=(0.02, 0.04, 60.0))
    assert until(lambda: kept.ended == 3)
    assert [record.args[1] for record in caplog.records] == [0.02, 0.04, 60.0]
    assert until(lambda: "the last one ended with status 3" in kept.complaint())
    assert kept._child is None


def test_one_that_hangs_from_the_start_is_killed(keep):
    kept = keep(HANGS, hangs_s=0.3, starts_s=0.0)
    assert until(lambda: kept.hung >= 2)
    assert "made no progress for 0.3 s and was killed" in kept.complaint()


def test_a_stopped_one_too_ends_with_its_service(keep):
    kept = keep(GOES_ON)
    os.kill(kept._child.pid, signal.SIGSTOP)
    child = kept._child
    closing = threading.Thread(target=kept.close)
    closing.start()
    closing.join(4)  # before the five seconds after which it would be killed
    assert not closing.is_alive() and child.returncode == -signal.SIGTERM
