"""The adopted home of the tests of steering, which the loop goes on with; and what it asks of its stores."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.loop.counted import Questions, questions
from tests.steering.conftest import home, template, ws

__all__ = ["asked", "home", "template", "ws"]


@pytest.fixture
def asked() -> Iterator[Questions]:
    """What this process asks of MLflow and of the databases."""
    with questions() as counts:
        yield counts
