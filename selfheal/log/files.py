"""A folder of Parquet, CSV or JSON lines, read lazily: of Parquet only the row groups that a window needs."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Generator
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
from polars.exceptions import PolarsError

from selfheal.errors import UnavailableError
from selfheal.log.rows import Bounded, Part
from selfheal.table.values import from_us

FORMATS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""Ends of file names that are read; others, and names that begin with ``_`` or ``.``, are somebody's at work."""

SETTLED_SECONDS = 60.0
"""A text file that has not changed for this long grows no more: its last line counts, with or without an end."""

Stamp = tuple[str, int, int]
"""A file as it is now: path, time of its last change in ns, size in bytes."""

Columns = tuple[tuple[str, pl.DataType], ...]


class Files:
    """The files below a folder (or one file); they are only read.

    Parameters
    ----------
    place
        The folder; relative to the working directory.
    """

    def __init__(self, place: str) -> None:
        self.place = Path(place).expanduser()

    @property
    def name(self) -> str:
        """The folder."""
        return f"the log {self.place}"

    def scan(self, columns: Collection[str], part: Part, by: Bounded) -> Generator[pl.LazyFrame, None, None]:
        """See :class:`~selfheal.log.rows.Rows`: one frame for all files of the same columns and types."""
        alike: dict[tuple[str, Columns], list[str]] = {}
        growing: list[pl.LazyFrame] = []
        for stamp in self._files():
            kind = FORMATS[Path(stamp[0]).suffix.lower()]
            if kind != "parquet" and stamp[1] > (time.time() - SETTLED_SECONDS) * 1e9:
                growing += _whole_lines(kind, stamp, self.name)
                continue
            if schema := _columns(kind, stamp, self.name):  # else the file is empty
                alike.setdefault((kind, schema), []).append(stamp[0])
        for frame in (*growing, *(_lazy(kind, paths, self._root) for (kind, _), paths in alike.items())):
            yield _bounded(frame, dict(frame.collect_schema()), part, by)

    def blame(self) -> str:
        """The first file that cannot be read through."""
        for path, _, size in self._files():
            try:
                if size:
                    _lazy(FORMATS[Path(path).suffix.lower()], [path], self._root).collect()
            except PolarsError:
                return path
        return "a file"

    @property
    def _root(self) -> Path:
        return self.place if self.place.is_dir() else self.place.parent

    def _files(self) -> list[Stamp]:
        try:
            if self.place.is_file():
                found = [self.place]
            else:
                os.stat(self.place)
                found = sorted(p for p in self.place.rglob("*") if _is_ours(p, self.place))
            stats = [(str(path), path.stat()) for path in found if path.suffix.lower() in FORMATS]
        except OSError as error:
            raise UnavailableError(
                f"{self.name} cannot be read: {error.strerror}; is its disk mounted, and does log.from name it?"
            ) from error
        return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]


def _is_ours(path: Path, root: Path) -> bool:
    parts = path.relative_to(root).parts
    return path.suffix.lower() in FORMATS and not any(part.startswith(("_", ".")) for part in parts) and path.is_file()


@lru_cache(maxsize=20_000)
def _columns(kind: str, stamp: Stamp, name: str) -> Columns:
    """Columns of a file; with their types where the format has types. Empty where the file is.

    Raises
    ------
    UnavailableError
        It is half written, or damaged.
    """
    path, _, size = stamp
    try:
        if kind == "parquet":
            return tuple(pl.read_parquet_schema(path).items())
        return tuple(_text(kind, path).collect_schema().items()) if size else ()
    except (PolarsError, OSError) as error:
        raise broken(name, path, error) from error


def _whole_lines(kind: str, stamp: Stamp, name: str) -> list[pl.LazyFrame]:
    """What a file that grows has so far: half a line would read like a whole one."""
    path, _, size = stamp
    try:
        with open(path, "rb") as file:
            held = file.read(size)
        lines = held[: held.rfind(b"\n") + 1]
        frame = _text(kind, lines) if lines else None
        return [frame] if frame is not None and frame.collect_schema() else []
    except (PolarsError, OSError) as error:
        raise broken(name, path, error) from error


def broken(name: str, path: str, error: Exception) -> UnavailableError:
    """What to say of a file that cannot be read."""
    cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UnavailableError(
        f"{name}: {path} cannot be read ({cause}): half written, or damaged? No window is handled before it can be; "
        "write elsewhere and move the whole file here, or take it away"
    )


def _text(kind: str, source: str | bytes | list[str]) -> pl.LazyFrame:
    """CSV, of which every value is text; or JSON lines, whose types are those of all their lines."""
    if kind == "csv":
        return pl.scan_csv(source, infer_schema=False)
    return pl.scan_ndjson(source, infer_schema_length=None)


def _lazy(kind: str, paths: list[str], root: Path) -> pl.LazyFrame:
    if kind != "parquet":
        return _text(kind, paths)
    folders = (part for path in paths for part in Path(path).relative_to(root).parts[:-1])
    # As text: a partition site=007 is no 7, and what is a number is cast by the model's schema.
    hive: dict[str, pl.DataType] = {part.split("=", 1)[0]: pl.String() for part in folders if "=" in part}
    return pl.scan_parquet(paths, hive_partitioning=bool(hive), hive_schema=hive or None)


def _bounded(frame: pl.LazyFrame, schema: dict[str, pl.DataType], part: Part, by: Bounded) -> pl.LazyFrame:
    """Only the part, where the file's own statistics can tell; the rest is filtered once times are read."""
    held = schema.get(by.time or "")
    dated = isinstance(held, pl.Datetime) and held.time_zone is not None
    if part.undated:
        return frame if part.numbered or not dated else frame.filter(pl.col(by.time or "").is_null())
    if by.time is not None and isinstance(held, pl.Datetime) and dated:
        if part.start is not None:
            frame = frame.filter(pl.col(by.time) >= _at(part.start, held))
        if part.end is not None:
            frame = frame.filter(pl.col(by.time) < _at(part.end, held))
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
