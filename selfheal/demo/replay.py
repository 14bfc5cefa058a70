"""Replays rows as traffic: a small HTTP client of the scoring service, and the ledger of what it was answered.

Rows carry their own event times and prediction ids. A row asked a second time under the same id is answered again
but logged once, so traffic can go on during a heal without moving the windows.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

#: Rows in one request: a week and a fifth of days; five requests fill a window of 365.
BATCH = 73
#: Pause between two requests of the traffic that goes on while something else happens.
PACE_SECONDS = 0.2
_TIMEOUT_SECONDS = 20.0
#: An idle connection is opened anew after this long: servers close theirs after some seconds (uvicorn: 5), and a
#: request on one that is just being closed would be lost.
_IDLE_SECONDS = 2.0


class Place(NamedTuple):
    """Where a model answers: the service's address, and the path below which it has the model's pages."""

    host: str
    port: int
    below: str = ""

    def connection(self) -> http.client.HTTPConnection:
        """A new one to the service."""
        return http.client.HTTPConnection(self.host, self.port, timeout=_TIMEOUT_SECONDS)


@dataclass(frozen=True)
class Answer:
    """What one request was answered: ``probabilities`` [n, k] for ``frame`` [n, d], all by ``version``."""

    frame: pd.DataFrame
    probabilities: NDArray[np.float64]
    version: int


@dataclass
class Ledger:
    """Counts every request, keeps every answer and the first words of every failure; safe to share by threads."""

    sent: int = 0
    failed: int = 0
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def answered(self, answer: Answer) -> None:
        """Note a request that was answered."""
        with self._lock:
            self.sent += 1
            self.answers.append(answer)

    def failure(self, words: str) -> None:
        """Note a request that was not."""
        with self._lock:
            self.sent += 1
            self.failed += 1
            self.failures.append(words[:200])

    def since(self, mark: int) -> list[Answer]:
        """Answers from the ``mark``-th on."""
        with self._lock:
            return self.answers[mark:]

    @property
    def mark(self) -> int:
        """The number of answers so far."""
        with self._lock:
            return len(self.answers)


@dataclass(frozen=True)
class Rows:
    """Rows with what the protocol says of them: features, event times and prediction ids."""

    frame: pd.DataFrame
    times: Sequence[datetime]
    ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.frame)

    def batches(self, size: int = BATCH) -> Iterator[Rows]:
        """The rows in order, ``size`` at a time."""
        for at in range(0, len(self), size):
            cut = slice(at, at + size)
            yield Rows(self.frame.iloc[cut], self.times[cut], self.ids[cut])


class Client:
    """One keep-alive connection to a scoring service; not to be shared by threads.

    Parameters
    ----------
    place : where the model answers.
    ledger : where requests and answers are noted.
    """

    def __init__(self, place: Place, ledger: Ledger) -> None:
        self._place = place
        self._connection = place.connection()
        self._used = 0.0
        self.ledger = ledger

    def send(self, rows: Rows) -> list[Answer]:
        """Ask for all rows, a batch at a time; each is in the inference table once answered.

        Returns
        -------
        list of Answer
            In order; a failed request has none, and is in the ledger.
        """
        answers = [self._ask(batch) for batch in rows.batches()]
        return [answer for answer in answers if answer is not None]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, rows: Rows) -> Answer | None:
        try:
            status, answer = self._post(f"{self._place.below}/invocations", _body(rows))
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            self.ledger.failure(f"{type(error).__name__}: {error}")
            return None
        if status != 200 or not isinstance(answer, dict):
            self.ledger.failure(f"HTTP {status}: {answer}")
            return None
        probabilities = np.asarray(answer["predictions"], dtype=float)
        if len(probabilities) != len(rows):
            self.ledger.failure(f"{len(rows)} rows were asked for, {len(probabilities)} answered")
            return None
        given = Answer(rows.frame, probabilities, int(answer["model_version"]))
        self.ledger.answered(given)
        return given

    def _post(self, path: str, body: bytes) -> tuple[int, Any]:
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self._connection.close()
        self._connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        raw = response.read()
        self._used = time.monotonic()
        try:
            return response.status, json.loads(raw)
        except ValueError:
            return response.status, raw.decode(errors="replace")


def _body(rows: Rows) -> bytes:
    split = {"columns": list(rows.frame.columns), "data": rows.frame.to_numpy(dtype=object).tolist()}
    params = {
        "event_time": [time.isoformat() for time in rows.times],
        "prediction_ids": list(rows.ids),
        "durable": True,
    }
    return json.dumps({"dataframe_split": split, "params": params}).encode()


@contextmanager
def traffic(place: Place, ledger: Ledger, rows: Rows) -> Iterator[None]:
    """Keep asking for ``rows``, again and again over a connection of its own, for as long as the block lasts."""
    stop = threading.Event()

    def ask() -> None:
        client = Client(place, ledger)
        batches = list(rows.batches())
        turn = 0
        while not stop.is_set():
            client.send(batches[turn % len(batches)])
            turn += 1
            stop.wait(PACE_SECONDS)
        client.close()

    thread = threading.Thread(target=ask, name="traffic", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_TIMEOUT_SECONDS)


def mixed(answers: Sequence[Answer], version: int, expected: NDArray[np.float64]) -> int:
    """How many of one version's answers hold a row that this version would not have given.

    Parameters
    ----------
    answers : the answers that named ``version``.
    version : the version they named.
    expected : float [sum of rows, k], what that version says of their rows, in the answers' order.
    """
    if any(answer.version != version for answer in answers):
        raise ValueError(f"answers of other versions than {version} are among those to compare with it")
    cuts = np.cumsum([len(answer.frame) for answer in answers])[:-1]
    pairs = zip(answers, np.split(expected, cuts), strict=True)
    return sum(not np.allclose(answer.probabilities, own, atol=1e-5) for answer, own in pairs)


def wait_for(place: Place, seconds: float) -> None:
    """Wait until the service answers ``/ping``.

    Raises
    ------
    TimeoutError
        Naming the address and how long it was waited for.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if _get(place, "/ping") is not None:
            return
        time.sleep(0.1)
    raise TimeoutError(f"no answer from the scoring service at {place.host}:{place.port} within {seconds:g} s")


def served_version(place: Place) -> int | None:
    """The version that the service answers with now, or None where it does not say."""
    answer = _get(place, f"{place.below}/version")
    return None if answer is None else answer.get("model_version")


def _get(place: Place, path: str) -> dict[str, Any] | None:
    connection = place.connection()
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        raw = response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    if response.status != 200:
        return None
    try:
        answer = json.loads(raw)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}
