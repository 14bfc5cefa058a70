"""Minutes at 60 % of a core, with shadow and sentinel on, and all that clients do: nothing grows."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest

from selfheal.adapter import Adapter
from tests.bench.servers import Server, request
from tests.prove.ledger import Ledger
from tests.serving.conftest import Place, spawned
from tests.serving.test_swap import until
from tests.serving.watching import watched

SECONDS = 600.0
LOAD = 0.6
LOOK_S = 5.0
WARM = 0.3
"""Share of the time after which nothing may grow any more: a page cache of SQLite's fills before."""
GROWTH_MB = 6.0
TRIED = 1_600
"""Requests by which the capacity is measured."""
SPARE = 8
"""Descriptors and threads that come and go: a pool's, and the database's connections of its threads."""


def capacity(server: Server, one: bytes) -> float:
    """Requests a second of a whole core."""
    with server.connected():
        before = server.cpu_seconds()
        for _ in range(TRIED // len(server.links)):
            server.ask(one)
        time.sleep(1.0)
        return TRIED / (server.cpu_seconds() - before)


def sampled(server: Server, one: bytes, rate: float, seconds: float) -> Iterator[tuple[float, float, int, int]]:
    """Ask at that rate; every few seconds its memory in MB, descriptors and threads, and how many were asked since."""
    with server.connected():
        due = time.monotonic()
        end, look, asked, process = due + seconds, due + LOOK_S, 0, server.process
        while due < end:
            time.sleep(max(0.0, due - time.monotonic()))
            server.ask(one)
            asked += len(server.links)
            due = max(due + len(server.links) / rate, time.monotonic() - 0.5)
            if due > look or due >= end:
                yield server.memory_mb(), process.num_fds(), process.num_threads(), asked
                look, asked = due + LOOK_S, 0


def others(place: Place, service: Any, forms: Any, turn: int) -> None:
    """What else happens: pages, a durable request, labels, a request that is refused, a reconciler's look, a swap."""
    for page in ("/health", "/metrics", "/openapi.json", "/version"):
        service.get(page)
    rows = forms.split(place.model.reference.iloc[:2])
    status, answer = service.post("/invocations", rows | {"params": {"durable": True}})
    assert status == 200
    ids = answer["prediction_ids"]
    assert service.post("/feedback", {"prediction_ids": ids, "labels": [0, 1]})[1]["stored"] == 2
    assert service.post("/invocations", {"dataframe_records": [{"temp": "warm"}]})[0] == 400
    with place.table() as table:
        table.heartbeats.beat(place.name, "host:1", {})
    place.settle(10 + turn, Adapter(logit_offset=np.array([0.0, 0.1 * (turn % 3)])))


def soaked(place: Place, forms: Any, seconds: float) -> dict[str, Any]:
    """So many seconds; what was held, and what became of the rows."""
    policy = place.database.parent / "home" / "rules" / f"{place.name}.yaml"
    policy.write_text(policy.read_text().replace("shadow: 1.0", "shadow: 0.1"))
    one = request(place.model.reference.iloc[:1].drop(columns=place.model.target, errors="ignore").astype(float))
    with spawned(place) as service:
        server = Server(psutil.Process(service.process.pid), service.address[1])
        rate = LOAD * capacity(server, one)
        seen, asked = [], TRIED
        for turn, (*held, more) in enumerate(sampled(server, one, rate, seconds)):
            seen.append(held)
            asked += more + 2
            others(place, service, forms, turn)
        assert until(lambda: service.get("/health")["log"]["rows_waiting"] == 0, 60)
        told = service.get("/health")
    used = np.array(seen[int(WARM * len(seen)) :])
    slope = np.polyfit(np.arange(len(used)), used[:, 0], 1)[0] * len(used) if len(used) > 2 else 0.0
    return {
        "seconds": seconds, "rows": asked, "a second": round(asked / seconds), "MB": float(np.median(used[:, 0])),
        "grown MB": float(slope), "descriptors": [int(used[:, 1].min()), int(used[:, 1].max())],
        "threads": [int(used[:, 2].min()), int(used[:, 2].max())], "written": told["log"]["rows_written"],
        "dropped": told["log"]["rows_dropped"], "shadow": told["shadow"]["rows"], "reasons": told["reasons"],
    }  # fmt: skip


@pytest.mark.prove
@pytest.mark.timeout(1_800)
def test_nothing_grows_in_ten_minutes(place, forms, tmp_path):
    watched(place, tmp_path / "home")
    told = Ledger("soak").run("ten minutes", lambda: soaked(place, forms, SECONDS))
    print(json.dumps(told))
    assert told["grown MB"] < GROWTH_MB
    for least, most in (told["descriptors"], told["threads"]):
        assert most - least <= SPARE
    assert told["dropped"] == 0 and told["written"] == told["rows"] and told["shadow"] > 0
    assert told["reasons"] == []
