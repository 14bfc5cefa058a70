"""Copies of a file with columns added, a format each: read and written piece by piece, every value as it was."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from selfheal.errors import InputError
from selfheal.serving.scorer import Floats

Piece = tuple[pl.DataFrame, Any]
"""The features of some rows, as far as they are there, and the rows as the format has them."""


class Copy(Protocol):
    """One file on its way into another.

    Attributes
    ----------
    total
        Rows in the source, where the format says; else None.
    close
        Write what waits, and close both.
    """

    total: int | None
    close: Callable[[], None]

    def __init__(self, source: Path, draft: Path, added: Sequence[str]) -> None: ...

    def pieces(self, features: Collection[str], size: int, lists: Collection[str] = ()) -> Iterator[Piece]:
        """The rows in order, at most ``size`` at once; ``lists`` are columns that may hold lists."""

    def add(self, kept: Any, proba: Floats, version: int) -> None:
        """Write a piece's rows, with probabilities [n, k] and version."""


class Parquet:
    """Parquet, by row groups."""

    def __init__(self, source: Path, draft: Path, added: Sequence[str]) -> None:
        with ExitStack() as opened:
            # Read ahead, pyarrow would keep every row group until the file is closed.
            self._file = opened.enter_context(pq.ParquetFile(source, pre_buffer=False))
            schema = self._file.schema_arrow
            _refuse_added(schema.names, added, source)
            self.total: int | None = self._file.metadata.num_rows
            for name in added[:-1]:
                schema = schema.append(pa.field(name, pa.float64()))
            self._schema = schema.append(pa.field(added[-1], pa.int64()))
            self._writer = opened.enter_context(pq.ParquetWriter(draft, self._schema))
            self.close = opened.pop_all().close

    def pieces(self, features: Collection[str], size: int, lists: Collection[str] = ()) -> Iterator[Piece]:
        """See :class:`Copy`."""
        names = [name for name in (*features, *lists) if name in self._schema.names]
        for batch in self._file.iter_batches(batch_size=size):
            yield pl.DataFrame(pl.from_arrow(batch.select(names))), batch

    def add(self, kept: Any, proba: Floats, version: int) -> None:
        """See :class:`Copy`."""
        columns = [*kept.columns, *(pa.array(column) for column in proba.T), pa.array([version] * len(proba))]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))


class Csv:
    """CSV with a header; every value stays the text that it was, and an empty one is a missing feature."""

    total: int | None = None

    def __init__(self, source: Path, draft: Path, added: Sequence[str]) -> None:
        self._source = source
        with ExitStack() as opened:
            self._rows = csv.reader(opened.enter_context(source.open(encoding="utf-8-sig", newline="")), strict=True)
            self._header = next(self._rows, [])
            if not self._header:
                raise InputError(f"{source} has no header; its first line must name the columns")
            _refuse_added(self._header, added, source)
            written = opened.enter_context(draft.open("w", encoding="utf-8", newline=""))
            self._writer = csv.writer(written, lineterminator="\n")
            self._writer.writerow([*self._header, *added])
            self.close = opened.pop_all().close

    def pieces(self, features: Collection[str], size: int, lists: Collection[str] = ()) -> Iterator[Piece]:
        """See :class:`Copy`."""
        features = [*features, *lists]
        for name in features:
            if self._header.count(name) > 1:
                raise InputError(f"{self._source} names column {name!r} twice; drop or rename one of them")
        places = {name: self._header.index(name) for name in features if name in self._header}
        while rows := self._next(size):
            columns = {name: [row[place] or None for row in rows] for name, place in places.items()}
            yield pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String)), rows

    def _next(self, size: int) -> list[list[str]]:
        rows = []
        try:
            for row in itertools.islice(self._rows, size):
                if len(row) != len(self._header):
                    raise InputError(
                        f"{self._source}, line {self._rows.line_num}: {len(row)} values under {len(self._header)} names"
                    )
                rows.append(row)
        except csv.Error as error:
            raise InputError(f"{self._source}, line {self._rows.line_num}: {error}") from error
        return rows

    def add(self, kept: Any, proba: Floats, version: int) -> None:
        """See :class:`Copy`."""
        self._writer.writerows([*row, *shares, version] for row, shares in zip(kept, proba.tolist(), strict=True))


class JsonLines:
    """An object a line; one that lacks a feature, or has null, misses it."""

    total: int | None = None

    def __init__(self, source: Path, draft: Path, added: Sequence[str]) -> None:
        self._source, self._added = source, added
        with ExitStack() as opened:
            self._read = opened.enter_context(source.open(encoding="utf-8"))
            self._written = opened.enter_context(draft.open("w", encoding="utf-8"))
            self.close = opened.pop_all().close

    def pieces(self, features: Collection[str], size: int, lists: Collection[str] = ()) -> Iterator[Piece]:
        """See :class:`Copy`."""
        lines = ((number, line) for number, line in enumerate(self._read, 1) if line.strip())
        while taken := list(itertools.islice(lines, size)):
            rows = [self._row(number, line) for number, line in taken]
            names = [name for name in features if any(name in row for row in rows)]
            columns = {name: [_plain(row.get(name)) for row in rows] for name in names}
            made = pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String))
            given = [name for name in lists if any(name in row for row in rows)]
            yield made.with_columns(pl.Series(c, [row.get(c) for row in rows], dtype=pl.Object) for c in given), rows

    def _row(self, number: int, line: str) -> dict[str, Any]:
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{self._source}, line {number}: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{self._source}, line {number} is no JSON object")
        _refuse_added(row, self._added, self._source)
        return row

    def add(self, kept: Any, proba: Floats, version: int) -> None:
        """See :class:`Copy`."""
        for row, shares in zip(kept, proba.tolist(), strict=True):
            more = dict(zip(self._added, [*shares, version], strict=True))
            self._written.write(json.dumps(row | more, ensure_ascii=False) + "\n")


COPIES: dict[str, type[Copy]] = {"parquet": Parquet, "csv": Csv, "jsonl": JsonLines}
"""By the names in :data:`selfheal.log.files.FORMATS`."""


def _plain(value: Any) -> str | None:
    """A value as text, from which it is read as it would be from any log; a truth value as the number that it is."""
    if value is None or isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, bool) else str(value)


def _refuse_added(names: Collection[str], added: Collection[str], source: Path) -> None:
    twice = [name for name in added if name in names]
    if twice:
        raise InputError(f"{source} has a column {twice[0]!r} already; was it scored before? Drop or rename it first")
