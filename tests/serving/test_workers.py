"""Several processes on one port: what one of them took outlives it, and the others go on answering."""

from __future__ import annotations

import json
import signal
import socket
import threading
import urllib.request
from contextlib import suppress
from http.client import HTTPException

import pytest

from selfheal.serving.log import LogWriter
from selfheal.serving.process import BACKLOG
from selfheal.serving.workers import Fleet
from selfheal.settings import Settings
from tests.serving.test_swap import until


@pytest.fixture
def fleet(plain, tmp_path):
    """Two workers of a model on a socket of ours."""
    place = plain
    home = tmp_path / "home"
    home.mkdir()
    (home / "cache").symlink_to(place.cache)
    settings = Settings.from_env({"SELFHEAL_HOME": str(home), "SELFHEAL_DATABASE_URL": place.url})
    with socket.socket() as bound, socket.socket() as first, socket.socket() as second:
        for each in (bound, first, second):
            each.bind(("127.0.0.1", 0))
        bound.listen(BACKLOG)
        told = {"models": [place.name], "host": "127.0.0.1", "event_clock": False, "json_logs": False, "drain_s": 0.5}
        made = Fleet(told, 2, bound, [first, second], settings.environ())
        made.url, *made.apart = [f"http://127.0.0.1:{each.getsockname()[1]}" for each in (bound, first, second)]
        yield made


class Clients:
    """Each request on a connection of its own, so that all workers get some; ids of what was answered."""

    def __init__(self, url: str, body: bytes) -> None:
        self.url, self.body, self.acknowledged, self.refused = url, body, [], []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(3)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        while not self._stop.is_set():
            request = urllib.request.Request(
                f"{self.url}/invocations", self.body, {"Content-Type": "application/json", "Connection": "close"}
            )
            try:
                with urllib.request.urlopen(request, timeout=20) as response:
                    self.acknowledged += json.loads(response.read())["prediction_ids"]
            except (OSError, HTTPException) as error:  # no connection, or one that broke in the middle of an answer
                self.refused.append(error)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)


def metrics(url: str) -> str:
    with suppress(OSError, HTTPException), urllib.request.urlopen(f"{url}/metrics", timeout=5) as response:
        return response.read().decode()
    return ""


def played(fleet: Fleet, scene) -> list[BaseException]:
    """The fleet in this thread, which has the signals, and a scene beside it that ends it."""
    failed: list[BaseException] = []

    def play() -> None:
        try:
            scene()
        except BaseException as error:
            failed.append(error)
        finally:
            fleet.tell(signal.SIGTERM)

    fleet.run(lambda: threading.Thread(target=play).start())
    return failed


def test_a_worker_that_is_killed_loses_no_row_that_was_answered(fleet, plain, forms, tmp_path):
    place = plain
    body = json.dumps(forms.split(place.model.reference.iloc[:2])).encode()
    clients = []

    def scene() -> None:
        clients.append(Clients(fleet.url, body))
        try:
            counts = 'selfheal_rows_total{model="plain",worker="%d"}'
            assert until(lambda: all(f"{counts % i} " in metrics(fleet.apart[i]) for i in (0, 1)), 20)
            assert until(lambda: len(clients[0].acknowledged) > 200, 20)
            fleet.workers[0].process.kill()
            before = len(clients[0].acknowledged)
            assert until(lambda: len(clients[0].acknowledged) > before + 200, 20)
        finally:
            clients[0].stop()

    assert played(fleet, scene) == []
    assert len(clients[0].refused) <= 3  # those that the dead one held
    with place.table() as table:  # what the dead one left is logged by whoever starts next
        log = LogWriter(table, place.name, 10**6, tmp_path / "home" / "spill" / place.name)
        log.start()
        assert until(lambda: not list((tmp_path / "home" / "spill" / place.name).iterdir()), 10)
        log.close()
    logged = place.logged().index
    assert logged.is_unique and set(clients[0].acknowledged) <= set(logged)
    assert all(worker.process.returncode is not None for worker in fleet.workers)


@pytest.mark.prove
def test_workers_are_started_again_and_replaced_without_a_failed_request(fleet, plain, forms):
    place = plain
    body = json.dumps(forms.split(place.model.reference.iloc[:2])).encode()
    seen = []

    def scene() -> None:
        first = [worker.process.pid for worker in fleet.workers]
        fleet.workers[1].process.kill()
        assert until(lambda: fleet.workers[1].process.pid != first[1] and fleet.workers[1].ready, 120)
        clients = Clients(fleet.url, body)
        try:
            second = [worker.process.pid for worker in fleet.workers]
            fleet.tell(signal.SIGHUP)
            assert until(lambda: not set(second) & {w.process.pid for w in fleet.workers}, 240)
            before = len(clients.acknowledged)
            assert until(lambda: len(clients.acknowledged) > before + 200, 20)
        finally:
            clients.stop()
        seen.append(clients)

    assert played(fleet, scene) == []
    assert seen[0].refused == []
    assert set(seen[0].acknowledged) <= set(place.logged().index)
