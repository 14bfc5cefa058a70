"""Serving from within: a follower gives a service or job of one's own the settled version, and logs what it answers.

Like the scoring service it loads torch only for a base that numpy can't score, and neither Evidently nor Prefect;
MLflow only where it follows by MLflow alone. The names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfheal.following.follower import Follower, follow

_HOME = {"Follower": "follower", "follow": "follower"}

__all__ = ["Follower", "follow"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfheal.following' has no attribute {name!r}")
    return getattr(import_module(f"selfheal.following.{_HOME[name]}"), name)
