"""Clients of a service, many at once, and what they were told: the log is judged by that."""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from typing import Any

from tests.serving.test_swap import until

PATIENCE_S = 60.0


class Load:
    """Clients that ask without a pause, each on a connection that it keeps; used in a ``with``.

    Parameters
    ----------
    body
        A request without params: every answer to it must be the same.
    durable
        So many more clients, each request of which asks for durability.
    pace
        Seconds between two requests of a client, from the beginning of the one to that of the next.
    name
        How the ids of its rows begin.

    Attributes
    ----------
    asked
        Requests that were answered, in any way.
    taken, maybe
        Prediction ids that were acknowledged as logged, and those of durable requests that were not.
    unlogged
        Rows that were answered with ``"logged": false``.
    failed
        What was told to requests that asked for no durability and got no answer.
    said
        The different predictions, by version.
    """

    def __init__(
        self, service: Any, body: dict[str, Any], clients: int = 2, durable: int = 1, pace: float = 0.0, name: str = "c"
    ) -> None:
        self.service, self._pace = service, pace
        self._rows = len(body["dataframe_split"]["data"])
        self._body = json.dumps(body)[:-1]
        self.asked = self.unlogged = 0
        self.taken: list[str] = []
        self.maybe: set[str] = set()
        self.failed: list[Any] = []
        self.said: set[tuple[int, str]] = set()
        self._stop, self._lock = threading.Event(), threading.Lock()
        names = [(f"{name}-{i}", i < durable) for i in range(clients + durable)]
        self._threads = [threading.Thread(target=self._ask, args=each) for each in names]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def more(self, requests: int) -> bool:
        """Wait until so many more were answered."""
        due = self.asked + requests
        return until(lambda: self.asked >= due, PATIENCE_S)

    def _ask(self, name: str, durable: bool) -> None:
        link = http.client.HTTPConnection(*self.service.address, timeout=PATIENCE_S)
        due = time.monotonic()
        for number in itertools.count():
            if self._stop.is_set():
                break
            ids = [f"{name}-{number}-{row}" for row in range(self._rows)]
            params = json.dumps({"prediction_ids": ids} | ({"durable": True} if durable else {}))
            try:
                link.request(
                    "POST", "/invocations", f'{self._body}, "params": {params}}}', {"Content-Type": "application/json"}
                )
                response = link.getresponse()
                self._told(ids, durable, response.status, response.read())
            except (OSError, http.client.HTTPException) as error:
                self._told(ids, durable, 0, repr(error).encode())
                link.close()
            due = max(due + self._pace, time.monotonic() - 1.0)
            if self._pace:
                time.sleep(max(0.0, due - time.monotonic()))
        link.close()

    def _told(self, ids: list[str], durable: bool, status: int, raw: bytes) -> None:
        with self._lock:
            self.asked += 1
            if status != 200:
                if durable:
                    self.maybe.update(ids)
                else:
                    self.failed.append((status, raw))
                return
            answer = json.loads(raw)
            self.said.add((answer["model_version"], json.dumps(answer["predictions"])))
            if answer.get("logged", True):
                self.taken += ids
            else:
                self.unlogged += len(ids)


def judged(load: Load, place: Any) -> dict[str, int]:
    """What became of the rows of a load that has ended; the service still runs.

    No request failed that did not ask for durability, every row that was acknowledged is in the log once, what was not
    logged was counted, and nothing else is there.
    """
    health = load.service.get
    assert until(lambda: health("/health")["log"]["rows_waiting"] == 0, PATIENCE_S), health("/health")
    logged = place.logged().index
    assert load.failed == [] and logged.is_unique
    assert set(load.taken) <= set(logged)
    assert set(logged) - set(load.taken) <= load.maybe
    assert health("/health")["log"]["rows_dropped"] == load.unlogged
    assert len(load.said) == len({version for version, _ in load.said}), "the same answer, bit for bit"
    return {
        "requests": load.asked,
        "rows": len(load.taken),
        "unlogged": load.unlogged,
        "durable refused": len(load.maybe),
    }
