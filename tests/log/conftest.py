"""The adopted home of the tests of steering, a PostgreSQL server of this session's own, and logs without MLflow."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from selfheal.log.foreign import Foreign, Keeper
from selfheal.log.opening import open_log
from selfheal.policy import Log
from selfheal.table import InferenceTable
from tests.log.given import END, MINE, Bucket
from tests.steering.conftest import home, template, ws
from tests.steering.given import NAME, toy
from tests.table.conftest import postgres

__all__ = ["home", "postgres", "template", "ws"]


@pytest.fixture(scope="session")
def model():
    return toy()


@pytest.fixture
def table(tmp_path: Path, model):
    table = InferenceTable(f"sqlite:///{tmp_path}/state.db")
    table.create(NAME, model.dtypes, [int(c) for c in model.classes_])
    yield table
    table.close()


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a real S3 on loopback."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


SECRET = "a-secret-key-of-nobody"


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket, to which the environment has the keys."""
    keys = {"AWS_ENDPOINT_URL": s3, "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET}
    for name, value in (keys | {"AWS_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    return Bucket(s3, f"log-{secrets.token_hex(6)}")


class Told(list[Any]):
    """What a log said of itself, in order."""


@pytest.fixture
def source(tmp_path: Path, table, model):
    """Opens the log in ``tmp_path/log``; keys of ``log:`` may be given, and the clock."""

    def opened(now: datetime = END, since=((0, 1),), **keys: Any) -> Foreign:
        log = Log.model_validate({"from": str(tmp_path / "log"), "columns": MINE} | keys)
        told, labels = Told(), Told()
        keeper = Keeper(lambda: since, predict(model), told.append, labels.append)
        found = open_log(log, table, model, NAME, keeper, now)
        assert isinstance(found.keeper.tell.__self__, Told)
        return found

    return opened


def predict(model):
    """Version 1 is the model; the others give its classes the other way round."""

    def predict(version: int, frame: pd.DataFrame):
        proba = model.predict_proba(frame)
        return proba if version == 1 else proba[:, ::-1]

    return predict
