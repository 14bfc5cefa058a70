"""A base in this host's cache as scoring needs it: its stored path, and the whole model only when something asks.

The whole brings torch, pandas and scikit-learn into the process: 200 MB, and seconds. It is asked for where a base has
no path that numpy can run, and once for a value of which the path knows nothing, or a row that preprocessing refuses.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.errors import ArtifactError, PolicyError
from selfheal.parts.path import CompiledPath, from_bytes
from selfheal.parts.signature import Signature
from selfheal.policy import Policy
from selfheal.registry.folder import MANIFEST, POLICY, RESTORE, SCORING, lists_of, manifest_of, read_base

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel


class Base:
    """A base whose files were held against their digests.

    Parameters
    ----------
    folder
        Where it lies.
    digest, manifest
        What was settled: its frozen digest, and its manifest's SHA-256 or empty.
    model
        The whole, where it is here already; then ``folder`` is never read.

    Attributes
    ----------
    policy
        That of its adoption.
    signature
        What it takes and gives.
    path
        How numpy alone scores it, without an adapter; None where it does not.

    Raises
    ------
    ArtifactError
        A file is changed, or is none of its kind.
    UnavailableError
        One cannot be read, or is not there.
    """

    path: CompiledPath | None = None

    def __init__(self, folder: Path, digest: str, manifest: str, model: MonitoredModel | None = None) -> None:
        self._folder, self.digest, self.manifest = folder, digest, manifest
        self._lock = threading.Lock()
        self._model = model
        if model is None:
            self._read()
        else:
            self.policy, self.signature = model.policy, model.signature

    @classmethod
    def of(cls, model: MonitoredModel) -> Base:
        """The base of a model that is here."""
        return cls(Path(), model.digest, model.manifest, model)

    @property
    def whole(self) -> bool:
        """Whether the model is here, so that asking for it takes no time."""
        return self._model is not None

    @property
    def model(self) -> MonitoredModel:
        """The whole model with the identity adapter; the first time it is opened, which takes seconds.

        Raises
        ------
        ArtifactError, UnavailableError
            As of the class.
        """
        with self._lock:
            if self._model is None:
                self._model = self._opened()
            return self._model

    def _opened(self) -> MonitoredModel:
        from selfheal.registry.archive import load_base

        return load_base(self._folder, self.digest, self.manifest or None)

    def _read(self) -> None:
        files = read_base(self._folder, self.digest, self.manifest or None)
        said = manifest_of(files[MANIFEST], self._folder)
        self.manifest = hashlib.sha256(files[MANIFEST]).hexdigest()
        self.path = from_bytes(files[SCORING]) if SCORING in files else None
        if self.path is None:
            from selfheal.registry.archive import opened

            self._model = opened(files, self._folder)
            self.policy, self.signature = self._model.policy, self._model.signature
            return
        try:
            self.policy, self.signature = Policy.loads(files[POLICY].decode()), _signature(said)
        except (PolicyError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{self._folder}: the parts do not make a model ({error}); {RESTORE}") from error


def _signature(said: dict[str, Any]) -> Signature:
    features, dtypes = tuple(said["features"]), dict(said["dtypes"])
    nullable, classes = frozenset(said["nullable"]), tuple(said["classes"])
    return Signature(features, dtypes, nullable, said["target"], classes, lists_of(said))
