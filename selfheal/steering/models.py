"""The models that the loop works with: any version, and the serving one under its policy of record."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from selfheal.errors import ArtifactError, NotFoundError, SelfhealError, UnavailableError
from selfheal.registry.folder import base_folder
from selfheal.registry.versions import VersionInfo
from selfheal.steering.workspace import Workspace
from selfheal.table import Pointer

if TYPE_CHECKING:
    from selfheal.adapter import Adapter
    from selfheal.model import MonitoredModel

KEPT = 12
"""Loaded models kept at hand. Those of one base share it, so each further one is an adapter's kilobytes."""


def load_version(ws: Workspace, name: str, version: int | VersionInfo) -> MonitoredModel:
    """A version as registered, its frozen parts checked against their digest.

    Parameters
    ----------
    version
        Its number, or what MLflow said of it: then MLflow is not asked again.

    Raises
    ------
    NotFoundError, ArtifactError, UnavailableError
        No such version; its files are not what was registered; MLflow can't be reached.
    """
    info = version if isinstance(version, VersionInfo) else ws.registry.version(name, version)
    key = (info.tags.get("adapter_digest", ""), info.tags.get("manifest", ""))
    if key not in ws.models:
        base = _held_base(ws, key[1])
        if base is None:
            _keep(ws, key, ws.registry.load(name, version=info.version))
        else:
            _keep(ws, key, base.with_adapter(ws.registry.adapter(name, info)))
    model = ws.models[key]
    model.check_unchanged()
    return model


def verified(ws: Workspace, name: str, version: VersionInfo, pointer: Pointer | None) -> Adapter:
    """The adapter of a version that can serve, from its file: one that was loaded before may be damaged by now.

    Parameters
    ----------
    pointer
        What names the version that serves. Its base is not opened: that takes seconds of imports, and a helper that
        only settles stages would hold them for nothing.

    Raises
    ------
    ArtifactError
        A file is not what was registered.
    NotFoundError, UnavailableError
        It is not there, or can't be read now.
    """
    if pointer is None or not pointer.base_manifest or pointer.base_manifest != version.tags.get("manifest"):
        load_version(ws, name, version)
    adapter = ws.registry.adapter(name, version)
    if adapter.base_version is None:
        raise ArtifactError(f"version {version.version} of {name!r} names no version of its base; promote another one")
    return adapter


def cannot_load(ws: Workspace, name: str, version: VersionInfo, pointer: Pointer | None) -> SelfhealError | None:
    """Why a version can't be loaded, see :func:`verified`; None when it can.

    An :class:`ArtifactError` condemns it, but for a FormatError.
    """
    try:
        verified(ws, name, version, pointer)
    except (ArtifactError, NotFoundError, UnavailableError) as error:
        return error
    return None


def serving_pointer(ws: Workspace, name: str) -> Pointer:
    """What names the version that replicas serve.

    Raises
    ------
    NotFoundError
        If no such model was adopted.
    """
    pointer = ws.table.pointer(name)
    if pointer is None:
        raise NotFoundError(f"no model {name!r} serves from {ws.table.name}; adopt it first: selfheal adopt {name}")
    return pointer


def base_place(ws: Workspace, pointer: Pointer) -> Path:
    """The folder of the serving base, fetched where this host does not have it yet."""
    place = base_folder(ws.settings.cache, pointer.base_manifest, pointer.base_digest)
    return place if place.exists() else ws.registry.base_dir(pointer.model, pointer.base_version)


def serving_model(ws: Workspace, name: str, pointer: Pointer | None = None) -> tuple[MonitoredModel, int]:
    """What replicas serve now, and its version. Needs no MLflow where the base has been fetched before.

    Parameters
    ----------
    pointer
        What names it, where it was read just now.

    Raises
    ------
    NotFoundError
        If no such model was adopted.
    """
    pointer = pointer or serving_pointer(ws, name)
    key = (pointer.adapter_digest, pointer.base_manifest or pointer.base_digest)
    model = ws.models.get(key)
    if model is None:
        from selfheal.adapter import Adapter
        from selfheal.registry.archive import load_base

        base = _held_base(ws, key[1])
        if base is None:
            base = load_base(base_place(ws, pointer), pointer.base_digest, pointer.base_manifest or None)
        model = base.with_adapter(Adapter.from_bytes(pointer.adapter))
        _keep(ws, key, model)
    model.check_unchanged()
    return model, pointer.version


def _held_base(ws: Workspace, manifest: str) -> MonitoredModel | None:
    """A loaded model of this base, whatever its adapter."""
    return next((model for (_, of), model in ws.models.items() if manifest and of == manifest), None)


def _keep(ws: Workspace, key: tuple[str, str], model: MonitoredModel) -> None:
    while len(ws.models) >= KEPT:
        ws.models.pop(next(iter(ws.models)))
    ws.models[key] = model
