"""Registered versions: what they are, in which stage, and how they move."""

from __future__ import annotations

import datetime as dt
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfheal.errors import InputError, NotFoundError, nearest
from selfheal.registry.door import Door

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

STAGES = ("None", "Staging", "Production", "Archived")
CHAMPION, CHALLENGER = "champion", "challenger"
ROLE = "selfheal.role"
FILES = "files"
"""One tag for what only programs read (digests, the logged model's id): MLflow's pages list every tag on a line."""
# MLflow refuses longer ones with an error that names a database column.
_LONGEST_TAG = 5000
_PAGE = 1000


@dataclass(frozen=True)
class VersionInfo:
    """One registered version, as MLflow has it now.

    Attributes
    ----------
    version, stage
        Its number, and ``"None" | "Staging" | "Production" | "Archived"``.
    tags
        Lineage: parent, window, diagnosis, verdict, numbers, policy digest; and, unpacked from the tag ``files``,
        base_digest, adapter_digest, manifest, sample_digest, model_id.
    created, updated
        Aware UTC. ``updated`` moves on stage and description edits, not on tags or aliases.
    run_id, model_id
        The run that made it and the logged model that holds its files.
    base_version
        The version of ``<name>-base`` that it belongs to; None if not one of ours.
    description
        What changed and why, in words.
    """

    version: int
    stage: str
    tags: dict[str, str]
    created: dt.datetime
    updated: dt.datetime
    run_id: str | None
    model_id: str | None
    base_version: int | None
    description: str


