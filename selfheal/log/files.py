"""Files of Parquet, CSV or JSON lines, or a Delta table: lazily, of Parquet only the row groups that a window needs."""

from __future__ import annotations

import time
from collections.abc import Collection, Generator
from functools import lru_cache
from pathlib import PurePath
from zoneinfo import ZoneInfo

import polars as pl
from polars.exceptions import PolarsError

from selfheal.errors import UnavailableError
from selfheal.log import delta
from selfheal.log.places import FORMATS, HEAD, Place, Stamp, changed
from selfheal.log.rows import ENCODED, Bounded, Part, broken
from selfheal.table.values import from_us

SETTLED_SECONDS = 60.0
"""A text file that has not changed for this long grows no more: its last line counts, with or without an end."""

BOMS = (b"\xff\xfe", b"\xfe\xff")
"""How text of two or four bytes a letter begins."""

Columns = tuple[tuple[str, pl.DataType], ...]


class Files:
    """The files of a place; they are only read.

    Parameters
    ----------
    place
        Where they are.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._read: list[Stamp] = []
        self._version: int | None = None

    @property
    def name(self) -> str:
        """The folder."""
        return f"the log {self.place.uri}"

    def scan(self, columns: Collection[str], part: Part, by: Bounded) -> Generator[pl.LazyFrame, None, None]:
        """See :class:`~selfheal.log.rows.Rows`: one frame for all files of the same columns and types."""
        self._read, self._version = [], None
        if self.place.is_delta():
            frame, self._version = delta.snapshot(self.place, self.name)
            yield _bounded(frame, dict(frame.collect_schema()), part, by)
            return
        alike: dict[tuple[str, Columns], list[str]] = {}
        growing: list[pl.LazyFrame] = []
        for stamp in self.place.files():
            kind = kind_of(stamp[0])
            if self._grows(kind, stamp):
                growing += _whole_lines(kind, stamp, self.name)
                continue
            self._read.append(stamp)
            if schema := _columns(kind, stamp, self.place):  # else the file is empty
                alike.setdefault((kind, schema), []).append(stamp[0])
        for frame in (*growing, *(_lazy(kind, paths, self.place) for (kind, _), paths in alike.items())):
            yield _bounded(frame, dict(frame.collect_schema()), part, by)

    def moved(self, *, failed: bool) -> bool:
        """See :class:`~selfheal.log.rows.Rows`; a snapshot of a Delta table stays, unless its files were removed."""
        if self._version is not None:
            return failed and delta.version(self.place, self.name) != self._version
        return changed(self._read, self.place.files())

    def blame(self) -> str:
        """The first file that cannot be read through."""
        if self._version is not None:
            return self.place.uri
        for path, _, size in self.place.files():
            try:
                if size:
                    _lazy(kind_of(path), [path], self.place).collect()
            except (PolarsError, OSError):
                return path
        return "a file"

    def _grows(self, kind: str, stamp: Stamp) -> bool:
        return self.place.grows and kind != "parquet" and stamp[1] > (time.time() - SETTLED_SECONDS) * 1e9


def kind_of(path: str) -> str:
    """The format of a file of the log."""
    return FORMATS[PurePath(path).suffix.lower()]


@lru_cache(maxsize=20_000)
def _columns(kind: str, stamp: Stamp, place: Place) -> Columns:
    """Columns of a file; with their types where the format has types. Empty where the file is.

    Raises
    ------
    UnavailableError
        It is half written, or damaged.
    """
    path, _, size = stamp
    try:
        if kind != "parquet" and not size:
            return ()
        if kind != "parquet":
            _refuse_wide(f"the log {place.uri}", path, place.head(path))
        return tuple(_lazy(kind, [path], place, hive=False).collect_schema().items())
    except (PolarsError, OSError) as error:
        raise broken(f"the log {place.uri}", path, error) from error


def _whole_lines(kind: str, stamp: Stamp, name: str) -> list[pl.LazyFrame]:
    """What a file that grows has so far: half a line would read like a whole one."""
    path, _, size = stamp
    try:
        with open(path, "rb") as file:
            content = file.read(size)
        _refuse_wide(name, path, content)
        lines = content[: content.rfind(b"\n") + 1]
        frame = _text(kind, lines) if lines else None
        return [frame] if frame is not None and frame.collect_schema() else []
    except (PolarsError, OSError) as error:
        raise broken(name, path, error) from error


def _refuse_wide(name: str, path: str, start: bytes) -> None:
    if start.startswith(BOMS) or (len(start) >= HEAD and b"\x00" in start[:HEAD]):
        raise UnavailableError(f"{name}: {path} is text in UTF-16 or UTF-32, and UTF-8 is read; {ENCODED}")


def _text(kind: str, source: bytes | list[str], options: dict[str, str] | None = None) -> pl.LazyFrame:
    """CSV, of which every value is text; or JSON lines, whose types are those of all their lines."""
    if kind == "csv":
        return pl.scan_csv(source, infer_schema=False, storage_options=options)
    return pl.scan_ndjson(source, infer_schema_length=None, storage_options=options)


def _lazy(kind: str, paths: list[str], place: Place, *, hive: bool = True) -> pl.LazyFrame:
    if kind != "parquet":
        return _text(kind, paths, place.options)
    folders = (part for path in paths for part in place.folders(path)) if hive else ()
    # As text: a partition site=007 is no 7, and what is a number is cast by the model's schema.
    parts: dict[str, pl.DataType] = {part.split("=", 1)[0]: pl.String() for part in folders if "=" in part}
    return pl.scan_parquet(
        paths, hive_partitioning=bool(parts), hive_schema=parts or None, storage_options=place.options
    )


def _bounded(frame: pl.LazyFrame, schema: dict[str, pl.DataType], part: Part, by: Bounded) -> pl.LazyFrame:
    """Only the part, where the file's own statistics can tell; the rest is filtered once times are read."""
    dtype = schema.get(by.time or "")
    dated = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    if part.undated:
        return frame if part.numbered or not dated else frame.filter(pl.col(by.time or "").is_null())
    if by.time is not None and isinstance(dtype, pl.Datetime) and dated:
        if part.start is not None:
            frame = frame.filter(pl.col(by.time) >= _at(part.start, dtype))
        if part.end is not None:
            frame = frame.filter(pl.col(by.time) < _at(part.end, dtype))
    number = schema.get(by.order or "")
    if by.order is not None and number is not None and number.is_integer():
        if part.after is not None:
            frame = frame.filter(pl.col(by.order) > part.after)
        if part.last is not None:
            frame = frame.filter(pl.col(by.order) <= part.last)
    return frame


def _at(us: int, like: pl.Datetime) -> pl.Expr:
    """A time of the column's own zone and unit: a file's statistics are compared with no other."""
    return pl.lit(from_us(us).astimezone(ZoneInfo(like.time_zone or "UTC")), dtype=like)
