"""Logs answered rows: one background thread, a bounded queue, many requests a commit.

A row is *taken* when it is written to a local file (:mod:`selfheal.serving.spill`), before its answer goes out: it
survives a kill of the process, and is in the table exactly once afterwards. Rows wait in memory up to a bound and
beyond it in the file alone, up to another. A database that fails never stops scoring; what neither has room for is
dropped, newest first, and counted; ``/health``, ``/metrics`` and the window that lacks them say so.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from pathlib import Path

from selfheal.errors import InputError, UnavailableError
from selfheal.serving.gaps import DAMAGED, NO_ROOM, NOT_TAKEN, GapCounter
from selfheal.serving.lines import trace
from selfheal.serving.log_state import Entry, LogState, first, tell
from selfheal.serving.params import now_us
from selfheal.serving.refusals import RefusalCounter
from selfheal.serving.spill import (
    SPILL_BYTES,
    FullError,
    Packed,
    Row,
    Segment,
    Spill,
    batches,
    flush,
    left_behind,
    pack,
)
from selfheal.table import InferenceTable

COMMIT_ROWS = 5_000
"""Rows in one transaction: about 0.2 s of SQLite, so that other writers are never kept waiting for long."""
GATHER_S = 0.05
"""How long a commit waits for company when nobody waits for it: at most 20 disk flushes a second (0.2 ms of CPU)."""
SYNC_S = 0.1
"""Rows that wait longer for the database are flushed to the disk, so often: a power cut costs twice that at most."""
VALUE_BYTES = 40
"""What a number of a row takes in memory, its place in the row included."""
_AGAIN_S = 1.0
"""After a local file could not be written, it is tried again."""
_RETRY_S = (0.2, 2.0)
_CLOSING_S = 10.0
_ROOM_S = 0.02

_log = logging.getLogger("selfheal.serving")


_Batches = Generator[list[Entry], None, None]


class LogWriter:
    """The queue and its thread.

    Parameters
    ----------
    table, model
        Where rows go.
    capacity
        Bytes of rows that may wait in memory. A request is taken whole as long as the bound is not reached yet, so
        that one large request is not lost beside an empty queue.
    spill
        Folder for rows that the database does not have yet; without it a kill loses them.
    spill_bytes, watch
        Bytes that the folder may hold; what is shown rows that were committed, in the log's thread.

    Attributes
    ----------
    busy
        Held while its thread uses the database: who takes it keeps the thread still, as a fork must.
    """

    def __init__(
        self,
        table: InferenceTable,
        model: str,
        capacity: int,
        spill: Path | None = None,
        spill_bytes: int = SPILL_BYTES,
        watch: Callable[[list[Row]], object] = len,
    ) -> None:
        self.state = LogState()
        self._table, self._model, self._capacity, self._watch = table, model, capacity, watch
        self._waiting_bytes = 0
        self._spill = None if spill is None else Spill(spill, spill_bytes)
        self._spill_due = 0.0
        self._over = False  # memory is full: rows go to the file alone, until all of those are committed
        self._queue: deque[Entry] = deque()
        self._backlog: _Batches | None = None if spill is None else self._left(spill)
        self._batch: list[Entry] = []  # of the backlog, being committed
        self._lock = threading.Lock()
        self.busy = threading.Lock()
        self._wake = threading.Event()
        self._urgent = threading.Event()
        self._dirty = threading.Event()
        self._closing = False
        self.refusals, self.gaps = RefusalCounter(), GapCounter(spill)
        self._thread = threading.Thread(target=self._run, name="selfheal-log", daemon=True)

    def refuse(self, error: InputError, rows: int, at_us: int) -> None:
        """Count rows that were not answered because of ``error``."""
        self.refusals.count(error, rows, at_us)
        self._wake.set()

    def start(self) -> None:
        """Start the threads."""
        self._thread.start()
        if self._spill is not None:
            threading.Thread(target=self._flush, name="selfheal-spill", daemon=True).start()

    def put(self, rows: list[Row], text: int = 0, *, answered: bool = True) -> bool:
        """Take rows, with so many bytes of text in them, to be logged soon; False if there is no room for them.

        Parameters
        ----------
        answered
            Whether they are answered all the same: then they are counted as dropped.
        """
        return self._put(rows, text, None, answered)

    async def put_durably(self, rows: list[Row], text: int, timeout: float) -> bool:
        """Take rows and wait for their commit.

        Returns
        -------
        bool
            Whether they were committed in time. If not they may be still: a retry with the same ids is harmless.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[bool] = loop.create_future()

        def tell(committed: bool) -> None:
            loop.call_soon_threadsafe(lambda: None if done.done() else done.set_result(committed))

        if not self._put(rows, text, tell, False):
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
        """Commit what waits for as long as ten seconds, and stop; what is left then stays in the local file."""
        self._keep_all()
        self._closing = True
        for event in (self._urgent, self._wake, self._dirty):
            event.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSING_S + 1)
        if self.state.waiting:
            kept = "not logged" if self._spill is None else "kept for the next start"
            _log.error("%d answered rows are %s: %s", self.state.waiting, kept, self.state.error)
        if self._thread.is_alive() or self._spill is None:
            return  # it still waits for the database, and its files go with the process
        self.gaps.close()
        if self._backlog is not None:
            self._backlog.close()
        with self._lock:
            if self.state.waiting:
                self._sync(self._spill.unsynced())
            self._spill.close(keep=bool(self.state.waiting))

    def _keep_all(self) -> None:
        """Write what could not be written before."""
        with self._lock:
            self._spill_due = 0.0
            rows = [row for entry in self._queue if entry.segment is None for row in entry.rows]
            if rows and self._spill is not None and self._kept(pack(rows), False) is None:
                _log.error("%d answered rows that wait cannot be kept: %s", len(rows), self.state.spill_error)

    def _put(self, rows: list[Row], text: int, committed: Callable[[bool], None] | None, answered: bool) -> bool:
        size = text + VALUE_BYTES * len(rows) * len(rows[0])  # all rows of a table are as wide
        packed = None if self._spill is None else pack(rows)
        with self._lock:
            over = self._over or self._waiting_bytes >= self._capacity
            segment = None if packed is None or (over and committed is not None) else self._kept(packed, over)
            if over and segment is None:
                if answered:
                    self.state.dropped += len(rows)
                    self._lost(NO_ROOM, rows)
                return False
            self.state.waiting += len(rows)
            self._over = over
            if not over:
                self._waiting_bytes += size
                self._queue.append(Entry(rows, size, committed, segment, time.monotonic()))
        for event in (self._wake, self._dirty):
            if not event.is_set():  # which costs a tenth of setting it again
                event.set()
        return True

    def _kept(self, packed: Packed, unread: bool) -> Segment | None:
        """The segment that rows were written to; None if they could not be. Needs the lock."""
        assert self._spill is not None  # noqa: S101  the callers asked
        if self._spill_due and time.monotonic() < self._spill_due:
            return None
        try:
            segment = self._spill.append(packed, unread=unread)
        except OSError as error:
            if not isinstance(error, FullError):
                self._spill_due = time.monotonic() + _AGAIN_S
            if not self.state.spill_error:
                _log.error("answered rows cannot be kept in a local file: %s", error)
            self.state.spill_error = str(error)
            return None
        self._spill_due, self.state.spill_bytes, self.state.spill_error = 0.0, self._spill.bytes, ""
        return segment

    def _run(self) -> None:
        pause = _RETRY_S[0]
        give_up: float | None = None
        while True:
            self._wake.wait(None if self._backlog is None else 0.0)
            if self._closing and give_up is None:
                give_up = time.monotonic() + _CLOSING_S
            if not self._closing:
                self._urgent.wait(GATHER_S)
            self._wake.clear()
            self._urgent.clear()
            with self.busy:
                failed = not (self._drain() and self._catch_up() and self._note_counts())
            if self._closing and (not self._queue or (give_up is not None and time.monotonic() > give_up)):
                return
            if failed or self._queue or self._closing or self._over:
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
        while due > 0:
            with self._lock:
                group = first(self._queue, COMMIT_ROWS)
            due -= len(group)
            if not self._committed(group):
                return False
            with self._lock:
                for entry in group:
                    self._queue.popleft()
                    self.state.waiting -= len(entry.rows)
                    self._waiting_bytes -= entry.size
                    if entry.segment is not None and self._spill is not None:
                        self._spill.committed(entry.segment, len(entry.rows))
                self.state.spill_bytes = 0 if self._spill is None else self._spill.bytes
        return True

    def _catch_up(self) -> bool:
        """Commit some rows that only a file holds; False while the database fails (they stay in line)."""
        if self._backlog is None and self._over:
            self._backlog = self._overflown()
        done = 0
        while self._backlog is not None and done < COMMIT_ROWS and not self._closing:
            try:
                self._batch = self._batch or next(self._backlog, [])
            except Exception:
                _log.exception("rows that wait in a local file cannot be read")
            if self._batch and not self._committed(self._batch):
                return False
            if not self._batch:
                self._backlog = None
            done += sum(len(entry.rows) for entry in self._batch)
            self._batch = []
        return True

    def _left(self, folder: Path) -> _Batches:
        """What processes before left in their files; a batch is committed when the next one is asked for."""
        assert self._spill is not None  # noqa: S101  it has the folder
        for path in left_behind(folder):
            size, due = path.stat().st_size, -1
            for batch in batches(path, COMMIT_ROWS):
                for number, rows in batch:
                    self._torn(number - due if 0 <= due < number else 0, rows[0])
                    due = number + len(rows)
                yield [Entry(rows) for _, rows in batch]
                self.state.replayed += sum(len(rows) for _, rows in batch)
            with self._lock:
                self._spill.bytes -= size

    def _overflown(self) -> _Batches:
        """What this process took while memory was full; memory is used again when all of it is committed."""
        assert self._spill is not None  # noqa: S101  else nothing overflows
        while True:
            with self._lock:
                segments = self._spill.overflow()
                self._over = bool(segments)
            if not segments:
                return
            try:
                while segments:
                    yield from self._of(segments[0])
                    with self._lock:
                        self._spill.done(segments.pop(0))
                        self.state.spill_bytes = self._spill.bytes
            finally:
                for segment in segments:  # for the next process
                    segment.close(delete=False)

    def _of(self, segment: Segment) -> _Batches:
        last: Row = ("", now_us())
        for batch in batches(segment.path, COMMIT_ROWS):
            yield [Entry(rows) for _, rows in batch]
            last = batch[-1][1][-1]
            self._unread(segment, sum(len(rows) for _, rows in batch))
        self._torn(segment.unread, last)
        self._unread(segment, segment.unread)

    def _torn(self, rows: int, beside: Row) -> None:
        """Rows that were damaged in a file beside this one, whose time they are counted to."""
        self.state.torn += rows
        self.gaps.count(DAMAGED, [beside[1]] * rows)

    def _unread(self, segment: Segment, rows: int) -> None:
        with self._lock:
            segment.unread -= rows
            self.state.waiting -= rows

    def _flush(self) -> None:
        """What waits for the database is flushed to the disk too."""
        while not self._closing:
            self._dirty.wait()
            self._dirty.clear()
            time.sleep(SYNC_S)
            with self._lock:
                waits = bool(self._queue) or self._over
                late = self._over or (waits and time.monotonic() - self._queue[0].at > SYNC_S)
                files = self._spill.unsynced() if late and self._spill is not None else []
            self._sync(files)
            if waits:
                self._dirty.set()

    def _sync(self, files: list[int]) -> None:
        if error := flush(files):
            self.state.spill_error = error

    def _note_counts(self) -> bool:
        """Write down what was refused, and what was answered and is not logged; False while the database fails."""
        return all([counter.write(self._table, self._model) for counter in (self.refusals, self.gaps)])

    def _lost(self, reason: str, rows: list[Row]) -> None:
        """Answered rows will not be in the log."""
        self.gaps.count(reason, [row[1] for row in rows])
        self.state.lost_at = time.monotonic()

    def _committed(self, group: list[Entry]) -> bool:
        """Whether the database took the group; False while it fails."""
        try:
            self._commit(group)
        except UnavailableError as error:
            if self.state.failing_since is None:
                self.state.failing_since = time.monotonic()
                _log.error("answered rows wait: %s", error)
            self.state.error = str(error)
            return False
        self.state.error, self.state.failing_since = "", None
        return True

    def _commit(self, group: list[Entry]) -> None:
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
            self._lost(NOT_TAKEN, rows)
            # Not what it says: that may quote the row.
            _log.error(
                "the database refused %d rows of %s from %r on: %s", len(rows), self._model, rows[0][0], trace(error)
            )
            tell(group, False)
            return
        self.state.written += len(rows)
        tell(group, True)
        self._watch(rows)
