"""What is asked of MLflow and of the databases, counted where it is asked."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa


@dataclass
class Questions:
    """Counts since they were cleared.

    Attributes
    ----------
    mlflow
        Calls of MLflow's client, by name; what one of them calls in turn is not counted.
    statements
        Statements, by the file of the database (``selfheal.db``, ``mlflow.db``); the ends of transactions are none,
        nor is what a lease asks, which is renewed by the clock.
    """

    mlflow: Counter[str] = field(default_factory=Counter)
    statements: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.mlflow.clear()
        self.statements.clear()


@contextmanager
def questions() -> Iterator[Questions]:
    """Count in this process, until the end."""
    from mlflow import MlflowClient

    asked = Questions()
    under_way: list[str] = []

    def counting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            asked.mlflow[name] += not under_way
            under_way.append(name)
            try:
                return real(*args, **kwargs)
            finally:
                under_way.pop()

        return called

    def executed(connection: sa.Connection, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("BEGIN", "PRAGMA")) and " leases" not in statement:
            asked.statements[Path(connection.engine.url.database or "").name] += 1

    real = {n: f for n, f in inspect.getmembers(MlflowClient, inspect.isfunction) if not n.startswith("_")}
    sa.event.listen(sa.Engine, "before_cursor_execute", executed)
    try:
        for name, function in real.items():
            setattr(MlflowClient, name, counting(name, function))
        yield asked
    finally:
        for name, function in real.items():
            setattr(MlflowClient, name, function)
        sa.event.remove(sa.Engine, "before_cursor_execute", executed)
