"""Logs answered rows: one background thread, a bounded queue, many requests a commit.

The request path only appends to a queue. A database that fails never stops scoring: rows wait up to the bound and are
then dropped, newest first, and counted; ``/health`` and ``/metrics`` say so. What still waits when the process is told
to end is written to a local file first (:mod:`selfheal.serving.spill`), which the next process replays.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from selfheal.errors import InputError, UnavailableError
from selfheal.serving.refusals import RefusalCounter
from selfheal.serving.spill import Row, Spill, left_behind, read
from selfheal.table import InferenceTable

COMMIT_ROWS = 5_000
"""Rows in one transaction: about 0.2 s of SQLite, so that other writers are never kept waiting for long."""
GATHER_S = 0.05
"""How long a commit waits for company when nobody waits for it: at most 20 disk flushes a second (0.2 ms of CPU)."""
RECENT_S = 300.0
"""A loss is a complaint for so many seconds; after that it is a number."""
VALUE_BYTES = 40
"""What a number of a row takes in memory, its place in the row included."""
_RETRY_S = (0.2, 2.0)
_CLOSING_S = 10.0
_ROOM_S = 0.02

_log = logging.getLogger("selfheal.serving")


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
    lost_at
        Monotonic time of the last loss, or None.
    replayed
        Rows committed that a process before had left in its file.
    """

    waiting: int = 0
    written: int = 0
    dropped: int = 0
    refused: int = 0
    error: str = ""
    failing_since: float | None = None
    lost_at: float | None = None
    replayed: int = 0

    @property
    def lost_recently(self) -> bool:
        """Whether rows were dropped or refused within the last :data:`RECENT_S`."""
        return self.lost_at is not None and time.monotonic() - self.lost_at < RECENT_S


@dataclass(frozen=True)
class _Entry:
    rows: list[Row]
    size: int
    committed: Callable[[bool], None] | None


class LogWriter:
    """The queue and its thread.

    Parameters
    ----------
    table, model
        Where rows go.
    capacity
        Bytes of rows that may wait. A request is taken whole as long as the bound is not reached yet, so that one
        large request is not lost beside an empty queue.
    spill
        Folder for what is left when the process ends; without it that is lost.

    Attributes
    ----------
    busy
        Held while its thread uses the database: who takes it keeps the thread still, as a fork must.
    """

    def __init__(self, table: InferenceTable, model: str, capacity: int, spill: Path | None = None) -> None:
        self.state = LogState()
        self._table, self._model, self._capacity = table, model, capacity
        self._waiting_bytes = 0
        self._folder = spill
        self._queue: deque[_Entry] = deque()
        self._lock = threading.Lock()
        self.busy = threading.Lock()
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._closing = False
        self.refusals = RefusalCounter()
        self._thread = threading.Thread(target=self._run, name="selfheal-log", daemon=True)

    def refuse(self, error: InputError, rows: int, at_us: int) -> None:
        """Count rows that were not answered because of ``error``."""
        self.refusals.count(error, rows, at_us)
        self._wake.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def put(self, rows: list[Row], text: int = 0) -> bool:
        """Queue rows, with so many bytes of text in them, to be logged soon; False if the queue is full: they are
        dropped.
        """
        return self._put(rows, text, None)

    async def put_durably(self, rows: list[Row], text: int, timeout: float) -> bool:
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

        if not self._put(rows, text, tell):
            return False
        self._urgent.set()
        try:
            return await asyncio.wait_for(done, timeout)
        except TimeoutError:
            return False

    def wait_for_room(self) -> None:
        """Wait while the queue is full, for as long as the database takes rows."""
        while self._waiting_bytes >= self._capacity and self.state.failing_since is None and self._thread.is_alive():
            time.sleep(_ROOM_S)

    def close(self) -> None:
        """Keep what waits in a file, commit it for as long as ten seconds, and stop."""
        spill = self._kept()
        self._closing = True
        self._urgent.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_S + 1)
        if spill is None:
            if self.state.waiting:
                _log.error("%d answered rows were not logged: %s", self.state.waiting, self.state.error)
        elif self.state.waiting:
            spill.close()
            _log.error("%d answered rows are kept for the next start: %s", self.state.waiting, self.state.error)
        else:
            spill.discard()

    def _kept(self) -> Spill | None:
        """A file with every row that waits."""
        with self._lock:
            rows = [row for entry in self._queue for row in entry.rows]
        if self._folder is None or not rows:
            return None
        spill = Spill(self._folder)
        try:
            if (kept := spill.write(rows)) < len(rows):
                _log.error(
                    "%d of %d answered rows that wait do not fit into %s", len(rows) - kept, len(rows), self._folder
                )
        except OSError as error:
            _log.error("answered rows that wait cannot be kept in %s: %s", self._folder, error)
        return spill

    def _put(self, rows: list[Row], text: int, committed: Callable[[bool], None] | None) -> bool:
        size = text + VALUE_BYTES * len(rows) * len(rows[0])  # all rows of a table are as wide
        with self._lock:
            if self._waiting_bytes >= self._capacity:
                self.state.dropped += len(rows)
                self.state.lost_at = time.monotonic()
                return False
            self._waiting_bytes += size
            self.state.waiting += len(rows)
            self._queue.append(_Entry(rows, size, committed))
        self._wake.set()
        return True

    def _run(self) -> None:
        pause = _RETRY_S[0]
        give_up: float | None = None
        replayed = self._folder is None
        while True:
            if not replayed:
                with self.busy:
                    replayed = self._replay()
            self._wake.wait(None if replayed else pause)
            if self._closing and give_up is None:
                give_up = time.monotonic() + _CLOSING_S
            if not self._closing:
                self._urgent.wait(GATHER_S)
            self._wake.clear()
            self._urgent.clear()
            with self.busy:
                failed = not (self._drain() and self._note_refusals())
            if self._closing and (not self._queue or (give_up is not None and time.monotonic() > give_up)):
                return
            if failed or self._queue or self._closing:
                self._wake.set()
            if failed:
                time.sleep(pause)
                pause = min(pause * 2, _RETRY_S[1])
            else:
                pause = _RETRY_S[0]

    def _replay(self) -> bool:
        """Commit what processes before left in their files; False while the database fails."""
        assert self._folder is not None  # noqa: S101  there is nothing to replay without one
        try:
            for path in left_behind(self._folder):
                for rows in read(path):
                    self._table.append_rows(self._model, rows)
                    self.state.replayed += len(rows)
        except UnavailableError as error:
            self._failed(str(error))
            return False
        except Exception:
            _log.exception("what a process before left in %s cannot be logged", self._folder)
        return True

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
                    self._waiting_bytes -= entry.size
            self.state.error, self.state.failing_since = "", None
        return True

    def _note_refusals(self) -> bool:
        """Write down what was refused; False while the database fails."""
        counts = self.refusals.take()
        try:
            if counts:
                self._table.refusals.add(self._model, counts)
        except UnavailableError:
            self.refusals.give_back(counts)
            return False
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
            self.state.lost_at = time.monotonic()
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
