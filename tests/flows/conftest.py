"""One Prefect server for all flow tests of a session, and an adopted model that each test gets a copy of."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfheal.steering import Workspace
from tests.flows.adopted import copied

# Prefect reads it when it is first imported; without it the flows would name ./.selfheal/prefect.
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="selfheal-prefect-"))


@pytest.fixture(scope="session")
def prefect() -> Iterator[None]:
    """A server with an empty database; flows of the block run against it, without heartbeats."""
    from prefect.testing.utilities import prefect_test_harness

    from flows.runs import in_process

    with prefect_test_harness(server_startup_timeout=90), in_process():
        yield


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A copy of the home, opened, and named by the environment."""
    opened = copied(tmp_path / "home")
    for name, value in opened.settings.environ().items():
        if not name.startswith("PREFECT"):
            monkeypatch.setenv(name, value)
    yield opened
    opened.table.close()
