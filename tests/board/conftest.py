"""What tests of the board and of the healer share."""

from __future__ import annotations

import pytest

from selfheal.board import rivals


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scored without rivals: they take most of a short trial's time, and are asked where a test looks at them."""
    monkeypatch.setattr(rivals, "RIVALS", {})
