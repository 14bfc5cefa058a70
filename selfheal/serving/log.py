"""Logs answered rows: one background thread, a bounded queue, many requests a commit.

The request path only appends to a queue. A database that fails never stops scoring: rows wait up to the bound and are
then dropped, newest first, and counted; ``/health`` and ``/metrics`` say so.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from selfheal.errors import UnavailableError
from selfheal.table import InferenceTable

COMMIT_ROWS = 5_000
"""Rows in one transaction: about 0.2 s of SQLite, so that other writers are never kept waiting for long."""
GATHER_S = 0.05
"""How long a commit waits for company when nobody waits for it: at most 20 disk flushes a second (0.2 ms of CPU)."""
_RETRY_S = (0.2, 2.0)
_CLOSING_S = 10.0

_log = logging.getLogger("selfheal.serving")

Row = tuple[Any, ...]


@dataclass
class LogState:
    """What /health and /metrics tell of the log; written by one thread, read by another.

    Attributes
    ----------
    waiting
        Rows in the queue.
    written, dropped, refused
        Rows committed; rows given up because the queue was full; rows that the database would not take.
    error
        Why the last commit failed, or empty.
    failing_since
        Monotonic time since which commits fail, or None.
    """

    waiting: int = 0
    written: int = 0
    dropped: int = 0
    refused: int = 0
    error: str = ""
    failing_since: float | None = None


@dataclass(frozen=True)
class _Entry:
    rows: list[Row]
    committed: Callable[[bool], None] | None


class LogWriter:
    """The queue and its thread.

    Parameters
    ----------
    table, model
        Where rows go.
    capacity
        Rows that may wait.
    """

    def __init__(self, table: InferenceTable, model: str, capacity: int) -> None:
        self.state = LogState()
        self._table, self._model, self._capacity = table, model, capacity
        self._queue: deque[_Entry] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="selfheal-log", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, rows: list[Row]) -> bool:
        """Queue rows to be logged soon; False if they were dropped because the queue is full."""
        return self._put(rows, None)

    async def put_durably(self, rows: list[Row], timeout: float) -> bool:
        """Queue rows and wait for their commit.

        Returns
        -------
        bool
            Whether they were committed in time. If not they may be still: a retry with the same ids is harmless.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def tell(committed: bool) -> None:
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(committed))

        if not self._put(rows, tell):
            return False
        self._urgent.set()
        try:
            return await asyncio.wait_for(done, timeout)
        except TimeoutError:
            return False

    def close(self) -> None:
        """Commit what waits, for as long as ten seconds, and stop."""
        self._closing = True
        self._urgent.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_S + 1)
        if self.state.waiting:
            _log.error("%d answered rows were not logged: %s", self.state.waiting, self.state.error)

    def _put(self, rows: list[Row], committed: Callable[[bool], None] | None) -> bool:
        with self._lock:
            if self.state.waiting and self.state.waiting + len(rows) > self._capacity:
                self.state.dropped += len(rows)
                return False
            self.state.waiting += len(rows)
            self._queue.append(_Entry(rows, committed))
        self._wake.set()
        return True

    def _run(self) -> None:
        pause = _RETRY_S[0]
        give_up: float | None = None
        while True:
            self._wake.wait()
            if self._closing and give_up is None:
                give_up = time.monotonic() + _CLOSING_S
            if not self._closing:
                self._urgent.wait(GATHER_S)
            self._wake.clear()
            self._urgent.clear()
            failed = not self._drain()
            if self._closing and (not self._queue or (give_up is not None and time.monotonic() > give_up)):
                return
            if failed or self._queue or self._closing:
                self._wake.set()
            if failed:
                time.sleep(pause)
                pause = min(pause * 2, _RETRY_S[1])
            else:
                pause = _RETRY_S[0]

    def _drain(self) -> bool:
        """Commit what is queued by now, group by group; False once the database fails (the group stays in line).

        What comes meanwhile is left to be gathered: else a busy service would flush the disk without a pause.
        """
        due = len(self._queue)
        while due > 0 and (group := self._next_group()):
            due -= len(group)
            try:
                self._commit(group)
            except UnavailableError as error:
                self._failed(str(error))
                return False
            with self._lock:
                for entry in group:
                    self._queue.popleft()
                    self.state.waiting -= len(entry.rows)
            self.state.error, self.state.failing_since = "", None
        return True

    def _next_group(self) -> list[_Entry]:
        """The first entries in line, up to a commit's size and at least one."""
        group: list[_Entry] = []
        count = 0
        with self._lock:
            for entry in self._queue:
                count += len(entry.rows)
                if group and count > COMMIT_ROWS:
                    break
                group.append(entry)
        return group

    def _commit(self, group: list[_Entry]) -> None:
        """One transaction for the group; if a row in it is impossible, the halves, so that only that one is lost."""
        rows = [row for entry in group for row in entry.rows]
        try:
            self._table.append_rows(self._model, rows)
        except UnavailableError:
            raise
        except Exception as error:
            if len(group) > 1:
                half = len(group) // 2
                self._commit(group[:half])
                self._commit(group[half:])
                return
            self.state.refused += len(rows)
            _log.exception("the database refused %d rows of %s: %s", len(rows), self._model, error)
            _tell(group, False)
            return
        self.state.written += len(rows)
        _tell(group, True)

    def _failed(self, error: str) -> None:
        if self.state.failing_since is None:
            self.state.failing_since = time.monotonic()
            _log.error("answered rows wait in memory: %s", error)
        self.state.error = error


def _tell(group: list[_Entry], committed: bool) -> None:
    for entry in group:
        if entry.committed is not None:
            try:
                entry.committed(committed)
            except RuntimeError:  # the event loop has closed: nobody waits any more
                _log.debug("a durable request ended before its commit")
