"""Rows that were answered and are not in the database yet, in local files: what a killed process leaves for the next.

A process appends to one file at a time, its *segment*: a sequence of records, each length, CRC-32 of the body XOR the
number's lower half, the number of rows that this process took before it (4, 4 and 8 bytes, big-endian), then the body,
the rows as MessagePack. A damaged record is
left out, and counted by that number; a tail that was cut off ends the file. Its owner holds a lock on it; who can lock
it knows that the owner is gone. Rows carry their prediction ids, and the table takes an id once: replaying twice is
harmless.
"""

from __future__ import annotations

import fcntl
import logging
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import msgspec

Row = tuple[Any, ...]
Record = tuple[int, list[Row]]
"""Rows, and how many this process had taken before them (-1: its release did not say)."""

RECORD_ROWS = 1_000
"""Rows in one record: a damaged one costs no more."""
SEGMENT_BYTES = 4 * 2**20
"""A segment is not appended to beyond this: so much that the database has already may still lie on the disk."""

SPILL_BYTES = 2**30
"""Bytes of the local files: some five million rows of 20 columns."""

_HEAD = struct.Struct(">IIQ")
_OLD_HEAD = struct.Struct(">II")
_SUFFIX, _OLD_SUFFIX = ".taken", ".rows"
_encode = msgspec.msgpack.Encoder(enc_hook=lambda value: value.item()).encode  # a scalar of numpy
_log = logging.getLogger("selfheal.serving")

Packed = list[tuple[int, int, bytes]]
"""Records without their numbers: rows, CRC-32 of the body, body."""


class FullError(OSError):
    """The spill has reached its own bound."""


def pack(rows: Sequence[Row]) -> Packed:
    """Rows as records; what takes time of an append, and needs no lock."""
    if len(rows) <= RECORD_ROWS:
        body = _encode(rows)
        return [(len(rows), crc32(body), body)]
    bodies = [(len(part), _encode(part)) for part in _parts(rows)]
    return [(n, crc32(body), body) for n, body in bodies]


def _record(number: int, crc: int, body: bytes) -> bytes:
    return _HEAD.pack(len(body), _numbered(crc, number), number) + body


def _numbered(crc: int, number: int) -> int:
    """A body's CRC-32, made to speak for the record's number too; every request pays for it."""
    return crc ^ (number & 0xFFFFFFFF)


def _parts(rows: Sequence[Row]) -> list[Sequence[Row]]:
    return [rows[start : start + RECORD_ROWS] for start in range(0, len(rows), RECORD_ROWS)]


class Segment:
    """One file of this process.

    Attributes
    ----------
    size
        Bytes of whole records.
    held
        Rows in it that the database lacks and memory holds.
    unread
        Rows in it that the database lacks and memory does not hold.
    synced
        Bytes that the disk surely has.
    """

    def __init__(self, path: Path) -> None:
        self.fd = new_file(path, os.O_APPEND)
        self.path, self.size, self.held, self.unread, self.synced = path, 0, 0, 0, 0

    def append(self, data: bytes) -> None:
        """Write whole records, or nothing."""
        try:
            written = os.write(self.fd, data)
            if written < len(data):
                raise OSError(28, f"only {written} of {len(data)} bytes could be written")
        except OSError:
            os.ftruncate(self.fd, self.size)
            raise
        self.size += len(data)

    def empty(self) -> None:
        """The database has all its rows."""
        os.ftruncate(self.fd, 0)
        self.size = self.synced = 0

    def close(self, *, delete: bool) -> None:
        """Give it up; what is not deleted is for the next process."""
        if delete:
            self.path.unlink(missing_ok=True)
        os.close(self.fd)


