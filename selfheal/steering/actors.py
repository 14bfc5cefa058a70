"""Who changes stages: these programs, or a person under whatever name."""

from __future__ import annotations

FLOW = "flow"
"""The release or recall of a heal, and labels that prove what waits."""

WATCH = "watch"
"""The watch over a new version."""

RECONCILER = "reconciler"
"""Whoever settles what was found: a first look, an empty Production, a version that can't be loaded."""

MACHINES = frozenset({FLOW, WATCH, RECONCILER})

PERSON = "person (MLflow)"
"""Who changed a stage past the journal; MLflow does not say."""


def is_person(actor: str) -> bool:
    """Whether an actor's word lifts a quarantine and overrules a veto. An audit speaks for whoever answered it."""
    return actor not in MACHINES
