"""A store that is away is said to be away, at once and without its password."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from selfheal import MonitoredModel, Settings
from selfheal.errors import InputError, UnavailableError
from selfheal.registry import Registry
from selfheal.registry.adoption import adopt_model
from selfheal.table import InferenceTable


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


def test_only_an_adoption_makes_a_store(tmp_path: Path) -> None:
    settings = Settings.from_env({"SELFHEAL_HOME": str(tmp_path / "home")})
    for ask in (Registry.models, lambda r: r.versions("rain"), lambda r: r.transition("rain", 1, "Production")):
        with pytest.raises(UnavailableError, match=r"mlflow\.db is not there"):
            ask(Registry(settings))
    assert not settings.home.exists()
    settings.home.mkdir()
    (settings.home / "mlflow.db").touch()
    with pytest.raises(UnavailableError, match="is no store"):
        Registry(settings).models()
    assert (settings.home / "mlflow.db").stat().st_size == 0


def test_a_store_that_is_away_comes_back_as_it_was(database: Settings, model: MonitoredModel) -> None:
    file, away = database.home / "mlflow.db", database.home / "away.db"
    with closing(InferenceTable(database.database_url)) as table:
        adopt_model("rain", model, Registry(database), table)
        checkpoint(file)
        file.rename(away)
        late = Registry(database)  # it starts while the store is away
        for _ in range(2):
            with pytest.raises(UnavailableError, match="is not there"):
                late.versions("rain")
        with pytest.raises(UnavailableError, match=r"rain were adopted into the MLflow store .* which is not there"):
            adopt_model("rain", model, Registry(database), table)
        assert not file.exists()
        away.rename(file)
        assert [v.stage for v in late.versions("rain")] == ["Production"]


def test_a_store_that_is_replaced_is_read_anew(database: Settings, empty_store: Path, model: MonitoredModel) -> None:
    file, registry = database.home / "mlflow.db", Registry(database)
    with closing(InferenceTable(database.database_url)) as table:
        adopt_model("rain", model, registry, table)
    checkpoint(file)
    shutil.copyfile(file, database.home / "backup.db")
    shutil.copyfile(empty_store, database.home / "other.db")
    for name, models in (("other.db", []), ("backup.db", ["rain"])):
        (database.home / name).replace(file)
        for end in ("-wal", "-shm"):
            file.with_name(f"{file.name}{end}").unlink(missing_ok=True)
        assert registry.models() == models
    file.rename(database.home / "away.db")
    with pytest.raises(UnavailableError, match=r"mlflow\.db"):
        registry.models()
    assert not file.exists()


def checkpoint(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def test_the_users_own_patience_is_kept(database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    Registry(database).models()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
