"""The files of a version, fetched from wherever MLflow keeps them; what has a digest is cached by it."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from selfheal.registry.door import Door
from selfheal.registry.versions import VersionInfo


class VersionFiles:
    """Artifacts of the registered versions of one MLflow store.

    Parameters
    ----------
    cache
        Folder of the copies.
    """

    def __init__(self, door: Door, cache: Path) -> None:
        self._door, self._cache = door, cache

    def read(self, info: VersionInfo, name: str, entry: str, digest: str, kept_as: str) -> bytes:
        """A stored file, from the cache where its copy is whole: a damaged one is fetched anew, and replaced.

        Whoever reads it compares the digest: what is stored may be another file by now.
        """
        cached = self._cache / kept_as
        with suppress(OSError):
            data = cached.read_bytes()
            if hashlib.sha256(data).hexdigest() == digest:
                return data
        with self.fetched(info, name, entry) as path:
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == digest:
            _keep(data, cached)
        return data

    @contextmanager
    def fetched(self, info: VersionInfo, name: str, entry: str) -> Iterator[Path]:
        """A file or folder among a version's artifacts: in place where it lies on this machine, else a copy."""
        from mlflow.artifacts import download_artifacts

        what = f"fetch {entry} of {name!r} version {info.version}"
        with tempfile.TemporaryDirectory() as scratch, self._door.asked(what) as client:
            place = info.place
            if urlsplit(place).scheme == "models" or not place:
                if info.model_id:
                    place = client.get_logged_model(info.model_id).artifact_location
                else:
                    place = client.get_model_version_download_uri(name, str(info.version))
            uri = f"{place.rstrip('/')}/artifacts/{entry}"
            copy = None if urlsplit(uri).scheme in ("", "file") else scratch
            yield Path(download_artifacts(artifact_uri=uri, dst_path=copy, tracking_uri=self._door.uri))


def _keep(data: bytes, path: Path) -> None:
    """Put bytes into the cache, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
        draft.write(data)
    shutil.move(draft.name, path)
