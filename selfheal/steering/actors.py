"""Who changes stages: these programs, or a person under whatever name."""

from __future__ import annotations

FLOW = "flow"
"""The release or recall of a heal, and labels that prove what waits."""

WATCH = "watch"
"""The watch over a new version."""

RECONCILER = "reconciler"
"""Whoever settles what was found: a first look, an empty Production, a version that can't be loaded."""

AUDIT = "audit"
"""An audit that passed: it has the say of whoever answered, and acts through the loop."""

MACHINES = frozenset({FLOW, WATCH, RECONCILER})

PERSON = "person (MLflow)"
"""Who changed a stage past the journal; MLflow does not say."""


def is_person(actor: str) -> bool:
    """Whether an actor's word lifts a quarantine and overrules a veto. An audit speaks for whoever answered it."""
    return actor not in MACHINES


def is_loop(actor: str) -> bool:
    """Whether an actor's promotions, recalls and roll-backs are the loop's: what a freeze holds back."""
    return actor in (FLOW, WATCH, AUDIT)
