"""Where a follower's version comes from: what was settled in the state database, or Production in MLflow alone."""

from __future__ import annotations

import copy
import hashlib
import os
import subprocess
import sys
from pathlib import Path

from selfheal.errors import NotFoundError, UnavailableError
from selfheal.registry.folder import MANIFEST, base_folder
from selfheal.registry.store import Registry
from selfheal.serving.config import ServingConfig
from selfheal.serving.source import Source
from selfheal.serving.terms import Terms
from selfheal.settings import Settings
from selfheal.table import InferenceTable, Pointer

FETCH_S = 180.0
"""How long a base may take to come: MLflow's imports take 10-20 s on a busy box, gigabytes of weights the rest."""


class Settled(Source):
    """Follows the settled pointer, as the scoring service does; a base that this host lacks is fetched.

    Parameters
    ----------
    config, table
        As of :class:`~selfheal.serving.source.Source`.
    settings
        Where MLflow is.
    """

    def __init__(self, config: ServingConfig, table: InferenceTable, settings: Settings) -> None:
        self._settings = settings
        super().__init__(config, table)

    def disconnect(self) -> None:
        """It has no connection but the table's."""

    def forked(self, table: InferenceTable) -> Settled:
        """The same in a forked child: what serves goes on serving, by a thread and connections of its own."""
        other = copy.copy(self)
        other._table = table
        other.renew()
        return other

    def _folder(self, pointer: Pointer) -> Path:
        folder = base_folder(self._config.cache, pointer.base_manifest, pointer.base_digest)
        if (folder / MANIFEST).exists():
            return folder
        return fetched(self._settings, pointer.model, pointer.base_version)


class Production(Source):
    """Follows MLflow's Production; there is no state database, so that nobody settles it and nothing is logged.

    Parameters
    ----------
    config
        As of :class:`~selfheal.serving.source.Source`.
    settings
        Where MLflow is.
    """

    def __init__(self, config: ServingConfig, settings: Settings) -> None:
        self._settings, self._registry = settings, Registry(settings)
        self._seen: tuple[int, str, Pointer] | None = None
        super().__init__(config, InferenceTable(settings.database_url))

    def disconnect(self) -> None:
        """Close MLflow's connections; the next look opens one."""
        self._registry.disconnect()

    def forked(self, table: InferenceTable) -> Production:
        """As :meth:`Settled.forked`."""
        other = copy.copy(self)
        other._table, other._registry = table, Registry(self._settings)
        other.renew()
        return other

    def _first(self) -> Pointer:
        return self._pointer()

    def _pointer(self) -> Pointer:
        name = self._config.model
        info = self._registry.store.resolved(name)
        digest = info.tags.get("adapter_digest", "")
        if self._seen is not None and self._seen[:2] == (info.version, digest):
            return self._seen[2]
        adapter = self._registry.adapter(name, info)
        data = adapter.to_bytes()
        pointer = Pointer(
            model=name,
            version=info.version,
            base_version=info.base_version or 0,
            base_digest=adapter.base_digest,
            adapter=data,
            adapter_digest=hashlib.sha256(data).hexdigest(),
            settled_at=info.updated,
            pinned=False,
            base_manifest=self._registry.manifest(name, info),
        )
        self._seen = info.version, digest, pointer
        return pointer

    def _terms(self) -> Terms:
        """By the policy that the base was adopted with: no state database has a later one."""
        return Terms.of(self.scorer.base.policy)

    def _listen(self) -> None:
        """Nobody has anything to say."""

    def _folder(self, pointer: Pointer) -> Path:
        return self._registry.base_dir(pointer.model, pointer.base_version)


def fetched(settings: Settings, model: str, base_version: int) -> Path:
    """The folder of a base, brought into the cache by a child, so that MLflow's 250 MB stay out of this process.

    Raises
    ------
    NotFoundError
        It could not be fetched; what the child said goes with it.
    UnavailableError
        It took too long.
    """
    command = [sys.executable, "-m", "selfheal.following.fetch", model, str(base_version)]
    try:
        done = subprocess.run(
            command, env=os.environ | settings.environ(), capture_output=True, text=True, timeout=FETCH_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"base {base_version} of {model!r} has not come from MLflow within {FETCH_S:g} s; is it reachable?"
        ) from error
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        said = done.stderr.strip().splitlines()
        raise NotFoundError(
            f"base {base_version} of {model!r} is not in {settings.cache}, and could not be fetched from MLflow: "
            f"{said[-1] if said else f'the child that should ended with {done.returncode}'}"
        )
    return Path(lines[-1])
