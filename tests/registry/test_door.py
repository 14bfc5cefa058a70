"""A store that is away is said to be away, at once and without its password."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfheal import Settings
from selfheal.errors import InputError, UnavailableError
from selfheal.registry import Registry


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that is taken and does not listen, so that nobody else answers there."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def _registry(tmp_path: Path, uri: str) -> Registry:
    return Registry(Settings.from_env({"SELFHEAL_HOME": str(tmp_path), "MLFLOW_TRACKING_URI": uri}))


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{}", "postgresql://ann:s3cret@127.0.0.1:{}/mlflow"])
def test_nothing_answers(uri: str, closed_port: int, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{closed_port}.*MLFLOW_TRACKING_URI") as caught:
        _registry(tmp_path, uri.format(closed_port)).versions("rain")
    assert "s3cret" not in str(caught.value)


def test_a_database_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"file/mlflow\.db"):
        _registry(tmp_path, f"sqlite:///{tmp_path}/file/mlflow.db").models()


def test_a_store_without_a_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store with a registry"):
        _registry(tmp_path, f"file://{tmp_path}/mlruns").models()


def test_a_store_that_goes_away_later(database: Settings, tmp_path: Path) -> None:
    registry = Registry(database)
    assert registry.models() == []
    (database.home / "mlflow.db").write_bytes(b"this is no database")
    for end in ("-wal", "-shm"):
        (database.home / f"mlflow.db{end}").unlink(missing_ok=True)
    with pytest.raises(UnavailableError, match="list the registered models"):
        registry.models()


def test_the_users_own_patience_is_kept(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    Registry(database).models()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
