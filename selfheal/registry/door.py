"""The way in to MLflow: one client for one URI, errors in selfheal's words, no waiting for a store that is away.

Nothing global of MLflow is touched (no ``set_tracking_uri``, no active run), so that a process may use another
store beside this one.
"""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from selfheal.errors import ArtifactError, InputError, NotFoundError, SelfhealError, UnavailableError
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
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}
_WRONG = {"INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"}


class Door:
    """A lazily made client of one MLflow store.

    Parameters
    ----------
    settings
        ``tracking_uri`` names the store, its registry included.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.uri = settings.tracking_uri
        self.name = without_password(self.uri)
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
        if self._client is None:
            with self._lock:
                if self._client is None:
                    self._knock()
                    self._client = self._make_client()
        return self._client

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

    def _make_client(self) -> MlflowClient:
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        with warnings.catch_warnings():
            # Importing mlflow.pyfunc warns about type hints in MLflow's own classes.
            warnings.simplefilter("ignore")
            import mlflow.pyfunc
        return mlflow.MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def _knock(self) -> None:
        """Fail now rather than after MLflow's retries; switch an embedded store to write-ahead logging."""
        parts = urlsplit(self.uri)
        scheme = parts.scheme.partition("+")[0]
        if scheme == "sqlite":
            self._open_file(Path(unquote(self.uri.partition("://")[2].partition("?")[0]).removeprefix("/")))
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

    def _open_file(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with sqlite3.connect(path, timeout=_CONNECT_SECONDS) as connection:
                # MLflow leaves SQLite in its rollback journal, where every reader blocks the writer.
                connection.execute("PRAGMA journal_mode=WAL")
            connection.close()
        except (OSError, sqlite3.Error) as error:
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
            return ArtifactError(f"MLflow ({self.name}): {what}: a file cannot be read or written: {error}")
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


def without_password(uri: str) -> str:
    """The URI as a message may show it.

    >>> without_password("postgresql://ann:secret@db:5432/mlflow")
    'postgresql://ann:***@db:5432/mlflow'
    """
    return re.sub(r"(://[^/:@]*):[^/]*@", r"\1:***@", uri)
