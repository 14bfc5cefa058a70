"""A base as a folder: which files it has, where it lies in a cache, and that it is what was registered.

Nothing here opens a file of it, so that who only asks for its policy loads no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from selfheal.errors import ArtifactError, FormatError, UnavailableError

FORMAT = "selfheal-base-1"
MANIFEST = "base.json"
POLICY = "policy.yaml"
SCORING = "scoring.safetensors"
_FILES = {
    "backbone.pt2",
    "backbone.safetensors",
    "head.pt2",
    "head.safetensors",
    "preprocess.skops",
    "reference.parquet",
    POLICY,
    SCORING,
}

RESTORE = "it was not opened. Delete the cached copy to fetch it anew, or restore MLflow's artifacts from a backup"


def place(files: dict[str, bytes], directory: Path) -> None:
    """Write `files` into a new folder that appears with its whole content or not at all."""
    draft = directory.with_name(f".{directory.name}.{secrets.token_hex(4)}")
    draft.mkdir(parents=True)
    try:
        for name, data in files.items():
            with (draft / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if directory.exists():
            directory.rmdir()
        draft.rename(directory)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def read_base(
    directory: Path, expect_digest: str | None = None, expect_manifest: str | None = None
) -> dict[str, bytes]:
    """Every file of a base, as bytes whose digests were checked; nothing is interpreted but the manifest.

    Parameters
    ----------
    expect_digest
        The frozen digest that an adapter names; None where nobody has named one yet.
    expect_manifest
        SHA-256 of ``base.json`` as registered. It also covers what the frozen digest does not: the programs
        around the weights, the reference and the policy.

    Raises
    ------
    ArtifactError
        A file is unexpected or differs from its digest.
    UnavailableError
        One cannot be read, or is not there.
    """
    manifest_bytes = _read(directory, MANIFEST)
    if expect_manifest is not None and hashlib.sha256(manifest_bytes).hexdigest() != expect_manifest:
        raise ArtifactError(f"{directory / MANIFEST} is not what was registered; {RESTORE}")
    manifest = manifest_of(manifest_bytes, directory)
    if expect_digest is not None and manifest["digest"] != expect_digest:
        raise ArtifactError(
            f"{directory}: holds base {str(manifest['digest'])[:12]}, expected {expect_digest[:12]}; it was not opened"
        )
    files = {MANIFEST: manifest_bytes}
    for name, digest in manifest["files"].items():
        if name not in _FILES:
            raise ArtifactError(f"{directory}: {MANIFEST} lists {name!r}, which is no part of a base; not opened")
        files[name] = _read(directory, name)
        actual = hashlib.sha256(files[name]).hexdigest()
        if actual != digest:
            raise ArtifactError(
                f"{directory / name} was changed: SHA-256 {actual[:12]}, registered {str(digest)[:12]}; {RESTORE}"
            )
    return files


def manifest_digest(directory: Path) -> str:
    """SHA-256 of a base's manifest, which names every other file by digest."""
    return hashlib.sha256(_read(directory, MANIFEST)).hexdigest()


def base_folder(cache: Path, manifest: str, digest: str) -> Path:
    """Where a base lies in a cache: by its manifest.

    By its frozen digest alone where an older release put it there, or wrote a pointer that names no manifest.
    """
    named, before = cache / manifest, cache / digest
    if manifest and ((named / MANIFEST).exists() or not (before / MANIFEST).exists()):
        return named
    return before if not manifest or manifest_digest(before) == manifest else named


def _read(directory: Path, name: str) -> bytes:
    try:
        return (directory / name).read_bytes()
    except OSError as error:
        raise UnavailableError(f"{directory / name} cannot be read ({error.strerror}); {RESTORE}") from error


def manifest_of(data: bytes, directory: Path) -> dict[str, Any]:
    """What a manifest says.

    Raises
    ------
    FormatError, ArtifactError
        Another release stored it; it is none.
    """
    try:
        manifest = json.loads(data)
        if manifest["format"] != FORMAT:
            raise FormatError(
                f"{directory}: format {manifest['format']!r}; this release of selfheal reads {FORMAT!r}. Another "
                "release stored it: upgrade this process, or adopt the model again"
            )
        if isinstance(manifest["files"], dict) and isinstance(manifest["digest"], str):
            return dict(manifest)
    except (ValueError, KeyError, TypeError):
        pass
    raise ArtifactError(f"{directory / MANIFEST} is no manifest of a base model; {RESTORE}")


def lists_of(manifest: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The columns of lists that a base takes, each with those that it stands for; none of an older release's."""
    return {str(name): tuple(map(str, columns)) for name, columns in manifest.get("lists", {}).items()}
