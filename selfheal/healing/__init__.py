"""Healing: mechanisms, the test whether one explains the window, the gate; :mod:`selfheal.healing.heal` asks all.

The names below are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfheal.healing.compare import Comparison, gate_roles
    from selfheal.healing.outcome import Finding, Outcome

_HOME = {
    "Comparison": "compare",
    "Finding": "outcome",
    "Outcome": "outcome",
    "gate_roles": "compare",
}

__all__ = ["Comparison", "Finding", "Outcome", "gate_roles"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfheal.healing' has no attribute {name!r}")
    return getattr(import_module(f"selfheal.healing.{_HOME[name]}"), name)
