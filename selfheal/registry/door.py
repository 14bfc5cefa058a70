"""The way in to MLflow: one client for one URI, errors in selfheal's words, no waiting for a store that is away.

Nothing global of MLflow is touched (no ``set_tracking_uri``, no active run), so that a process may use another
store beside this one.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from selfheal.errors import InputError, NotFoundError, SelfhealError, UnavailableError
from selfheal.registry.glance import of_file, of_server
from selfheal.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

# MLflow's own defaults wait up to several minutes (7 retries with back-off, 120 s each). A caller that set them
# keeps its values.
_PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
_CONNECT_SECONDS = 3.0
_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
_STORE_TABLE = "registered_models"  # a file without it is no store of MLflow's, which would make one of it
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_WRONG = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}


class Door:
    """A lazily made client of one MLflow store.

    An embedded store is a file that may be away (a disk that is not mounted) or replaced (a backup put back). MLflow
    would make an empty one in its place and keep to it; here only :meth:`create` makes one, and another file is
    noticed at the next call.

    Parameters
    ----------
    settings
        ``tracking_uri`` names the store, its registry included.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.uri = settings.tracking_uri
        self.name = without_password(self.uri)
        self._file = embedded_file(self.uri)
        self._inode = -1
        self._client: MlflowClient | None = None
        self._lock = threading.Lock()

    @property
    def is_server(self) -> bool:
        """Whether the store is an MLflow server, which then owns the place of the artifacts."""
        return urlsplit(self.uri).scheme in ("http", "https")

    @property
    def client(self) -> MlflowClient:
        """The client; made on first use, after the store answered.

        Raises
        ------
        UnavailableError
            Within seconds, if nothing answers at the URI.
        """
        with self._lock:
            if self._client is None:
                self._knock()
                self._client = self._make_client()
            if self._file is not None and (inode := self._inode_of(self._file)) != self._inode:
                _drop_connections(self.uri)  # they read the file that was there before
                self._inode = inode
            return self._client

    @property
    def stamp(self) -> tuple[int, ...] | None:
        """What differs once an embedded store was written to, for two calls; None where only asking tells."""
        if self._file is None:
            return None
        try:
            seen = [path.stat() for path in (self._file, Path(f"{self._file}-wal")) if path.exists()]
        except OSError:
            return None
        return tuple(number for stat in seen for number in (stat.st_ino, stat.st_size, stat.st_mtime_ns)) or None

    @property
    def is_there(self) -> bool:
        """Whether an embedded store's file is a store; of any other kind one asks by using it."""
        if self._file is None:
            return True
        if not self._file.is_file():
            return False
        with self._sqlite() as connection:
            return bool(connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", [_STORE_TABLE]).fetchone())

    def create(self, adopted: Sequence[str]) -> None:
        """Make an embedded store where there has never been one; nothing happens where it is there.

        Parameters
        ----------
        adopted
            The models that the state database points at: where there are any, there was a store.

        Raises
        ------
        UnavailableError
            The store of ``adopted`` is away, or its place cannot be written.
        """
        if self.is_there or self._file is None:
            return
        self.refuse_lost(adopted)
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._file.touch()
        except OSError as error:
            raise self._unavailable("make the store", error) from error
        self._client = self._make_client()
        with self.asked("make the store") as client:
            client.search_registered_models(max_results=1)  # MLflow makes its tables at the first use
        self._write_ahead()

    def refuse_lost(self, adopted: Sequence[str]) -> None:
        """Refuse to go on where ``adopted`` were registered in an embedded store that is not there.

        Raises
        ------
        UnavailableError
        """
        if adopted and not self.is_there:
            raise UnavailableError(
                f"{', '.join(adopted)} were adopted into the MLflow store {self.name}, which is not there; an empty "
                "one in its place would hide it. Mount its disk, put its backup back, or set MLFLOW_TRACKING_URI"
            )

    def glance(self, name: str) -> list[SimpleNamespace]:
        """The versions of a registered model by number, as far as a glance tells them; none where it does not.

        Raises
        ------
        UnavailableError
            No server answers.
        """
        rows: list[SimpleNamespace] | None = None
        if self.is_server:
            try:
                rows = of_server(self.uri, name)
            except OSError as error:
                raise self._unavailable(f"list the versions of {name!r}", error) from error
        elif self._file is not None and self.is_there:
            rows = of_file(self._file, name)
        return sorted(rows or (), key=lambda one: int(one.version))

    @contextmanager
    def asked(self, what: str) -> Iterator[MlflowClient]:
        """The client, with MLflow's errors turned into selfheal's.

        Raises
        ------
        UnavailableError, NotFoundError, InputError
            Naming `what` was asked for and the store, without its password.
        """
        try:
            yield self.client
        except SelfhealError:
            raise
        except Exception as error:
            if (ours := self._translated(error, what)) is None:
                raise
            raise ours from error

    def disconnect(self) -> None:
        """Close the connections to an embedded store; the next use opens one."""
        _drop_connections(self.uri)

    def _make_client(self) -> MlflowClient:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            # Importing mlflow.pyfunc warns about type hints in MLflow's own classes.
            warnings.simplefilter("ignore")

            from selfheal.registry.client import Client
        return Client(tracking_uri=self.uri, registry_uri=self.uri)

    def _knock(self) -> None:
        """Fail now rather than after MLflow's retries; switch an embedded store to write-ahead logging."""
        parts = urlsplit(self.uri)
        scheme = parts.scheme.partition("+")[0]
        if self._file is not None:
            if not self.is_there:
                raise UnavailableError(
                    f"the MLflow store {self.name} is not there, or is no store; `selfheal adopt` makes one where "
                    "nothing was adopted before. Is its disk mounted, and does MLFLOW_TRACKING_URI name it?"
                )
            self._write_ahead()
        elif parts.hostname:
            address = (parts.hostname, parts.port or _PORTS.get(scheme, 80))
            try:
                socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
            except OSError as error:
                raise self._unavailable("open the store", error) from error
        else:
            raise InputError(
                f"MLFLOW_TRACKING_URI {self.name!r} is no store with a registry; give http://host:port of an MLflow "
                "server, or a database URL such as sqlite:////path/mlflow.db"
            )

    def _write_ahead(self) -> None:
        """MLflow leaves SQLite in its rollback journal, where every reader blocks the writer."""
        with self._sqlite() as connection:
            connection.execute("PRAGMA journal_mode=WAL")

    @contextmanager
    def _sqlite(self) -> Iterator[sqlite3.Connection]:
        """The embedded store's file, which must be there."""
        try:
            uri = f"{self._file.as_uri()}?mode=rw" if self._file else ""
            with closing(sqlite3.connect(uri, uri=True, timeout=_CONNECT_SECONDS)) as connection:
                yield connection
        except sqlite3.Error as error:
            raise self._unavailable("open the store", error) from error

    def _inode_of(self, path: Path) -> int:
        try:
            return os.stat(path).st_ino
        except OSError as error:
            raise self._unavailable("open the store", error) from error

    def _translated(self, error: Exception, what: str) -> SelfhealError | None:
        """The error in our words; None for what is neither the store's nor the network's."""
        from mlflow.exceptions import MlflowException
        from requests.exceptions import RequestException
        from sqlalchemy.exc import SQLAlchemyError

        if isinstance(error, MlflowException):
            return self._of_mlflow(error, what)
        if isinstance(error, RequestException | SQLAlchemyError | ConnectionError | TimeoutError):
            return self._unavailable(what, error)
        if isinstance(error, OSError):
            return UnavailableError(f"MLflow ({self.name}): {what}: a file cannot be read or written: {error}")
        return None

    def _of_mlflow(self, error: MlflowException, what: str) -> SelfhealError:
        message = str(error.message).splitlines()[0] if str(error.message) else "no reason given"
        # An answer that is not MLflow's: a proxy, or another service on that port.
        foreign = message.startswith("API request to endpoint")
        if error.error_code in _MISSING and not foreign:
            return NotFoundError(f"MLflow ({self.name}): {what}: {message}")
        if error.error_code in _WRONG and not foreign:
            return InputError(f"MLflow ({self.name}) refused to {what}: {message}")
        return self._unavailable(what, error)

    def _unavailable(self, what: str, error: Exception) -> UnavailableError:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:300].replace(self.uri, self.name)
        remedy = (
            "is the MLflow server up (selfheal up, or mlflow server), and does MLFLOW_TRACKING_URI name it?"
            if self.is_server
            else "does MLFLOW_TRACKING_URI name a database that this process may write?"
        )
        return UnavailableError(f"MLflow cannot be reached at {self.name} to {what} ({reason}); {remedy}")


def embedded_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for a server's or another database's URI.

    >>> embedded_file("sqlite:////srv/my%20home/mlflow.db")
    PosixPath('/srv/my home/mlflow.db')
    """
    if not urlsplit(uri).scheme.startswith("sqlite"):
        return None
    return Path(unquote(uri.partition("://")[2].partition("?")[0]).removeprefix("/")).absolute()


def _drop_connections(uri: str) -> None:
    """Let MLflow open its file anew: its stores keep connections to one that was replaced."""
    for part in ("model_registry", "tracking"):
        module = sys.modules.get(f"mlflow.store.{part}.sqlalchemy_store")
        engine = module.SqlAlchemyStore._engine_map.get(uri) if module else None
        if engine is not None:
            engine.dispose()


def without_password(uri: str) -> str:
    """The URI as a message may show it.

    >>> without_password("postgresql://ann:secret@db:5432/mlflow")
    'postgresql://ann:***@db:5432/mlflow'
    """
    return re.sub(r"(://[^/:@]*):[^/]*@", r"\1:***@", uri)
