"""The adopted home of the tests of steering, which the loop goes on with; and what it asks of MLflow."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from tests.steering.conftest import home, template, ws

__all__ = ["calls", "home", "template", "ws"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Calls of MLflow's client, by name; what one of them calls in turn is not counted."""
    from mlflow import MlflowClient

    count: Counter[str] = Counter()
    under_way: list[str] = []

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            count[name] += not under_way
            under_way.append(name)
            try:
                return real(*args, **kwargs)
            finally:
                under_way.pop()

        return called

    for name, real in inspect.getmembers(MlflowClient, inspect.isfunction):
        if not name.startswith("_"):
            monkeypatch.setattr(MlflowClient, name, counting(name, real))
    return count
