"""The registry: bases, adapters, stages and runs of every model, in one MLflow store."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.errors import ArtifactError
from selfheal.registry.bases import BASE_FILES, Bases, base_name, of_ours
from selfheal.registry.door import Door
from selfheal.registry.files import VersionFiles
from selfheal.registry.folder import MANIFEST, manifest_digest
from selfheal.registry.lineage import TOLD, as_json, packed
from selfheal.registry.packaging import ensure_model, link_version, package, signature_of
from selfheal.registry.runs import RunLog
from selfheal.registry.versions import VersionInfo, VersionStore
from selfheal.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.adapter import Adapter
    from selfheal.model import MonitoredModel

# A version's own window, kept so that a later drift can be compared with it; the gate needs no more rows.
SAMPLE_ROWS = 2000
_ADAPTER, _SAMPLE, _LINEAGE = "adapter.safetensors", "sample.parquet", "lineage.json"
_ABOUT = {
    "adapters": (
        "Adapters of **{name}**: what selfheal may change around the frozen base `{name}-base`.\n\n"
        "The version in *Production* serves, and the alias *{champion}* names it. Moving either is obeyed within "
        "seconds; only the watch's evidence may roll it back. To move one here: give the alias to another version, or "
        "open the version, switch *New model registry UI* off, and choose in *Stage*."
    ),
    "base": "Frozen base models of **{name}**: backbone, head, preprocessing and reference. Never changed by healing.",
}


class Registry:
    """The one door to MLflow: what a version is, over where versions live.

    Parameters
    ----------
    settings
        ``tracking_uri`` names the store; bases are cached by manifest, adapters by digest, below ``cache``.

    Attributes
    ----------
    store, runs
        Versions with their stages, aliases and tags; experiments with their runs.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._door = Door(settings)
        self.store = VersionStore(self._door, stages=settings.stages)
        self.runs = RunLog(self._door)
        self._files = VersionFiles(self._door, settings.cache)
        self._bases = Bases(self.store, self._files, settings.cache)

    def disconnect(self) -> None:
        """Close MLflow's connections to an embedded store, before a fork, say; the next use opens one."""
        self._door.disconnect()

    @property
    def stamp(self) -> tuple[int, ...] | None:
        """What differs once the store was written to; None where only asking tells."""
        return self._door.stamp

    def create_store(self, adopted: Sequence[str]) -> None:
        """Make an embedded MLflow store, see :meth:`Door.create`: nothing else here makes one."""
        self._door.create(adopted)

    # ------------------------------------------------------------------ where versions live, asked most

    def models(self) -> list[str]:
        """See :meth:`VersionStore.models`."""
        return self.store.models()

    def versions(self, name: str) -> list[VersionInfo]:
        """See :meth:`VersionStore.versions`."""
        return self.store.versions(name)

    def glance(self, name: str) -> list[VersionInfo]:
        """See :meth:`VersionStore.glance`."""
        return self.store.glance(name)

    def version(self, name: str, version: int) -> VersionInfo:
        """See :meth:`VersionStore.version`."""
        return self.store.version(name, version)

    def production(self, name: str) -> list[int]:
        """See :meth:`VersionStore.in_stage`, of Production."""
        return self.store.in_stage(name, "Production")

    def transition(self, name: str, version: int, stage: str, archive_others: bool = False) -> None:
        """See :meth:`VersionStore.transition`."""
        self.store.transition(name, version, stage, archive_others)

    def aliases(self, name: str) -> dict[str, int]:
        """See :meth:`VersionStore.aliases`."""
        return self.store.aliases(name)

    def set_tag(self, name: str, version: int, key: str, value: object) -> None:
        """See :meth:`VersionStore.set_tag`."""
        self.store.set_tag(name, version, key, value)

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
        from selfheal.registry.archive import load_base

        info = self.store.resolved(name, stage) if version is None else self.version(name, version)
        adapter = self.adapter(name, info)
        base = self._bases.of(name, info)
        directory = self._bases.folder(base_name(name), base)
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
        from selfheal.registry.adapters import checked_adapter

        info = self._info(name, version)
        of_ours(info, name)
        digest = info.tags.get("adapter_digest", "")
        data = self._files.read(info, name, _ADAPTER, digest, f"adapters/{digest}.safetensors")
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
        import pandas as pd

        data = self._files.read(info, name, _SAMPLE, digest, f"samples/{digest}.parquet")
        if _digest(data) != digest:
            raise ArtifactError(
                f"the sample of {name!r} version {info.version} was changed; restore MLflow's artifacts"
            )
        return pd.read_parquet(io.BytesIO(data))

    def lineage(self, name: str, version: int | VersionInfo) -> dict[str, Any]:
        """All that was known of a version when it was made: its told tags, numbers, window, policy, base and files.

        Of one that an older release made, its tags.

        Raises
        ------
        NotFoundError, UnavailableError
        ArtifactError
            The stored file was changed.
        """
        info = self._info(name, version)
        digest = info.tags.get("lineage_digest", "")
        if not digest:
            return dict(info.tags)
        data = self._files.read(info, name, _LINEAGE, digest, f"lineages/{digest}.json")
        if _digest(data) != digest:
            raise ArtifactError(
                f"the lineage of {name!r} version {info.version} was changed; restore MLflow's artifacts"
            )
        return dict(json.loads(data))

    def _info(self, name: str, version: int | VersionInfo) -> VersionInfo:
        return version if isinstance(version, VersionInfo) else self.version(name, version)

    def register(self, name: str, adapter: Adapter, **given: Any) -> int:
        """A new version of `name` in Staging, see :meth:`registered`; its number."""
        return self.registered(name, adapter, **given).version

    def registered(
        self,
        name: str,
        adapter: Adapter,
        *,
        tags: Mapping[str, Any],
        record: Mapping[str, Any] | None = None,
        run_id: str | None = None,
        sample: pd.DataFrame | None = None,
        description: str = "",
        parent: VersionInfo | None = None,
    ) -> VersionInfo:
        """A new version of `name` in Staging.

        Parameters
        ----------
        adapter
            Names its base by digest and version; without a version it is the newest base with that digest.
        tags
            Parent, window, diagnosis, verdict, and what decides about it later.
        record
            What its history needs beside them (numbers, policy digest, heal run), for ``lineage.json`` alone.
        run_id
            The heal run; version and run are linked both ways.
        sample
            Raw rows of its own window; at most `SAMPLE_ROWS`, evenly spaced, are kept.
        description
            What changed and why, Markdown; by default what the adapter does.
        parent
            The version that was healed, as MLflow had it just now: where it is of the same base, MLflow is not asked
            for that again, nor whose the model is.

        Raises
        ------
        InputError, UnavailableError
            Nothing was registered.
        """
        base = self._bases.beside(adapter, parent) or self._bases.find(name, adapter.base_digest, adapter.base_version)
        manifest = json.loads((self._bases.folder(base_name(name), base) / MANIFEST).read_bytes())
        adapter = adapter.belonging_to(adapter.base_digest, base.version)
        tags = {**tags, "changed_part": adapter.changed_part}
        contents = {_ADAPTER: adapter.to_bytes()}
        if sample is not None:
            contents[_SAMPLE] = _thin(sample).to_parquet(index=False)
        refs = {
            "base_name": base_name(name),
            "base_version": base.version,
            "base_digest": adapter.base_digest,
            "manifest": base.tags["manifest"],
            "adapter_digest": _digest(contents[_ADAPTER]),
            "sample_digest": _digest(contents[_SAMPLE]) if sample is not None else "",
        }
        story = {**tags, **(record or {}), **refs}
        contents[_LINEAGE] = as_json(story)
        refs["lineage_digest"] = _digest(contents[_LINEAGE])
        with tempfile.TemporaryDirectory() as scratch:
            files = {Path(entry).stem: Path(scratch) / entry for entry in contents}
            for path in files.values():
                path.write_bytes(contents[path.name])
            text = description or "; ".join(adapter.describe())
            role = "adapters" if parent is None or parent.base_version is None else None
            version = self._create_version(name, name, role, files, refs, manifest, tags, run_id, text)
        made = self.version(name, version)
        if not made.is_half_registered:  # a look has finished that already
            return made
        self.transition(name, version, "Staging")
        return replace(made, stage="Staging")

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
        from selfheal.registry.archive import identity, save_base

        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / BASE_FILES
            save_base(model, folder)
            for base in self._bases.with_digest(name, model.digest):
                with suppress(ArtifactError):  # one that was changed is not this one
                    if identity(self._bases.folder(base_name(name), base)) == identity(folder):
                        return base.version, False
            manifest = json.loads((folder / MANIFEST).read_bytes())
            config = {"base_digest": model.digest, "manifest": manifest_digest(folder)}
            tags = {"policy_digest": model.policy.digest, **(source or {})}
            text = (
                f"{len(model.features)} features, classes {', '.join(map(str, model.classes_))}, "
                f"{len(model.reference):,} reference rows."
            )
            version = self._create_version(
                name, base_name(name), "base", {"base": folder}, config, manifest, tags, run_id, text
            )
        return version, True

    def base_dir(self, name: str, base_version: int) -> Path:
        """Folder of a base, cached by manifest below ``settings.cache`` and checked when it was fetched."""
        return self._bases.folder(base_name(name), self.version(base_name(name), base_version))

    def fetch_base(self, base_name: str, base_version: int, digest: str, manifest: str) -> Path:
        """As `base_dir`, for a base that is known by version and digests."""
        return self._bases.fetch(base_name, base_version, digest, manifest)

    def manifest(self, name: str, version: int | VersionInfo) -> str:
        """The manifest digest of the base that a version belongs to.

        Raises
        ------
        NotFoundError
            No such version.
        ArtifactError
            The base is another one than when the version was registered.
        """
        return self._bases.of(name, self._info(name, version)).tags.get("manifest", "")

    # ------------------------------------------------------------------ files

    def _create_version(
        self,
        name: str,
        registered: str,
        role: str | None,
        files: Mapping[str, Path],
        config: Mapping[str, Any],
        manifest: Mapping[str, Any],
        tags: Mapping[str, Any],
        run_id: str | None,
        description: str,
    ) -> int:
        experiment = self.runs.experiment(name)
        texts = {key: text for key, text in packed(tags, {}).items() if key in TOLD}
        with self._door.asked(f"register a version of {registered!r}") as client:
            if role is not None:  # else the model is known to be there, and ours
                about = _ABOUT[role].format(name=name, champion=self.settings.champion)
                ensure_model(client, registered, role, about)
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
                tags=packed(tags, {**config, "model_id": logged.model_id}),
                description=description,
                model_id=logged.model_id if self._door.is_server else None,
                await_creation_for=0,  # its files are there already
            )
            link_version(client, logged.model_id, registered, int(made.version))
        return int(made.version)


def _thin(sample: pd.DataFrame) -> pd.DataFrame:
    step = max(1, -(-len(sample) // SAMPLE_ROWS))
    return sample.iloc[::step]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
