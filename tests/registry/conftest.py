"""Two real MLflow stores: a database that is copied for each test, and a server that is started once a session."""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfheal import MonitoredModel, Settings
from selfheal.registry import Registry
from selfheal.table import InferenceTable
from tests.registry.given import monitored
from tests.steering.given import files_read_once

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def model() -> MonitoredModel:
    return monitored()


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's tables, which take seconds to make."""
    files_read_once()
    home = tmp_path_factory.mktemp("mlflow")
    Registry(Settings.from_env({"SELFHEAL_HOME": str(home)})).create_store([])
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return home / "mlflow.db"


@pytest.fixture
def database(tmp_path: Path, empty_store: Path) -> Settings:
    """An installation whose MLflow store is a database below its home."""
    home = tmp_path / "home"
    home.mkdir()
    shutil.copyfile(empty_store, home / "mlflow.db")
    return Settings.from_env({"SELFHEAL_HOME": str(home)})


@pytest.fixture(scope="session")
def server_uri(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[str]:
    """A real MLflow server over HTTP that keeps the artifacts itself."""
    place = tmp_path_factory.mktemp("server")
    shutil.copyfile(empty_store, place / "mlflow.db")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    # As `mlflow server` starts it, whose command line alone imports MLflow for three seconds (`selfheal up` runs that).
    environ = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{place}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(place / "files"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = [sys.executable, "-m", "uvicorn", "--host", "127.0.0.1", "--port", str(port)]
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "mlflow.server.fastapi_app:app"], stdout=log, stderr=log, env=os.environ | environ
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process, place / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(log.read_text())


@pytest.fixture(
    params=["database", pytest.param("server", marks=pytest.mark.xdist_group("mlflow-server"))],
)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """An installation on either kind of store."""
    if request.param == "database":
        found: Settings = request.getfixturevalue("database")
        return found
    uri = request.getfixturevalue("server_uri")
    return Settings.from_env({"SELFHEAL_HOME": str(tmp_path / "home"), "MLFLOW_TRACKING_URI": uri})


@pytest.fixture
def registry(settings: Settings) -> Registry:
    return Registry(settings)


@pytest.fixture
def table(settings: Settings) -> Iterator[InferenceTable]:
    settings.home.mkdir(exist_ok=True)
    opened = InferenceTable(settings.database_url)
    yield opened
    opened.close()


@pytest.fixture
def name() -> str:
    """A model name of its own: the server is shared."""
    return f"rain-{os.getpid()}-{next(_NUMBERS)}"
