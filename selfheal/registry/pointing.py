"""From a registered version to what replicas follow."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from selfheal.table import Pointer

if TYPE_CHECKING:
    from selfheal.adapter import Adapter
    from selfheal.registry.versions import VersionInfo


def pointer_of(
    name: str, version: VersionInfo, adapter: Adapter, manifest: str, *, at: dt.datetime, pinned: bool = False
) -> Pointer:
    """The pointer that lets replicas serve a version, whose adapter and base's manifest were read and checked."""
    return Pointer(
        model=name,
        version=version.version,
        base_version=adapter.base_version or 0,
        base_digest=adapter.base_digest,
        adapter=adapter.to_bytes(),
        adapter_digest=adapter.digest,
        settled_at=at,
        pinned=pinned,
        base_manifest=manifest,
    )
