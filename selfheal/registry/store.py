"""The registry: bases, adapters, stages and runs of every model, in one MLflow store."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd

from selfheal.adapter import Adapter
from selfheal.errors import ArtifactError, InputError, NotFoundError
from selfheal.model import MonitoredModel
from selfheal.registry.archive import (
    MANIFEST,
    base_folder,
    identity,
    load_base,
    manifest_digest,
    place,
    read_base,
    save_base,
)
from selfheal.registry.door import Door
from selfheal.registry.packaging import ensure_model, link_version, package, signature_of
from selfheal.registry.runs import RunLog
from selfheal.registry.served import checked_adapter
from selfheal.registry.versions import FILES, VersionInfo, tag_texts
from selfheal.settings import Settings

# A version's own window, kept so that a later drift can be compared with it; the gate needs no more rows.
SAMPLE_ROWS = 2000
_ADAPTER, _SAMPLE, _BASE = "adapter.safetensors", "sample.parquet", "base"
_FIRST = ("diagnosis", "verdict", "changed_part", "window", "parent")
_ABOUT = {
    "adapters": (
        "Adapters of **{name}**: what selfheal may change around the frozen base `{name}-base`.\n\n"
        "The version in *Production* serves. Moving a version to another stage is obeyed within seconds; only the "
        "watch's evidence may roll it back. To move one here: open the version, switch *New model registry UI* off, "
        "and choose in *Stage*."
    ),
    "base": "Frozen base models of **{name}**: backbone, head, preprocessing and reference. Never changed by healing.",
}


class Registry(RunLog):
    """The one door to MLflow.

    Parameters
    ----------
    settings
        ``tracking_uri`` names the store; bases are cached by manifest, adapters by digest, below ``cache``.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(Door(settings))
        self.settings = settings

    def disconnect(self) -> None:
        """Close MLflow's connections to an embedded store, before a fork, say; the next use opens one."""
        self._door.disconnect()

    def create_store(self, adopted: Sequence[str]) -> None:
        """Make an embedded MLflow store, see :meth:`Door.create`: nothing else here makes one."""
        self._door.create(adopted)

    # ------------------------------------------------------------------ models

    def load(self, name: str, stage: str = "Production", version: int | None = None) -> MonitoredModel:
        """A version as a model, with the policy copied at adoption.

        Parameters
        ----------
        stage
            Where several versions are in it, the highest number, which is also what MLflow resolves to.
        version
            This version, whatever its stage.

        Raises
        ------
        NotFoundError
            No such model or version, or the stage is empty.
        ArtifactError
            A file is not what was registered; nothing of it was run.
        """
        info = self.resolved(name, stage) if version is None else self.version(name, version)
        adapter = self.adapter(name, info)
        base = self._base_of_version(name, info)
        directory = self._folder_of(_base_name(name), base)
        model = load_base(directory, base.tags.get("base_digest"), base.tags.get("manifest"))
        return model.with_adapter(adapter)

    def adapter(self, name: str, version: int | VersionInfo) -> Adapter:
        """The adapter of a version, its digest checked before the file is opened.

        Parameters
        ----------
        version
            Its number, or what :meth:`versions` said of it: then MLflow is not asked again.

        Raises
        ------
        NotFoundError, ArtifactError, UnavailableError
        """
        info = self._info(name, version)
        _of_ours(info, name)
        digest = info.tags.get("adapter_digest", "")
        cached = self.settings.cache / "adapters" / f"{digest}.safetensors"
        data = self._file(info, name, _ADAPTER, digest, cached)
        return checked_adapter(data, digest, f"the adapter of {name!r} version {info.version}")

    def sample(self, name: str, version: int | VersionInfo) -> pd.DataFrame | None:
        """Rows of the window that a version was made for (raw units, at most 2,000), or None.

        Raises
        ------
        ArtifactError
            The stored rows were changed.
        """
        info = self._info(name, version)
        digest = info.tags.get("sample_digest", "")
        if not digest:
            return None
        cached = self.settings.cache / "samples" / f"{digest}.parquet"
        data = self._file(info, name, _SAMPLE, digest, cached)
        if hashlib.sha256(data).hexdigest() != digest:
            raise ArtifactError(
                f"the sample of {name!r} version {info.version} was changed; restore MLflow's artifacts"
            )
        return pd.read_parquet(io.BytesIO(data))

    def _info(self, name: str, version: int | VersionInfo) -> VersionInfo:
        return version if isinstance(version, VersionInfo) else self.version(name, version)

    def register(
        self,
        name: str,
        adapter: Adapter,
        *,
        tags: Mapping[str, Any],
        run_id: str | None = None,
        sample: pd.DataFrame | None = None,
        description: str = "",
    ) -> int:
        """A new version of `name` in Staging.

        Parameters
        ----------
        adapter
            Names its base by digest and version; without a version it is the newest base with that digest.
        tags
            Lineage: parent, window, diagnosis, verdict, numbers, policy digest, report run.
        run_id
            The heal run; version and run are linked both ways.
        sample
            Raw rows of its own window; at most `SAMPLE_ROWS`, evenly spaced, are kept.
        description
            What changed and why, Markdown; by default what the adapter does.

        Raises
        ------
        InputError, UnavailableError
            Nothing was registered.
        """
        base = self._base_of(name, adapter.base_digest, adapter.base_version)
        manifest = json.loads((self._folder_of(_base_name(name), base) / MANIFEST).read_bytes())
        adapter = adapter.belonging_to(adapter.base_digest, base.version)
        data = adapter.to_bytes()
        rows: bytes | None = None if sample is None else _thin(sample).to_parquet(index=False)
        config = {
            "base_name": _base_name(name),
            "base_version": base.version,
            "base_digest": adapter.base_digest,
            "manifest": base.tags["manifest"],
            "adapter_digest": hashlib.sha256(data).hexdigest(),
            "sample_digest": "" if rows is None else hashlib.sha256(rows).hexdigest(),
        }
        facts = {"changed_part": adapter.changed_part, "base_version": base.version}
        with tempfile.TemporaryDirectory() as scratch:
            files = {"adapter": Path(scratch) / _ADAPTER}
            files["adapter"].write_bytes(data)
            if rows is not None:
                files["sample"] = Path(scratch) / _SAMPLE
                files["sample"].write_bytes(rows)
            text = description or "; ".join(adapter.describe())
            lineage = _readable({**tags, **facts})
            version = self._create_version(name, name, "adapters", files, config, manifest, lineage, run_id, text)
        self.transition(name, version, "Staging")
        return version

    # ------------------------------------------------------------------ bases

    def register_base(
        self, name: str, model: MonitoredModel, run_id: str | None = None, source: Mapping[str, str] | None = None
    ) -> tuple[int, bool]:
        """The version of ``<name>-base`` that is this very model, whatever its policy; stored now if there is none.

        Returns
        -------
        (int, bool)
            Its number, and whether it is new.
        """
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / _BASE
            save_base(model, folder)
            for held in self._bases_of(name, model.digest):
                with suppress(ArtifactError):  # one that was changed is not this one
                    if identity(self._folder_of(_base_name(name), held)) == identity(folder):
                        return held.version, False
            manifest = json.loads((folder / MANIFEST).read_bytes())
            config = {"base_digest": model.digest, "manifest": manifest_digest(folder)}
            tags = {"policy_digest": model.policy.digest, **(source or {})}
            text = (
                f"{len(model.features)} features, classes {', '.join(map(str, model.classes_))}, "
                f"{len(model.reference):,} reference rows."
            )
            version = self._create_version(
                name, _base_name(name), "base", {"base": folder}, config, manifest, tags, run_id, text
            )
        return version, True

    def base_dir(self, name: str, base_version: int) -> Path:
        """Folder of a base, cached by manifest below ``settings.cache`` and checked when it was fetched."""
        return self._folder_of(_base_name(name), self.version(_base_name(name), base_version))

    def fetch_base(self, base_name: str, base_version: int, digest: str, manifest: str) -> Path:
        """As `base_dir`, for a base that is known by version and digests."""
        folder = base_folder(self.settings.cache, manifest, digest)
        if not (folder / MANIFEST).exists():
            info = self.version(base_name, base_version)
            with self._fetched(info, base_name, _BASE) as path:
                files = read_base(path, digest, manifest)
            try:
                place(files, folder)
            except OSError:
                # Another process put it there first; what counts is that it is there.
                if not (folder / MANIFEST).exists():
                    raise
        return folder

    def _folder_of(self, base_name: str, info: VersionInfo) -> Path:
        if not {"base_digest", "manifest"} <= set(info.tags):
            raise ArtifactError(
                f"{base_name!r} version {info.version} lacks the tags base_digest and manifest; "
                "it was not stored by selfheal, or somebody removed them"
            )
        return self.fetch_base(base_name, info.version, info.tags["base_digest"], info.tags["manifest"])

    def manifest(self, name: str, version: int | VersionInfo) -> str:
        """The manifest digest of the base that a version belongs to.

        Raises
        ------
        NotFoundError
            No such version.
        ArtifactError
            The base is another one than when the version was registered.
        """
        return self._base_of_version(name, self._info(name, version)).tags.get("manifest", "")

    def _base_of_version(self, name: str, info: VersionInfo) -> VersionInfo:
        base = self.version(_base_name(name), _of_ours(info, name))
        wanted, found = info.tags.get("manifest"), base.tags.get("manifest", "")
        if wanted not in (None, found):
            raise ArtifactError(
                f"{name!r} version {info.version} was made for base {wanted[:12]}, and version {base.version} of "
                f"{_base_name(name)!r} is {found[:12]}: it was deleted and registered anew; promote another version"
            )
        return base

    def _bases_of(self, name: str, digest: str) -> list[VersionInfo]:
        """Bases with this frozen digest, newest first; several where columns or references differ."""
        try:
            known = self.versions(_base_name(name))
        except NotFoundError:
            return []
        return [info for info in reversed(known) if info.tags.get("base_digest") == digest]

    def _base_of(self, name: str, digest: str, base_version: int | None) -> VersionInfo:
        if not digest:
            raise InputError("the adapter names no base; take it from its model: model.with_adapter(adapter).adapter")
        fitting = self._bases_of(name, digest)
        for info in fitting:
            if base_version in (None, info.version):
                return info
        known = ", ".join(
            f"v{i.version} {i.tags.get('base_digest', '?')[:12]}" for i in self.versions(_base_name(name))
        )
        which = "" if base_version is None else f"{base_version} "
        raise NotFoundError(f"{_base_name(name)!r} has no version {which}with digest {digest[:12]} (known: {known})")

    # ------------------------------------------------------------------ files

    def _create_version(
        self,
        name: str,
        registered: str,
        role: str,
        files: Mapping[str, Path],
        config: Mapping[str, Any],
        manifest: Mapping[str, Any],
        tags: Mapping[str, Any],
        run_id: str | None,
        description: str,
    ) -> int:
        experiment = self.experiment(name)
        texts = tag_texts(tags)
        with self._door.asked(f"register a version of {registered!r}") as client:
            ensure_model(client, registered, role, _ABOUT[role].format(name=name))
            logged = package(
                client,
                experiment,
                registered,
                run_id=run_id,
                artifacts=files,
                config=config,
                signature=signature_of(manifest),
                tags=texts,
            )
            # MLflow's database keeps no model id beside a version, and looks a ``models:/`` source up in whatever
            # store is the process's global one: name the place of the files, and keep the id in a tag.
            made = client.create_model_version(
                registered,
                logged.artifact_location,
                run_id=run_id,
                tags=texts | {FILES: json.dumps({**config, "model_id": logged.model_id})},
                description=description,
                model_id=logged.model_id if self._door.is_server else None,
                await_creation_for=0,  # its files are there already
            )
            link_version(client, logged.model_id, registered, int(made.version))
        return int(made.version)

    def _file(self, info: VersionInfo, name: str, entry: str, digest: str, cached: Path) -> bytes:
        """A stored file, from the cache where its copy is whole: a damaged one is fetched anew, and replaced."""
        with suppress(OSError):
            data = cached.read_bytes()
            if hashlib.sha256(data).hexdigest() == digest:
                return data
        with self._fetched(info, name, entry) as path:
            data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == digest:
            _keep(data, cached)
        return data

    @contextmanager
    def _fetched(self, info: VersionInfo, name: str, entry: str) -> Iterator[Path]:
        """A file or folder among a version's artifacts: in place where it lies on this machine, else a copy."""
        from mlflow.artifacts import download_artifacts

        what = f"fetch {entry} of {name!r} version {info.version}"
        with tempfile.TemporaryDirectory() as scratch, self._door.asked(what) as client:
            if info.model_id:
                place_of = client.get_logged_model(info.model_id).artifact_location
            else:
                place_of = client.get_model_version_download_uri(name, str(info.version))
            uri = f"{place_of.rstrip('/')}/artifacts/{entry}"
            copy = None if urlsplit(uri).scheme in ("", "file") else scratch
            yield Path(download_artifacts(artifact_uri=uri, dst_path=copy, tracking_uri=self._door.uri))


def _of_ours(info: VersionInfo, name: str) -> int:
    if info.base_version is None or "adapter_digest" not in info.tags:
        raise ArtifactError(
            f"{name!r} version {info.version} names no base and no adapter digest in its tags: it was not "
            "registered by selfheal, or somebody removed them; move another version to Production"
        )
    return info.base_version


def _base_name(name: str) -> str:
    return f"{name}-base"


def _thin(sample: pd.DataFrame) -> pd.DataFrame:
    step = max(1, -(-len(sample) // SAMPLE_ROWS))
    return sample.iloc[::step]


def _readable(tags: Mapping[str, Any]) -> dict[str, Any]:
    """In the order in which MLflow lists them beside a version: what happened first, references last."""
    return {k: tags[k] for k in _FIRST if k in tags} | {k: v for k, v in tags.items() if k not in _FIRST}


def _keep(data: bytes, path: Path) -> None:
    """Put bytes into the cache, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
        draft.write(data)
    shutil.move(draft.name, path)
