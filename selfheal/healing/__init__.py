"""Healing: the mechanisms, the test whether one explains the window, the gate, and :func:`heal`."""

from selfheal.healing.compare import Comparison, gate_roles
from selfheal.healing.heal import heal
from selfheal.healing.outcome import Finding, Outcome

__all__ = ["Comparison", "Finding", "Outcome", "gate_roles", "heal"]