class Spill:
    """One process's segments below ``folder``; nothing is made before the first row. Not safe between threads.

    Parameters
    ----------
    folder
        Of one model.
    limit
        Bytes that the folder may hold, what dead processes left included.

    Attributes
    ----------
    bytes
        What it holds.
    """

    def __init__(self, folder: Path, limit: int = SPILL_BYTES) -> None:
        self.folder, self._limit = folder, limit
        self.bytes = sum(map(_size, _files(folder)))
        self._segments: list[Segment] = []
        self._name = f"{os.getpid()}-{os.urandom(4).hex()}"
        self._made = self._taken = 0

    def append(self, packed: Packed, *, unread: bool = False) -> Segment:
        """Write records; they survive a kill when this returns.

        Parameters
        ----------
        unread
            Whether memory does not hold the rows: such lie in segments of their own.

        Raises
        ------
        OSError
            The disk is full or away, or the bound is reached: nothing was written.
        """
        taken = self._taken
        if len(packed) == 1:
            rows, crc, body = packed[0]
            data = _record(taken, crc, body)
        else:
            rows, records = 0, []
            for n, crc, body in packed:
                records.append(_record(taken + rows, crc, body))
                rows += n
            data = b"".join(records)
        size = len(data)
        if self.bytes + size > self._limit:
            raise FullError(28, f"the spill {self.folder} holds {self.bytes} of at most {self._limit} bytes")
        segment = self._segment(unread)
        segment.append(data)
        if unread:
            segment.unread += rows
        else:
            segment.held += rows
        self.bytes += size
        self._taken = taken + rows
        return segment

    def _segment(self, unread: bool) -> Segment:
        last = self._segments[-1] if self._segments else None
        if last is not None and last.size < SEGMENT_BYTES and not (last.held if unread else last.unread):
            return last
        self.folder.mkdir(parents=True, exist_ok=True)
        self._made += 1
        made = Segment(self.folder / f"{self._name}-{self._made:06d}{_SUFFIX}")
        self._segments.append(made)
        return made

    def committed(self, segment: Segment, rows: int) -> None:
        """The database has so many rows of a segment that memory held."""
        segment.held -= rows
        if segment.held or segment.unread:
            return
        self.bytes -= segment.size
        if segment is self._segments[-1]:
            segment.empty()
        else:
            self._segments.remove(segment)
            segment.close(delete=True)

    def overflow(self) -> list[Segment]:
        """The segments that memory does not hold, oldest first, which are not appended to any more."""
        segments = [segment for segment in self._segments if segment.unread]
        for segment in segments:
            self._segments.remove(segment)
        return segments

    def done(self, segment: Segment) -> None:
        """The database has all rows of a segment that :meth:`overflow` gave."""
        self.bytes -= segment.size
        segment.close(delete=True)

    def unsynced(self) -> list[int]:
        """Descriptors of what the disk may not have yet, duplicated: the caller flushes and closes them."""
        segments = [segment for segment in self._segments if segment.size > segment.synced]
        for segment in segments:
            segment.synced = segment.size
        return [os.dup(segment.fd) for segment in segments]

    def close(self, *, keep: bool = True) -> None:
        """Leave what the database lacks to the next process; without ``keep`` it lacks nothing."""
        for segment in self._segments:
            segment.close(delete=not (keep and (segment.held or segment.unread)))
        self._segments = []


def _files(folder: Path, suffixes: Iterable[str] = (_SUFFIX, _OLD_SUFFIX)) -> list[Path]:
    return sorted(path for suffix in suffixes for path in folder.glob(f"*{suffix}"))


def flush(files: Iterable[int]) -> str:
    """Flush descriptors to the disk and close them; why one could not be, or empty."""
    failure = ""
    for descriptor in files:
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            _log.error("answered rows cannot be flushed to the disk: %s", error)
            failure = str(error)
        finally:
            os.close(descriptor)
    return failure


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process has replayed it
        return 0


def new_file(path: Path, flags: int) -> int:
    """The descriptor of a file that was not there, which says by its lock that this process lives."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(descriptor).st_nlink:
            raise FileNotFoundError(2, "removed before it was locked, as if its owner were dead")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def left_behind(folder: Path, *suffixes: str) -> Iterator[Path]:
    """Files of processes that are gone, each locked while it is yielded and deleted afterwards; by default of rows.

    A file stays where the caller raises or stops, for another try.
    """
    for path in _files(folder, suffixes or (_SUFFIX, _OLD_SUFFIX)):
        try:
            file = path.open("rb")
        except FileNotFoundError:
            continue  # another process has replayed it
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                continue  # its owner lives, or another process is replaying it
            if path.exists():
                yield path
                path.unlink()


def read(path: Path) -> Iterator[Record]:
    """The records of a file, up to its end or where it is cut off; damaged ones are left out."""
    head = _OLD_HEAD if path.suffix == _OLD_SUFFIX else _HEAD
    with path.open("rb") as file:
        while entry := _next(file, head, path):
            number, body = entry
            if body is not None:
                yield number, [tuple(row) for row in msgspec.msgpack.decode(body)]


def batches(path: Path, rows: int) -> Iterator[list[Record]]:
    """The records of a file, so many that each list holds at least ``rows`` rows, but for the last."""
    batch: list[Record] = []
    count = 0
    for record in read(path):
        batch.append(record)
        count += len(record[1])
        if count >= rows:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _next(file: BinaryIO, head: struct.Struct, path: Path) -> tuple[int, bytes | None] | None:
    """The next record's number, and its body or None if that is damaged; None at the end."""
    start = file.read(head.size)
    if not start:
        return None
    length, crc, *rest = head.unpack(start) if len(start) == head.size else (2**32, 0)
    body = file.read(length) if length < 2**32 else b""
    if len(body) != length:
        _log.error("%s: its end is cut off or damaged; rows after byte %d are lost", path, file.tell())
        return None
    number = rest[0] if rest else -1
    good = crc32(body) == (_numbered(crc, number) if rest else crc)
    if not good:
        _log.error("%s: a record of %d bytes before byte %d is damaged and left out", path, length, file.tell())
    return number, body if good else None
