"""The client's ledger: what was sent, what failed, and whether answers come from the version they name."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from selfheal.demo.replay import Answer, Client, Ledger, Place, Rows, mixed, served_version, traffic, wait_for


class Scoring(BaseHTTPRequestHandler):
    """Speaks the protocol over real sockets: each row scores its own value; a negative value breaks the request."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict]] = []

    def do_GET(self) -> None:
        self._answer(200, {"model_version": 3} if self.path == "/models/own/version" else {})

    def do_POST(self) -> None:
        assert self.path == "/models/own/invocations"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append(body)
        values = [row[0] for row in body["dataframe_split"]["data"]]
        if min(values) < 0:
            self._answer(400, {"error": "negative"})
        else:
            self._answer(200, {"predictions": [[1 - v, v] for v in values], "model_version": 3})

    def _answer(self, status: int, content: dict) -> None:
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[Place]:
    Scoring.seen = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Scoring) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield Place("127.0.0.1", server.server_address[1], "/models/own")
        server.shutdown()
        thread.join()


def rows(values: list[float]) -> Rows:
    start = datetime(1949, 1, 1, tzinfo=UTC)
    times = [start + timedelta(days=i) for i in range(len(values))]
    return Rows(pd.DataFrame({"x": values}), times, [f"d{i}" for i in range(len(values))])


def test_rows_go_out_in_batches_with_their_times_and_ids(address: Place) -> None:
    client = Client(address, Ledger())
    client.send(rows([0.1] * 100))
    client.close()
    assert [len(body["dataframe_split"]["data"]) for body in Scoring.seen] == [73, 27]
    params = Scoring.seen[1]["params"]
    assert params["prediction_ids"][0] == "d73" and params["durable"] is True
    assert datetime.fromisoformat(params["event_time"][0]) == datetime(1949, 3, 15, tzinfo=UTC)
    assert client.ledger.sent == 2 and client.ledger.failed == 0
    assert client.ledger.answers[0].version == 3 and client.ledger.answers[0].probabilities.shape == (73, 2)


def test_refused_and_unreachable_requests_are_counted_and_the_client_goes_on(address: Place) -> None:
    ledger = Ledger()
    client = Client(address, ledger)
    client.send(rows([-1.0]))
    client.send(rows([0.5]))
    client.close()
    nobody = Client(Place("127.0.0.1", 9), ledger)
    nobody.send(rows([0.5]))
    assert (ledger.sent, ledger.failed, ledger.mark) == (3, 2, 1)
    assert "negative" in ledger.failures[0] and "refused" in ledger.failures[1]


def test_traffic_runs_beside_the_block_and_stops_with_it(address: Place) -> None:
    ledger = Ledger()
    enough = threading.Event()
    with traffic(address, ledger, rows([0.2, 0.3])):
        while ledger.mark < 3 and not enough.wait(0.01):
            pass
    sent = ledger.sent
    assert sent >= 3 and ledger.failed == 0
    assert not enough.wait(0.12) and ledger.sent == sent
    assert {tuple(body["params"]["prediction_ids"]) for body in Scoring.seen} == {("d0", "d1")}


def test_an_answer_not_given_by_its_version_is_mixed() -> None:
    frame = pd.DataFrame({"x": [0.0, 1.0]})
    own = np.array([[0.4, 0.6], [0.1, 0.9], [0.4, 0.6], [0.1, 0.9]])
    whole, torn = own[:2], np.array([[0.4, 0.6], [0.5, 0.5]])
    assert mixed([Answer(frame, whole, 2), Answer(frame, whole, 2)], 2, own) == 0
    assert mixed([Answer(frame, whole, 2), Answer(frame, torn, 2)], 2, own) == 1
    with pytest.raises(ValueError, match="other versions than 2"):
        mixed([Answer(frame, whole, 1)], 2, own[:2])


def test_waiting_for_a_service(address: Place) -> None:
    wait_for(address, seconds=5)
    assert served_version(address) == 3
    with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
        wait_for(Place("127.0.0.1", 9), seconds=0.2)
    assert served_version(Place("127.0.0.1", 9)) is None
