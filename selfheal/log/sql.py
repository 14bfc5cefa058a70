"""A table, view or query of any database that SQLAlchemy reaches; it is only read."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy import exc

from selfheal.errors import InputError, UnavailableError, nearest
from selfheal.log.rows import Bounded, Part
from selfheal.table.values import from_us

CHUNK = 20_000
"""Rows fetched at once: bounds the Python objects alive while a window is read."""

FURTHEST = timedelta(hours=15)
"""Local times lie at most this far from UTC."""

_COLON = re.compile(r"(?<![:\\]):(?=[A-Za-z_])")
"""What SQLAlchemy would take for a parameter."""

_SECONDS = ((1e11, 1), (1e14, 1_000), (1e17, 1_000_000), (float("inf"), 1_000_000_000))


class Sql:
    """One table or view, or what a query gives.

    Parameters
    ----------
    url
        SQLAlchemy URL, with its password.
    table
        Name, or ``schema.name``; empty with a query.
    query
        One SELECT, which becomes a sub-query: the database filters what it gives.
    """

    def __init__(self, url: str, table: str, query: str = "") -> None:
        self.url, self.table, self.query = _parsed(url), table or "log.query", query
        self._clause: sa.FromClause | None = None

    @property
    def name(self) -> str:
        """Table and URL, the password masked."""
        return f"the log {self.table!r} of {self.url.render_as_string(hide_password=True)}"

    def blame(self) -> str:
        """The table."""
        return self.table

    def moved(self, *, failed: bool) -> bool:
        """Never: a query sees one state of the table."""
        return False

    def scan(self, columns: Collection[str], part: Part, by: Bounded) -> Generator[pl.LazyFrame, None, None]:
        """See :class:`~selfheal.log.rows.Rows`: a frame for every :data:`CHUNK` rows, or an empty one."""
        with self._connected() as connection:
            table = self._reflected(connection)
            complete = all(name in table.columns for name in columns)  # else a message shall name what there is
            chosen = [column for column in table.columns if column.name in columns or not complete]
            names = [column.name for column in chosen]
            query = sa.select(*chosen).where(*_where(connection, table, part, by))
            some = False
            with connection.execution_options(stream_results=True, yield_per=CHUNK).execute(query) as result:
                for rows in result.partitions(CHUNK):
                    some = True
                    yield _frame(names, rows).lazy()
            if not some:
                yield pl.DataFrame(schema=dict.fromkeys(names, pl.Null)).lazy()

    def _reflected(self, connection: sa.Connection) -> sa.FromClause:
        if self._clause is None and self.query:
            text = sa.text(_COLON.sub(r"\\:", self.query))
            names = connection.execute(sa.select(sa.text("*")).select_from(_as(text, ())).limit(0)).keys()
            self._clause = _as(text, names)
        if self._clause is None:
            schema, _, table = self.table.rpartition(".")
            inspector = sa.inspect(connection)
            try:
                columns = inspector.get_columns(table, schema=schema or None)
            except exc.NoSuchTableError as error:
                there = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
                raise InputError(
                    f"{self.name}: there is no such table or view{nearest(table, there)}; does log.table name it?"
                ) from error
            self._clause = sa.table(table, *(sa.column(c["name"]) for c in columns), schema=schema or None)
        return self._clause

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        engine = None
        try:
            engine = _engine(self.url)
            with engine.connect() as connection:
                yield connection
        except (exc.SQLAlchemyError, OSError) as error:
            if isinstance(error, UnavailableError):
                raise
            raise UnavailableError(self._cause(error)) from None  # a driver may quote the whole URL
        finally:
            if engine is not None:
                engine.dispose()

    def _cause(self, error: Exception) -> str:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        if self.url.password:
            cause = cause.replace(str(self.url.password), "***")
        return (
            f"{self.name} cannot be read: {cause}; check that it runs, that log.from names it and that its user may "
            "read the table"
        )


def _as(query: sa.TextClause, names: Collection[str]) -> sa.FromClause:
    """A query as a sub-query with these columns."""
    return query.columns(*(sa.column(name) for name in names)).subquery("logged")


def _parsed(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise InputError("log.from is no SQLAlchemy URL; write one such as postgresql://reader@host/name") from None
    plain = parsed.get_backend_name() == "postgresql" and "+" not in parsed.drivername
    return parsed.set(drivername="postgresql+psycopg") if plain else parsed


def _engine(url: sa.URL) -> sa.Engine:
    """An engine that cannot write, as far as the database can promise that."""
    try:
        backend = url.get_backend_name()
        if backend == "sqlite":
            path = Path(url.database or "").absolute()
            return sa.create_engine("sqlite://", creator=lambda: _read_only(path), poolclass=sa.NullPool)
        given: dict[str, Any] = {}
        if backend == "postgresql":
            given = {"connect_args": {"options": "-c default_transaction_read_only=on"}}
        return sa.create_engine(url, poolclass=sa.NullPool, **given)
    except (exc.NoSuchModuleError, ImportError) as error:
        raise InputError(
            f"log.from: the driver for {url.drivername!r} is not installed here ({error}); for PostgreSQL install "
            "selfheal[postgres]"
        ) from None


def _read_only(path: Path) -> sqlite3.Connection:
    if not path.exists():
        raise UnavailableError(f"the log {path} is not there; is its disk mounted, and does log.from name it?")
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def _where(connection: sa.Connection, table: sa.FromClause, part: Part, by: Bounded) -> list[sa.ColumnElement[bool]]:
    """Conditions that keep at least the part; what they keep too much is filtered once times are read."""
    bounds: list[sa.ColumnElement[bool]] = []
    if part.undated:
        return [sa.or_(*_unplaced(connection, table, by))]
    time, number = _column(table, by.time), _column(table, by.order)
    if number is not None:
        bounds += [] if part.after is None else [number > part.after]
        bounds += [] if part.last is None else [number <= part.last]
    if time is not None and not (part.start is None and part.end is None):
        first = _example(connection, time)
        bounds += [] if part.start is None else [time >= _bound(first, from_us(part.start), early=True)]
        bounds += [] if part.end is None else [time <= _bound(first, from_us(part.end), early=False)]
    return bounds


def _column(table: sa.FromClause, name: str | None) -> sa.ColumnElement[Any] | None:
    """The column of that name, if there is one."""
    return None if name is None else table.columns.get(name)


def _example(connection: sa.Connection, column: sa.ColumnElement[Any]) -> Any:
    return connection.execute(sa.select(column).where(column.is_not(None)).limit(1)).scalar()


def _unplaced(connection: sa.Connection, table: sa.FromClause, by: Bounded) -> list[sa.ColumnElement[bool]]:
    """Rows without a time or number; of text all that does not begin as a time does."""
    time, number = _column(table, by.time), _column(table, by.order)
    missing: list[sa.ColumnElement[bool]] = [column.is_(None) for column in (time, number) if column is not None]
    if time is not None and isinstance(_example(connection, time), str):
        missing.append(time.not_like("____-__-__%"))
    return missing or [sa.false()]


def _bound(like: Any, at: datetime, *, early: bool) -> Any:
    """A time as the column writes times; of text whole days, which sort right whatever comes after them."""
    if isinstance(like, datetime):
        return at if like.tzinfo is not None else at.replace(tzinfo=None) + (-FURTHEST if early else FURTHEST)
    if isinstance(like, str) and not like.strip().replace(".", "", 1).isdigit():
        day = (at - FURTHEST) if early else (at + FURTHEST + timedelta(days=1))
        return day.astimezone(UTC).date().isoformat()
    size = abs(float(like)) if like is not None else 0.0
    unit = next(unit for bound, unit in _SECONDS if size < bound)
    us = round(at.timestamp() * 1_000_000)
    value = us * unit // 1_000_000
    value = value - 1 if early else value + 1
    return str(value) if isinstance(like, str) else value


def _frame(names: Sequence[str], rows: Sequence[Any]) -> pl.DataFrame:
    columns = zip(*rows, strict=True)
    return pl.DataFrame([_series(name, list(values)) for name, values in zip(names, columns, strict=True)])


def _series(name: str, values: list[Any]) -> pl.Series:
    """A column of whatever the driver gives; text where its values are of several kinds."""
    try:
        series = pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        series = pl.Series(name, [], dtype=pl.Object)
    if series.dtype == pl.Object:
        return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)
    return series
