"""An adopted model that each test gets a copy of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from selfheal.steering import Workspace
from tests.flows.adopted import copied


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A copy of the home, opened, and named by the environment."""
    opened = copied(tmp_path / "home")
    for name, value in opened.settings.environ().items():
        if not name.startswith("PREFECT"):
            monkeypatch.setenv(name, value)
    yield opened
    opened.table.close()
