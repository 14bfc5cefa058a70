"""A window that cannot be handled: tried in three runs, then given up loudly; stores that are away are no try."""

from __future__ import annotations

import threading

import pytest

from selfheal.errors import BusyError, UnavailableError
from selfheal.loop import history, load, monitor, pending, status
from selfheal.loop.tries import TRIES, attempt
from tests.steering.given import NAME, POLICY, START, kinds, rows, send, workspace_at

pytestmark = pytest.mark.xdist_group("loop")

FAR = START.replace(year=2027)


def damage(ws, row: str) -> None:
    """Text where a number belongs, as whoever edits the log by hand may leave it; SQLite keeps it."""
    with ws.table._database.write() as connection:
        connection.exec_driver_sql(f"UPDATE predictions_toy SET wind = 'calm' WHERE prediction_id = '{row}'")


def test_a_window_that_raises_is_given_up_after_three_runs_and_the_loop_goes_on(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    send(ws, rows(200, 1), 0)
    damage(ws, "r7")
    for _ in range(TRIES - 1):
        with pytest.raises(ValueError, match="could not convert string to float"):
            monitor(ws, NAME, FAR)
    assert ws.table.processed(NAME) == set()
    other = workspace_at(ws.settings.home)  # another process counts on
    (failed,) = monitor(other, NAME, FAR)
    assert (failed.decision.kind, failed.record["health"]) == ("failed", "unhealthy")
    assert "it failed in 3 runs, at last ValueError at reading.py" in failed.record["reasons"][0]
    assert kinds(other).count("try") == TRIES and "alert" in kinds(other)
    assert "given up" in other.registry.version(NAME, 1).tags["alert"]
    health = status(other, NAME)["health"]
    assert any("window 0 was given up: it failed in 3 runs" in words for words in health)
    (told,) = [event for event in history(other, NAME) if event.act and event.window == 0]
    assert (told.who, told.what, told.version) == ("flow", "gave up a window", 1)
    assert told.why.startswith("it failed in 3 runs, at last ValueError")
    other.table.close()

    send(ws, rows(200, 2), 200)
    (cycle,) = monitor(ws, NAME, FAR)
    assert (cycle.ref.index, cycle.record["health"]) == (1, "healthy")
    assert len(ws.table.recent(NAME)) == 1, "what was given up is no yardstick"


def test_a_window_whose_process_is_killed_is_given_up_after_three_runs(ws):
    send(ws, rows(200, 1), 0)
    (ref,) = pending(ws, NAME, FAR)
    begun, end = threading.Semaphore(0), threading.Event()

    def stands_still(ctx):
        begun.release()
        end.wait()
        raise UnavailableError("let go at the end of the test")

    def run():  # as far as the next run can see, one whose process was killed here
        with pytest.raises(UnavailableError):
            attempt(load(ws, NAME).at(ref), stands_still)

    runs = []
    for _ in range(TRIES):
        runs.append(threading.Thread(target=run))
        runs[-1].start()
        assert begun.acquire(timeout=60)
    assert ws.table.processed(NAME) == set()
    other = workspace_at(ws.settings.home)
    (failed,) = monitor(other, NAME, FAR)
    assert failed.decision.kind == "failed" and "the process ended while it was handled" in failed.record["reasons"][0]
    assert kinds(other).count("try") == TRIES
    other.table.close()
    end.set()
    for each in runs:
        each.join(60)

    send(ws, rows(200, 2), 200)
    (cycle,) = monitor(ws, NAME, FAR)
    assert (cycle.ref.index, cycle.record["health"]) == (1, "healthy")


@pytest.mark.parametrize("error", [UnavailableError("MLflow is away"), BusyError("taken over"), KeyboardInterrupt()])
def test_what_is_no_fault_of_the_window_is_no_try(ws, error):
    send(ws, rows(200, 1), 0)
    (ref,) = pending(ws, NAME, FAR)

    def handle(ctx):
        raise error

    for _ in range(TRIES + 1):
        with pytest.raises(type(error)):
            attempt(load(ws, NAME).at(ref), handle)
    assert "try" not in kinds(ws) and ws.table.processed(NAME) == set()


def test_late_labels_that_cannot_be_read_stop_no_new_window(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    ids = send(ws, rows(200, 1), 0)
    monitor(ws, NAME, FAR)
    ws.table.add_labels(NAME, ids, rows(200, 1)["y"].tolist(), ws.clock())
    damage(ws, "r7")
    send(ws, rows(200, 2), 200)
    assert [c.ref.index for c in monitor(ws, NAME, FAR)] == [1]
