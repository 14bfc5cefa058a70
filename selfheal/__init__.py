"""selfheal: heals a drifting PyTorch classifier in production, without labels, retraining or downtime.

The names below are loaded when first used, so that ``import selfheal`` stays instant.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfheal.adapter import Adapter, ReflexiveLayer
    from selfheal.errors import (
        ArtifactError,
        BusyError,
        FormatError,
        HeldError,
        InputError,
        NotFoundError,
        PolicyError,
        RefusedError,
        SelfhealError,
        UnavailableError,
    )
    from selfheal.following import Follower, follow
    from selfheal.healing.heal import heal
    from selfheal.healing.outcome import Outcome
    from selfheal.model import MonitoredModel
    from selfheal.policy import Policy
    from selfheal.registry import adopt, load
    from selfheal.settings import Settings

_HOME = {
    "Adapter": "adapter",
    "ReflexiveLayer": "adapter",
    "ArtifactError": "errors",
    "BusyError": "errors",
    "FormatError": "errors",
    "HeldError": "errors",
    "InputError": "errors",
    "NotFoundError": "errors",
    "PolicyError": "errors",
    "RefusedError": "errors",
    "SelfhealError": "errors",
    "UnavailableError": "errors",
    "Follower": "following",
    "follow": "following",
    "Outcome": "healing",
    "heal": "healing.heal",
    "MonitoredModel": "model",
    "Policy": "policy",
    "adopt": "registry",
    "load": "registry",
    "Settings": "settings",
}

__all__ = [
    "Adapter",
    "ArtifactError",
    "BusyError",
    "Follower",
    "FormatError",
    "HeldError",
    "InputError",
    "MonitoredModel",
    "NotFoundError",
    "Outcome",
    "Policy",
    "PolicyError",
    "ReflexiveLayer",
    "RefusedError",
    "SelfhealError",
    "Settings",
    "UnavailableError",
    "adopt",
    "follow",
    "heal",
    "load",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'selfheal' has no attribute {name!r}")
    value = getattr(import_module(f"selfheal.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
