"""A folder of Parquet, CSV or JSON lines, read lazily: of Parquet only the row groups that a window needs."""

from __future__ import annotations

import os
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

Stamp = tuple[str, int, int]
"""A file as it is now: path, time of its last change in ns, size in bytes."""


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
        alike: dict[tuple[str, tuple[tuple[str, pl.DataType], ...]], list[Stamp]] = {}
        for stamp in self._files():
            kind = FORMATS[Path(stamp[0]).suffix.lower()]
            alike.setdefault((kind, _columns(kind, stamp, self.name)), []).append(stamp)
        for (kind, schema), stamps in alike.items():
            if not schema:  # an empty file
                continue
            frame = _lazy(kind, [stamp[0] for stamp in stamps], [name for name, _ in schema], self._root)
            yield _bounded(frame, dict(frame.collect_schema()), part, by)

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
def _columns(kind: str, stamp: Stamp, name: str) -> tuple[tuple[str, pl.DataType], ...]:
    """Columns of a file; with their types where the format has types.

    Raises
    ------
    UnavailableError
        It is half written, or damaged.
    """
    path = Path(stamp[0])
    try:
        if kind == "parquet":
            return tuple(pl.read_parquet_schema(path).items())
        _refuse_cut(path, stamp[2])
        if kind == "csv":
            header = pl.scan_csv(path, infer_schema=False).collect_schema().names() if stamp[2] else []
            return tuple((column, pl.String()) for column in header)
        seen = pl.scan_ndjson(path, infer_schema_length=None).collect_schema() if stamp[2] else {}
        return tuple(seen.items())
    except (PolarsError, OSError) as error:
        raise broken(name, str(path), error) from error


def _refuse_cut(path: Path, size: int) -> None:
    """Refuse a file whose last line has no end: half a line reads like a whole one."""
    with path.open("rb") as file:
        file.seek(max(size - 1, 0))
        if size and file.read(1) not in (b"\n", b"\r"):
            raise UnavailableError(
                f"{path} ends in the middle of a line: it is half written; it is read again once its last line has "
                "an end. Write elsewhere and move the whole file here, and end the last line too"
            )


def broken(name: str, path: str, error: Exception) -> UnavailableError:
    """What to say of a file that cannot be read."""
    cause = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return UnavailableError(
        f"{name}: {path} cannot be read ({cause}): half written, or damaged? No window is handled before it can be; "
        "write elsewhere and move the whole file here, or take it away"
    )


def _lazy(kind: str, paths: list[str], columns: list[str], root: Path) -> pl.LazyFrame:
    if kind == "csv":
        return pl.scan_csv(paths, infer_schema=False)
    if kind == "jsonl":
        return pl.scan_ndjson(paths, infer_schema_length=None)
    hive = any("=" in part for path in paths for part in Path(path).relative_to(root).parts[:-1])
    if not hive:
        return pl.scan_parquet(paths, hive_partitioning=False)
    return pl.scan_parquet(paths, hive_partitioning=True, try_parse_hive_dates=False)


def _bounded(frame: pl.LazyFrame, schema: dict[str, pl.DataType], part: Part, by: Bounded) -> pl.LazyFrame:
    """Only the part, where the file's own statistics can tell; the rest is filtered once times are read."""
    time = schema.get(by.time or "")
    dated = isinstance(time, pl.Datetime) and time.time_zone is not None
    if part.undated:
        return frame if part.numbered or not dated else frame.filter(pl.col(by.time or "").is_null())
    if by.time is not None and isinstance(time, pl.Datetime) and dated:
        if part.start is not None:
            frame = frame.filter(pl.col(by.time) >= _at(part.start, time))
        if part.end is not None:
            frame = frame.filter(pl.col(by.time) < _at(part.end, time))
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
