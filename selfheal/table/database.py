"""One database by one URL: connections, transactions, and what its failures are called.

SQLite runs in WAL with ``synchronous=FULL`` (a commit that returned survives ``kill -9`` and power loss);
PostgreSQL runs as it comes. Every failure of the store itself becomes :class:`~selfheal.errors.UnavailableError`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from selfheal.errors import InputError, UnavailableError
from selfheal.table.upgrade import is_current, no_such_table, nothing_there, upgrade

SQLITE_BUSY_SECONDS = 10.0
"""How long a SQLite writer waits for another's transaction; ours last milliseconds (one group commit)."""


class Database:
    """A lazily opened engine; safe to share between threads, reopened by itself in a forked child.

    Parameters
    ----------
    url
        SQLAlchemy URL, ``sqlite:///path`` or ``postgresql://…`` (the psycopg driver is chosen for the latter).
    rehearses
        Whether what is written is rolled back at the end of its transaction: seen inside it, and never after.
    """

    def __init__(self, url: str, *, rehearses: bool = False) -> None:
        self.url = _parse(url)
        self.rehearses = rehearses
        self._engine: sa.Engine | None = None
        self._pid = -1

    @property
    def name(self) -> str:
        """The URL with the password masked: fit for a message."""
        return self.url.render_as_string(hide_password=True)

    @property
    def is_sqlite(self) -> bool:
        """Whether this is SQLite (else PostgreSQL)."""
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection for reading.

        Raises
        ------
        NotFoundError
            There is no such database, or an empty one.
        """
        with self._failures_named(), self._open().connect() as connection:
            yield connection

    @contextmanager
    def write(self, alone: str | None = None, *, create: bool = False) -> Iterator[sa.Connection]:
        """One transaction that writes: committed at the end, rolled back on an error.

        Parameters
        ----------
        alone
            Names what must not run twice at once; such transactions wait for each other. (On SQLite all that write
            do: they take the write lock at once, so that what is read inside cannot change before it is written.)
        create
            Make the database where there is none. Whatever only uses one must not: an empty one in the place of one
            that is away (a disk that is not mounted) would hide it.
        """
        with self._failures_named(), _writing(self._open(create), alone) as connection:
            yield connection
            if self.rehearses:
                connection.rollback()

    def close(self) -> None:
        """Close the pooled connections; the next use opens new ones."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None

    def _open(self, create: bool = False) -> sa.Engine:
        engine = self._engine
        if engine is None or self._pid != os.getpid():
            engine = self._engine_for(create)
            try:
                _bring_up_to_date(engine, create)
            except BaseException:
                engine.dispose()
                raise
            self._engine, self._pid = engine, os.getpid()
        return engine

    def _engine_for(self, create: bool) -> sa.Engine:
        if not self.is_sqlite:
            return sa.create_engine(self.url, pool_pre_ping=True)
        path = Path(self.url.database or "").absolute()
        if create:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        elif not path.exists():
            raise nothing_there(self.name)
        return _sqlite_engine(self.url, path)

    @contextmanager
    def _failures_named(self) -> Iterator[None]:
        try:
            yield
        except (exc.IntegrityError, exc.DataError):
            raise
        except (exc.DBAPIError, exc.TimeoutError, OSError) as error:
            if isinstance(error, UnavailableError) or not _is_of_the_store(error):
                raise
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise UnavailableError(
                f"the database {self.name} cannot be used: {cause}; "
                "check that it runs, that its disk has room and that SELFHEAL_DATABASE_URL names it"
            ) from error


def _parse(url: str) -> sa.URL:
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError as error:
        raise InputError(
            "the database URL is not a SQLAlchemy URL; give sqlite:////absolute/path.db or postgresql://user@host/name"
        ) from error
    backend = parsed.get_backend_name()
    if backend == "postgresql" and "+" not in parsed.drivername:
        return parsed.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and (parsed.database or ":memory:") == ":memory:":
        raise InputError("an in-memory database cannot be shared between processes; give sqlite:////absolute/path.db")
    if backend not in ("sqlite", "postgresql"):
        raise InputError(f"the database backend {backend!r} is not supported; give a sqlite or postgresql URL")
    return parsed


def _is_of_the_store(error: Exception) -> bool:
    """Whether the store failed (gone, locked, full, damaged, emptied) rather than our statement."""
    if isinstance(error, exc.ProgrammingError):
        return no_such_table(error)
    return True


def _sqlite_engine(url: sa.URL, path: Path) -> sa.Engine:
    def connect() -> sqlite3.Connection:
        # Never makes the file: an empty one in the place of one that vanished would swallow rows that nobody reads.
        uri = f"{path.as_uri()}?mode=rw"
        connection = sqlite3.connect(
            uri, uri=True, timeout=SQLITE_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536"):
                connection.execute(f"PRAGMA {pragma}")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = sa.create_engine(url.set(database=str(path)), creator=connect, poolclass=sa.QueuePool)

    @sa.event.listens_for(engine, "connect")
    def remember_file(connection: Any, record: Any) -> None:
        record.info["inode"] = os.stat(path).st_ino

    @sa.event.listens_for(engine, "checkout")
    def same_file(connection: Any, record: Any, proxy: Any) -> None:
        try:
            inode = os.stat(path).st_ino
        except FileNotFoundError:
            inode = -1
        if inode != record.info["inode"]:
            raise exc.DisconnectionError(f"{path} was removed or replaced")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writes = connection.get_execution_options().get("selfheal_writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _bring_up_to_date(engine: sa.Engine, create: bool) -> None:
    with engine.connect() as connection:
        if is_current(connection):
            return
    with _writing(engine, "create tables") as connection:
        upgrade(connection, create)


@contextmanager
def _writing(engine: sa.Engine, alone: str | None) -> Iterator[sa.Connection]:
    with engine.connect() as plain:
        connection = plain.execution_options(selfheal_writes=True)
        with connection.begin():
            if alone is not None and connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(alone, 0))))
            yield connection
