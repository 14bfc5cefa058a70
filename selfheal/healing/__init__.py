"""Healing: mechanisms, the test whether one explains the window, the gate; :mod:`selfheal.healing.heal` asks all."""

from selfheal.healing.compare import Comparison, gate_roles
from selfheal.healing.outcome import Finding, Outcome

__all__ = ["Comparison", "Finding", "Outcome", "gate_roles"]
