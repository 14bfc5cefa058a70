"""The scoring service: MLflow's protocol on raw ASGI, hot swap, and a background group-commit log.

The process that scores loads torch and the frozen base, and never mlflow, evidently or prefect: it polls the pointer
in the state database, and a helper process on the same host watches MLflow (:mod:`selfheal.serving.reconciler`).
The names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfheal.serving.app import create_app
    from selfheal.serving.config import ServingConfig
    from selfheal.serving.process import serve

_HOME = {"ServingConfig": "config", "create_app": "app", "serve": "process"}

__all__ = ["ServingConfig", "create_app", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfheal.serving' has no attribute {name!r}")
    return getattr(import_module(f"selfheal.serving.{_HOME[name]}"), name)
