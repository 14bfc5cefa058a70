"""Rows that were answered and are not in the database yet, in a local file: what a process leaves for the next one.

A file is a sequence of records: length and CRC-32 (4 bytes each, big-endian), then the rows as MessagePack. A tail
that was cut off, or is damaged, ends the file. Its owner holds a lock on it; who can lock it knows that the owner is
gone. Rows carry their prediction ids, and the table takes an id once: replaying twice is harmless.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

Row = tuple[Any, ...]

RECORD_ROWS = 1_000
"""Rows in one record: a damaged one costs no more."""

_HEAD = struct.Struct(">II")
_log = logging.getLogger("selfheal.serving")


class Spill:
    """One process's file below ``folder``; made when the first row is written.

    Parameters
    ----------
    folder
        Of one model.
    limit
        Largest size in bytes; what does not fit is not written.
    """

    def __init__(self, folder: Path, limit: int = 2**30) -> None:
        self._folder, self._limit = folder, limit
        self._file: BinaryIO | None = None

    def write(self, rows: Sequence[Row]) -> int:
        """Append rows and wait until the disk has them.

        Returns
        -------
        int
            How many were written: the first so many.

        Raises
        ------
        OSError
            The disk is full or away.
        """
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            file = (self._folder / f"{os.getpid()}-{os.urandom(4).hex()}.rows").open("ab")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = file
        written = 0
        for start in range(0, len(rows), RECORD_ROWS):
            part = rows[start : start + RECORD_ROWS]
            body = msgspec.msgpack.encode(part)
            if self._file.tell() + _HEAD.size + len(body) > self._limit:
                break
            self._file.write(_HEAD.pack(len(body), zlib.crc32(body)) + body)
            written += len(part)
        self._file.flush()
        os.fdatasync(self._file.fileno())
        return written

    def discard(self) -> None:
        """Its rows are in the database."""
        if self._file is not None:
            Path(self._file.name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Leave the file to the next process."""
        if self._file is not None:
            self._file.close()
            self._file = None


def left_behind(folder: Path) -> Iterator[Path]:
    """Files of processes that are gone, each locked while it is yielded and deleted afterwards.

    A file stays where the caller raises, for another try.
    """
    for path in sorted(folder.glob("*.rows")):
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # its owner lives, or another process is replaying it
            if path.exists():
                yield path
                path.unlink()


def read(path: Path) -> Iterator[list[Row]]:
    """The rows of a file, record by record, up to its end or the first that is damaged."""
    with path.open("rb") as file:
        while head := file.read(_HEAD.size):
            length, crc = _HEAD.unpack(head) if len(head) == _HEAD.size else (0, 1)
            body = file.read(length)
            if len(body) != length or zlib.crc32(body) != crc:
                _log.error("%s: its end is cut off or damaged; rows after byte %d are lost", path, file.tell())
                return
            yield [tuple(row) for row in msgspec.msgpack.decode(body)]
