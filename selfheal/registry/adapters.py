"""An adapter's file is opened digest first."""

from __future__ import annotations

import hashlib

from selfheal.adapter import Adapter
from selfheal.errors import ArtifactError


def checked_adapter(data: bytes, digest: str, what: str) -> Adapter:
    """The adapter in `data`, digest first.

    Raises
    ------
    ArtifactError
        `data` has another SHA-256 than `digest`, or is no adapter.
    """
    actual = hashlib.sha256(data).hexdigest()
    if actual != digest:
        raise ArtifactError(
            f"{what} was changed: SHA-256 {actual[:12]}, registered {digest[:12]}; it was not opened. "
            "Restore MLflow's artifacts from a backup, or move another version to Production"
        )
    return Adapter.from_bytes(data)
