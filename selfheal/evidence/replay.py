"""Heal again what was healed then, from what it was given then: the same adapter, byte by byte, or nearly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.errors import SelfhealError
from selfheal.loop.child import HealTask, heal_in_child
from selfheal.loop.tasks import FILE, unpacked
from selfheal.steering.workspace import Workspace

if TYPE_CHECKING:
    from selfheal.adapter import Adapter

TOLERANCE = 1e-3
"""Difference of a probability, on any row of the window, up to which a replay on other versions of the libraries, or
another kind of processor, still speaks for what was registered: float32 sums in another order move the last digits."""


@dataclass(frozen=True)
class Replay:
    """What came of healing again.

    Attributes
    ----------
    verdict
        ``same``: the very bytes. ``near``: within the tolerance. ``differs``. ``not replayed``.
    words
        In a line.
    """

    verdict: str
    words: str


def replay(ws: Workspace, members: Mapping[str, bytes], about: Mapping[str, Any]) -> Replay:
    """Replay a version's heal. The base is no part of the evidence: it is taken from this installation, by digest."""
    if FILE not in members:
        why = next((text for text in about["missing"] if text.startswith((FILE, "rows"))), "there are no rows in it")
        return Replay("not replayed", why)
    digests, name = about["digests"], about["model"]
    try:
        base = ws.registry.fetch_base(
            f"{name}-base", int(about["base_version"]), digests["base_digest"], digests["manifest"]
        )
    except SelfhealError as error:
        return Replay("not replayed", f"its base {digests['manifest'][:12]} is not to be had here: {error}")
    try:
        task = unpacked(members[FILE], base)
        if (task.base_digest, task.base_manifest) != (digests["base_digest"], digests["manifest"]):
            return Replay("differs", f"its heal was given another base, {task.base_manifest[:12]}")
        return _compared(task, heal_in_child(task).adapter, members["adapter.safetensors"])
    except SelfhealError as error:
        return Replay("differs", f"the heal can't be replayed: {error}")


def _compared(task: HealTask, again: bytes | None, kept: bytes) -> Replay:
    from selfheal.adapter import Adapter

    if again is None:
        return Replay("differs", "healing again finds no adapter")
    adapter = Adapter.from_bytes(kept)
    made = Adapter.from_bytes(again).belonging_to(adapter.base_digest, adapter.base_version)
    if made.to_bytes() == kept:
        return Replay("same", f"healing again gives the same adapter, {adapter.digest[:12]}")
    away = distance(task, adapter, made)
    words = f"healing again moves a probability of the window by {away:.2g} at most (tolerance {TOLERANCE:g})"
    return Replay("near" if away <= TOLERANCE else "differs", words)


def distance(task: HealTask, one: Adapter, other: Adapter) -> float:
    """The largest difference of a probability between two adapters, on the rows that the heal was given."""
    from selfheal.registry.archive import load_base

    base = load_base(Path(task.base), task.base_digest, task.base_manifest)
    first, second = (base.with_adapter(adapter).predict_proba(task.window) for adapter in (one, other))
    return float(abs(first - second).max())