class VersionStore:
    """Versions and stages of the registered models of one MLflow store."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def models(self) -> list[str]:
        """Names of the adopted models."""
        with self._door.asked("list the registered models") as client:
            found = client.search_registered_models(max_results=_PAGE)
        return sorted(m.name for m in found if m.tags.get(ROLE) == "adapters")

    def versions(self, name: str) -> list[VersionInfo]:
        """Every version of a registered model, oldest first, with the stages as they are.

        Raises
        ------
        NotFoundError
            No such model; names the known ones.
        """
        quoted = name.replace("'", "")
        found: list[ModelVersion] = []
        with self._door.asked(f"list the versions of {name!r}") as client:
            page = client.search_model_versions(f"name = '{quoted}'", max_results=_PAGE)
            found.extend(page)
            while page.token:
                page = client.search_model_versions(f"name = '{quoted}'", max_results=_PAGE, page_token=page.token)
                found.extend(page)
        if not found:
            known = self.models()
            raise NotFoundError(
                f"no registered model {name!r} at {self._door.name}{nearest(name, known)} "
                f"(known: {', '.join(known) or 'none'}); adopt it first: selfheal adopt"
            )
        return sorted((_info(v) for v in found), key=lambda info: info.version)

    def version(self, name: str, version: int) -> VersionInfo:
        """One version.

        Raises
        ------
        NotFoundError
            Names the known versions.
        """
        all_versions = self.versions(name)
        for info in all_versions:
            if info.version == int(version):
                return info
        known = ", ".join(str(i.version) for i in all_versions)
        raise NotFoundError(f"{name!r} has no version {version} (known: {known})")

    @contextmanager
    def _known(self, name: str, version: int) -> Iterator[None]:
        """An unknown model or version is refused with the known ones, asked for only then."""
        try:
            yield
        except NotFoundError:
            self.version(name, version)
            raise

    def in_stage(self, name: str, stage: str) -> list[int]:
        """Version numbers in a stage, ascending; several are possible, for archiving is not atomic in MLflow."""
        _check_stage(stage)
        return [info.version for info in self.versions(name) if info.stage == stage]

    def production(self, name: str) -> list[int]:
        """Version numbers in Production, ascending. MLflow itself resolves to the highest number."""
        return self.in_stage(name, "Production")

    def resolved(self, name: str, stage: str = "Production") -> VersionInfo:
        """The version that ``models:/NAME/STAGE`` is: of several in the stage the highest number.

        Raises
        ------
        NotFoundError
            No such model, or the stage is empty.
        """
        _check_stage(stage)
        infos = self.versions(name)
        for info in reversed(infos):
            if info.stage == stage:
                return info
        stages = ", ".join(f"v{i.version} {i.stage}" for i in infos)
        raise NotFoundError(f"{name!r} has no version in {stage} ({stages}); move one there in MLflow")

    def transition(self, name: str, version: int, stage: str, archive_others: bool = False) -> None:
        """Move one version to a stage.

        With `archive_others` MLflow archives the stage's other versions in the same call, but not atomically
        (docs/notes.md: concurrent calls leave several). A caller that must know makes single transitions.

        Raises
        ------
        NotFoundError, InputError, UnavailableError
        """
        _check_stage(stage)
        with (
            self._known(name, version),
            self._door.asked(f"move {name!r} version {version} to {stage}") as client,
            warnings.catch_warnings(),
        ):
            # Stages are deprecated in MLflow's words and fully served by it; they are the steering wheel here.
            warnings.simplefilter("ignore", FutureWarning)
            client.transition_model_version_stage(name, str(version), stage, archive_existing_versions=archive_others)

    def sync_aliases(self, name: str, champion: int | None = None) -> None:
        """Let the aliases follow the stages: ``champion`` = Production, ``challenger`` = the newest in Staging.

        Parameters
        ----------
        champion
            The version that serves, where several are in Production; by default the highest number.
        """
        infos = self.versions(name)
        live = [i.version for i in infos if i.stage == "Production"]
        staged = [i.version for i in infos if i.stage == "Staging"]
        wanted = {
            CHAMPION: champion if champion in live else max(live, default=None),
            CHALLENGER: max(staged, default=None),
        }
        current = self.aliases(name)
        for alias, number in wanted.items():
            if number != current.get(alias):
                self.set_alias(name, alias, number)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias → version. (MLflow's search for versions leaves them out.)"""
        with self._door.asked(f"read the aliases of {name!r}") as client:
            return {str(a): int(v) for a, v in client.get_registered_model(name).aliases.items()}

    def set_alias(self, name: str, alias: str, version: int | None) -> None:
        """Point an alias at a version, or take it away with None."""
        with self._door.asked(f"set the alias {alias!r} of {name!r}") as client:
            if version is None:
                client.delete_registered_model_alias(name, alias)
            else:
                client.set_registered_model_alias(name, alias, str(version))

    def set_tag(self, name: str, version: int, key: str, value: object) -> None:
        """Write one tag of a version; a long value is cut."""
        with self._known(name, version), self._door.asked(f"tag {name!r} version {version}") as client:
            client.set_model_version_tag(name, str(version), key, tag_text(value))

    def set_description(self, name: str, version: int, text: str) -> None:
        """Replace the description of a version (Markdown)."""
        with self._known(name, version), self._door.asked(f"describe {name!r} version {version}") as client:
            client.update_model_version(name, str(version), description=text)


def tag_text(value: object) -> str:
    """A tag's value as text that MLflow takes.

    >>> tag_text(0.123456789), tag_text(None), tag_text(True)
    ('0.123457', '', 'true')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return (f"{value:.6g}" if isinstance(value, float) else str(value))[:_LONGEST_TAG]


def tag_texts(tags: Mapping[str, Any]) -> dict[str, str]:
    """Tags as MLflow takes them."""
    return {str(key): tag_text(value) for key, value in tags.items()}


def _check_stage(stage: str) -> None:
    if stage not in STAGES:
        raise InputError(f"{stage!r} is no stage{nearest(stage, STAGES)} (stages: {', '.join(STAGES)})")


def _info(found: ModelVersion) -> VersionInfo:
    tags = {str(k): str(v) for k, v in found.tags.items()}
    with suppress(ValueError, AttributeError):
        tags |= {str(k): str(v) for k, v in json.loads(tags.pop(FILES, "{}")).items()}
    base = tags.get("base_version", "")
    return VersionInfo(
        # A str over REST, an int from a local store.
        version=int(found.version),
        stage=str(found.current_stage),
        tags=tags,
        created=_utc(found.creation_timestamp),
        updated=_utc(found.last_updated_timestamp or found.creation_timestamp),
        run_id=found.run_id or None,
        model_id=tags.get("model_id") or found.model_id or None,
        base_version=int(base) if base.isdigit() else None,
        description=found.description or "",
    )


def _utc(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
