"""Bases where they live: ``<name>-base``, a version each, found by digest and fetched whole or not at all."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from selfheal.errors import ArtifactError, InputError, NotFoundError
from selfheal.registry.files import VersionFiles
from selfheal.registry.folder import MANIFEST, base_folder, place, read_base
from selfheal.registry.versions import VersionInfo, VersionStore

if TYPE_CHECKING:
    from selfheal.adapter import Adapter

BASE_FILES = "base"
"""Folder of a base's files among its artifacts."""


class Bases:
    """Registered bases of one store.

    Parameters
    ----------
    cache
        Folder below which they are kept by manifest.
    """

    def __init__(self, store: VersionStore, files: VersionFiles, cache: Path) -> None:
        self._store, self._files, self._cache = store, files, cache

    def folder(self, base_name: str, info: VersionInfo) -> Path:
        """The files of a base, see :meth:`fetch`.

        Raises
        ------
        ArtifactError
            Its tags name no digests.
        """
        if not {"base_digest", "manifest"} <= set(info.tags):
            raise ArtifactError(
                f"{base_name!r} version {info.version} lacks the tags base_digest and manifest; "
                "it was not stored by selfheal, or somebody removed them"
            )
        return self.fetch(base_name, info.version, info.tags["base_digest"], info.tags["manifest"])

    def fetch(self, base_name: str, base_version: int, digest: str, manifest: str) -> Path:
        """Folder of a base that is known by version and digests, checked when it was fetched."""
        folder = base_folder(self._cache, manifest, digest)
        if not (folder / MANIFEST).exists():
            info = self._store.version(base_name, base_version)
            with self._files.fetched(info, base_name, BASE_FILES) as path:
                files = read_base(path, digest, manifest)
            try:
                place(files, folder)
            except OSError:
                # Another process put it there first; what counts is that it is there.
                if not (folder / MANIFEST).exists():
                    raise
        return folder

    def of(self, name: str, info: VersionInfo) -> VersionInfo:
        """The base that a version of `name` belongs to.

        Raises
        ------
        ArtifactError
            It is another one than when the version was registered.
        """
        base = self._store.version(base_name(name), of_ours(info, name))
        wanted, actual = info.tags.get("manifest"), base.tags.get("manifest", "")
        if wanted not in (None, actual):
            raise ArtifactError(
                f"{name!r} version {info.version} was made for base {wanted[:12]}, and version {base.version} of "
                f"{base_name(name)!r} is {actual[:12]}: it was deleted and registered anew; promote another version"
            )
        return base

    def beside(self, adapter: Adapter, info: VersionInfo | None) -> VersionInfo | None:
        """The base of an adapter, as a version of that very base has it in its tags; None where it is of another."""
        if info is None or info.base_version is None or "manifest" not in info.tags:
            return None
        same = (info.base_version, info.tags.get("base_digest")) == (adapter.base_version, adapter.base_digest)
        return replace(info, version=info.base_version) if same else None

    def with_digest(self, name: str, digest: str) -> list[VersionInfo]:
        """Bases with this frozen digest, newest first; several where columns or references differ."""
        try:
            known = self._store.versions(base_name(name))
        except NotFoundError:
            return []
        return [info for info in reversed(known) if info.tags.get("base_digest") == digest]

    def find(self, name: str, digest: str, base_version: int | None) -> VersionInfo:
        """The base with this digest and version; without a version the newest.

        Raises
        ------
        InputError, NotFoundError
            No digest; no such base, which names the known ones.
        """
        if not digest:
            raise InputError("the adapter names no base; take it from its model: model.with_adapter(adapter).adapter")
        if base_version is not None:
            with suppress(NotFoundError):
                info = self._store.version(base_name(name), base_version)
                if info.tags.get("base_digest") == digest:
                    return info
        elif fitting := self.with_digest(name, digest):
            return fitting[0]
        known = ", ".join(
            f"v{i.version} {i.tags.get('base_digest', '?')[:12]}" for i in self._store.versions(base_name(name))
        )
        which = "" if base_version is None else f"{base_version} "
        raise NotFoundError(f"{base_name(name)!r} has no version {which}with digest {digest[:12]} (known: {known})")


def base_name(name: str) -> str:
    """The registered model that holds the bases of `name`."""
    return f"{name}-base"


def of_ours(info: VersionInfo, name: str) -> int:
    """The base's version that a version names.

    Raises
    ------
    ArtifactError
        It names none, or no adapter.
    """
    if info.base_version is None or "adapter_digest" not in info.tags:
        raise ArtifactError(
            f"{name!r} version {info.version} names no base and no adapter digest in its tags: it was not "
            "registered by selfheal, or somebody removed them; move another version to Production"
        )
    return info.base_version
