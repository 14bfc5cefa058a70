"""Which versions score beside the one that serves, and what a promotion of the loop's waits for until they have."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from selfheal.errors import ArtifactError, NotFoundError, UnavailableError
from selfheal.policy import Policy
from selfheal.registry.versions import VersionInfo
from selfheal.steering.look import STAGING, Look
from selfheal.steering.policies import policy_of_record
from selfheal.steering.stand import Stand
from selfheal.steering.workspace import Workspace
from selfheal.table.shadows import Shadowed

SHADOW = "shadow"
"""Tag of a version: what its shadow answers say so far, as JSON."""

MOST = 3
"""Versions that score beside the one that serves: each costs a share of what serving costs."""

KEPT = 48
"""Windows kept in the tag: as many as a policy may ask for."""


@dataclass(frozen=True)
class Compared:
    """What the shadow answers of a version said in the windows since it was staged.

    Attributes
    ----------
    against, swap
        The version that it was compared with, and the journal entry since which that serves: after any other swap
        all begins anew.
    promised, seen
        Share of decisions that the gate saw change, and in how many rows; 0 where they are not kept.
    windows
        Of each window, oldest first: its index, shadow answers in it, the share of decisions that differ, and whether
        it agrees with what the gate measured.
    fault
        Why the last window does not agree, or can't be compared; empty where it does.
    """

    against: int = 0
    swap: int = 0
    promised: float = 0.0
    seen: int = 0
    windows: tuple[tuple[int, int, float, bool], ...] = ()
    fault: str = ""

    @classmethod
    def of(cls, tags: Mapping[str, str]) -> Compared:
        """As a version's tags say; nothing where somebody has written something else there."""
        try:
            record: dict[str, Any] = json.loads(tags.get(SHADOW, "") or "{}")
            windows = tuple((w[0], w[1], w[2], w[3]) for w in record.pop("windows", ()))
            return cls(**record, windows=windows)
        except (ValueError, TypeError, LookupError, AttributeError):
            return cls()

    @property
    def agreeing(self) -> int:
        """How many of the last windows agree, without one between them that does not."""
        count = 0
        for window in reversed(self.windows):
            if not window[3]:
                break
            count += 1
        return count

    def to_tag(self) -> str:
        """The inverse of :meth:`of`."""
        return json.dumps({**vars(self), "windows": [list(window) for window in self.windows[-KEPT:]]})

    def __str__(self) -> str:
        if self.fault:
            return f"{self.agreeing} so far; {self.fault}"
        if not self.windows:
            return "none so far"
        index, rows, differs, _ = self.windows[-1]
        last = f"window {index}: {differs:.1%} of {rows} decisions differ, the gate saw {self.promised:.1%}"
        return f"{self.agreeing} so far; {last}"


def unshadowed(policy: Policy, info: VersionInfo, look: Look) -> str:
    """What a promotion that the gate alone decided waits for; empty where its shadow answers agree, or none are asked.

    What labels, an audit or a person have decided waits for none, nor does a version that served before.
    """
    wanted = policy.release.shadow_windows
    if not wanted:
        return ""
    said = Compared.of(info.tags)
    said = said if (said.against, said.swap) == (look.settled, look.swap) else Compared()
    if said.agreeing >= wanted:
        return ""
    return f"{wanted} windows of shadow answers that agree with the gate (release.shadow_windows): {said}"


def tell_shadows(ws: Workspace, stand: Stand, policy: Policy | None = None) -> None:
    """Tell the services which versions score beside the one that serves; nothing happens where they know.

    A version that can't be read now does not score.

    Parameters
    ----------
    policy
        The one of record, if it was read just now.

    Raises
    ------
    UnavailableError
        The database is away.
    """
    policy = policy or policy_of_record(ws, stand.name).policy
    wanted = _wanted(stand) if policy.release.shadow else []
    known = ws.table.shadows.versions(stand.name)
    if known == {info.version: info.tags.get("adapter_digest", "") for info in wanted}:
        return
    shadows = list(_readable(ws, stand, wanted))
    if known != {shadow.version: shadow.adapter_digest for shadow in shadows}:
        ws.table.shadows.set(stand.name, shadows)


def _readable(ws: Workspace, stand: Stand, wanted: Sequence[VersionInfo]) -> Iterator[Shadowed]:
    pointer = stand.pointer
    if pointer is None:
        return
    for info in wanted:
        with suppress(ArtifactError, NotFoundError, UnavailableError):
            adapter, digest = ws.registry.adapter(stand.name, info), info.tags.get("adapter_digest", "")
            yield Shadowed(info.version, pointer.base_digest, pointer.base_manifest, adapter.to_bytes(), digest)


def _wanted(stand: Stand) -> list[VersionInfo]:
    """Versions in Staging of the base that serves, the challenger first, then the newest."""
    pointer, look = stand.pointer, stand.look or Look()
    if pointer is None:
        return []
    staged = [
        info
        for info in stand.versions.values()
        if info.stage == STAGING
        and info.version not in look.vetoed | look.quarantined
        and info.tags.get("manifest", pointer.base_manifest) == pointer.base_manifest
    ]
    staged.sort(key=lambda info: (info.version != look.challenger, -info.version))
    return staged[:MOST]
