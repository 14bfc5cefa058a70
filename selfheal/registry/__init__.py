"""The one door to MLflow: adopted bases, adapters and their stages, runs.

``archive`` reads and writes a base as files and never imports mlflow; the scoring service uses that part alone.
The names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfheal.registry.adoption import Adoption, adopt, load
    from selfheal.registry.store import Registry
    from selfheal.registry.versions import VersionInfo

_HOME = {
    "Adoption": "adoption",
    "adopt": "adoption",
    "load": "adoption",
    "Registry": "store",
    "VersionInfo": "versions",
}

__all__ = ["Adoption", "Registry", "VersionInfo", "adopt", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfheal.registry' has no attribute {name!r}")
    return getattr(import_module(f"selfheal.registry.{_HOME[name]}"), name)
