"""Rows that were answered and are in no log: counted by minute and reason, until the thread that logs writes it down.

What has no room is dropped while the database is away, so that the counts wait too: in a local file beside those of the
rows, one record a minute and reason, written over in place. A kill of the process loses none, and the next start writes
them down. A count is the process's own since the file was begun: writing it twice is harmless.
"""

from __future__ import annotations

import logging
import os
import struct
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from zlib import crc32

from selfheal.errors import UnavailableError
from selfheal.serving.spill import left_behind, new_file
from selfheal.table import MINUTE_US, InferenceTable

NO_ROOM = "no room in the log"
NOT_TAKEN = "not taken by the database"
DAMAGED = "damaged in the local file"
REASONS = (NO_ROOM, NOT_TAKEN, DAMAGED)
"""In the order of their numbers in the file."""

MINUTES = 10_000
"""Counts of one file: clients date their rows, and nothing here may grow with them. What comes then is counted to the
first."""

SUFFIX = ".gaps"
_RECORD, _CRC = struct.Struct(">qIq"), struct.Struct(">I")  # minute, reason, rows; CRC-32 of those
_log = logging.getLogger("selfheal.serving")

Key = tuple[int, str]


class GapCounter:
    """Counts of one process; :meth:`count` may be called from any thread.

    Parameters
    ----------
    folder
        Where the file lies, made at the first gap; None: a kill loses what the database does not have yet.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder, self._lock, self._fd = folder, threading.Lock(), -1
        self._left = folder is not None  # whether processes before may have left files
        self._begin()

    def count(self, reason: str, times_us: Iterable[int]) -> None:
        """Count rows of these event times."""
        new = Counter(at - at % MINUTE_US for at in times_us)
        with self._lock:
            for minute, rows in new.items():
                key = (minute, reason)
                if key not in self._counts and len(self._counts) >= MINUTES:
                    key = next(iter(self._counts))
                self._counts[key] += rows
                self._keep(key)

    def write(self, table: InferenceTable, model: str) -> bool:
        """Write down what was counted, and what processes before had; False while the database fails."""
        with self._lock:
            source, counts = self._source, dict(self._counts)
        try:
            if self._left and self._folder is not None:
                for path in left_behind(self._folder, SUFFIX):
                    table.gaps.put(model, path.stem, dict(read(path)))
                self._left = False
            table.gaps.put(model, source, counts)
        except UnavailableError:
            return False
        with self._lock:
            if counts and counts == self._counts:
                self._end(keep=False)
                self._begin()
        return True

    def close(self) -> None:
        """Leave what the database lacks to the next process."""
        with self._lock:
            self._end(keep=True)

    def _begin(self) -> None:
        self._source = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._counts: Counter[Key] = Counter()
        self._places: dict[Key, int] = {}

    def _keep(self, key: Key) -> None:
        """Write one count to the file; the first makes it. Needs the lock."""
        if self._folder is None:
            return
        place = self._places.setdefault(key, len(self._places))
        try:
            if self._fd < 0:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._fd = new_file(self._path(self._folder), 0)
            os.pwrite(self._fd, _packed(*key, self._counts[key]), place * (_RECORD.size + _CRC.size))
        except OSError as error:  # the disk is full, say: then memory alone has it
            _log.error("a count of rows that are not logged cannot be kept in a local file: %s", error)

    def _path(self, folder: Path) -> Path:
        return folder / f"{self._source}{SUFFIX}"

    def _end(self, *, keep: bool) -> None:
        if self._fd >= 0 and self._folder is not None:
            if not keep:
                self._path(self._folder).unlink(missing_ok=True)
            os.close(self._fd)
            self._fd = -1


def _packed(minute: int, reason: str, rows: int) -> bytes:
    body = _RECORD.pack(minute, REASONS.index(reason), rows)
    return body + _CRC.pack(crc32(body))


def read(path: Path) -> Iterator[tuple[Key, int]]:
    """The counts of a file; what was never written, or is damaged, is left out."""
    size = _RECORD.size + _CRC.size
    data = path.read_bytes()
    for start in range(0, len(data) - size + 1, size):
        body, crc = data[start : start + _RECORD.size], data[start + _RECORD.size : start + size]
        if crc32(body) == _CRC.unpack(crc)[0]:
            minute, reason, rows = _RECORD.unpack(body)
            yield (minute, REASONS[reason]), rows
