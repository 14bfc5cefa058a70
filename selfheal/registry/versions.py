"""Registered versions: what they are, in which stage, and how they move."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING

from selfheal.errors import InputError, NotFoundError, nearest
from selfheal.registry.door import Door
from selfheal.registry.lineage import Lineage, tag_text, unpacked

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

STAGES = ("None", "Staging", "Production", "Archived")
ROLE, STAGE, PIN = "selfheal.role", "selfheal.stage", "selfheal.pin"
"""Tags: what a registered model is to us; where stages are not used, the stage of a version; and that what serves is
to stay, whatever the watch finds."""
CARD = "\n\n### "
"""Begins each section of a description: what comes before the first one is its summary."""
_PAGE = 1000


@dataclass(frozen=True)
class VersionInfo:
    """One registered version, as MLflow has it now.

    Attributes
    ----------
    version, stage
        Its number, and ``"None" | "Staging" | "Production" | "Archived"``.
    tags
        parent, window, diagnosis, verdict, what says how it stands; and, unpacked from the tag ``base``, base_digest,
        adapter_digest, manifest, sample_digest, lineage_digest, model_id and what decides about it later.
    created, updated
        Aware UTC. ``updated`` moves on stage and description edits, not on tags or aliases.
    run_id, model_id
        The run that made it and the logged model that holds its files.
    place
        Where its files are, as MLflow has it; a ``models:`` URI names a logged model.
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
    place: str = ""

    @property
    def summary(self) -> str:
        """Its description without the sections of its card: what was done and why it was believed."""
        return self.description.partition(CARD)[0]

    @property
    def pins(self) -> bool:
        """Whether its tag ``selfheal.pin`` says that it is to stay once it serves."""
        return self.tags.get(PIN, "").strip().lower() not in ("", "false", "no", "off", "0")

    @property
    def is_half_registered(self) -> bool:
        """Whether it is ours and nobody has put it into a stage yet, nor out of one: that would have left a time or a
        tag.
        """
        untouched = self.stage == "None" and self.updated == self.created and STAGE not in self.tags
        return untouched and self.base_version is not None

    @property
    def lineage(self) -> Lineage:
        """Where it comes from; the rest of it is in a file, see :meth:`Registry.lineage`."""
        return Lineage.of(self.tags)


class VersionStore:
    """Versions and stages of the registered models of one MLflow store.

    Parameters
    ----------
    stages
        Whether MLflow's stages are used; where they are not, tags of the versions say the same.
    """

    def __init__(self, door: Door, *, stages: bool = True) -> None:
        self._door, self._stages = door, stages

    def models(self) -> list[str]:
        """Names of the adopted models."""
        with self._door.asked("list the registered models") as client:
            models = client.search_registered_models(max_results=_PAGE)
        return sorted(m.name for m in models if m.tags.get(ROLE) == "adapters")

    def versions(self, name: str) -> list[VersionInfo]:
        """Every version of a registered model, oldest first, with the stages as they are.

        Raises
        ------
        NotFoundError
            No such model; names the known ones.
        """
        quoted = name.replace("'", "")
        rows: list[ModelVersion] = []
        with self._door.asked(f"list the versions of {name!r}") as client:
            page = client.search_model_versions(f"name = '{quoted}'", max_results=_PAGE)
            rows.extend(page)
            while page.token:
                page = client.search_model_versions(f"name = '{quoted}'", max_results=_PAGE, page_token=page.token)
                rows.extend(page)
        if not rows:
            known = self.models()
            raise NotFoundError(
                f"no registered model {name!r} at {self._door.name}{nearest(name, known)} "
                f"(known: {', '.join(known) or 'none'}); adopt it first: selfheal adopt"
            )
        return sorted((self._info(v) for v in rows), key=lambda info: info.version)

    def glance(self, name: str) -> list[VersionInfo]:
        """As :meth:`versions`, without waiting for MLflow's client where it need not be asked.

        Raises
        ------
        NotFoundError, UnavailableError
        """
        return [self._info(v) for v in self._door.glance(name)] or self.versions(name)

    def version(self, name: str, version: int) -> VersionInfo:
        """One version.

        Raises
        ------
        NotFoundError
            Names the known versions.
        """
        try:
            with self._door.asked(f"read version {version} of {name!r}") as client:
                return self._info(client.get_model_version(name, str(int(version))))
        except NotFoundError:
            known = ", ".join(str(info.version) for info in self.versions(name))
            raise NotFoundError(f"{name!r} has no version {version} (known: {known})") from None

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
        if not self._stages:
            self.set_tag(name, version, STAGE, stage)
            for other in self.in_stage(name, stage) if archive_others else ():
                if other != version:
                    self.set_tag(name, other, STAGE, "Archived")
            return
        with (
            self._known(name, version),
            self._door.asked(f"move {name!r} version {version} to {stage}") as client,
            warnings.catch_warnings(),
        ):
            # Stages are deprecated in MLflow's words and fully served by it; they are the steering wheel here.
            warnings.simplefilter("ignore", FutureWarning)
            client.transition_model_version_stage(name, str(version), stage, archive_existing_versions=archive_others)

    def aliases(self, name: str) -> dict[str, int]:
        """Alias → version. (MLflow's search for versions leaves them out.)

        Raises
        ------
        NotFoundError
            No such model; names the known ones.
        """
        try:
            with self._door.asked(f"read the aliases of {name!r}") as client:
                return {str(a): int(v) for a, v in client.get_registered_model(name).aliases.items()}
        except NotFoundError:
            self.versions(name)
            raise

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

    def drop_tag(self, name: str, version: int, key: str) -> None:
        """Take one tag of a version away; nothing happens where it has none."""
        with self._known(name, version), self._door.asked(f"untag {name!r} version {version}") as client:
            client.delete_model_version_tag(name, str(version), key)

    def set_description(self, name: str, version: int, text: str) -> None:
        """Replace the description of a version (Markdown)."""
        with self._known(name, version), self._door.asked(f"describe {name!r} version {version}") as client:
            client.update_model_version(name, str(version), description=text)

    def _info(self, row: ModelVersion | SimpleNamespace) -> VersionInfo:
        tags, stage = unpacked(row.tags), str(getattr(row, "current_stage", None))
        if not self._stages:
            stage = tags.get(STAGE, stage)
        return VersionInfo(
            # A str over REST, an int from a local store.
            version=int(row.version),
            stage=stage if stage in STAGES else "None",
            tags=tags,
            created=_utc(row.creation_timestamp),
            updated=_utc(row.last_updated_timestamp or row.creation_timestamp),
            run_id=row.run_id or None,
            model_id=tags.get("model_id") or row.model_id or None,
            base_version=Lineage.of(tags).base,
            description=row.description or "",
            place=row.source or "",
        )


def _check_stage(stage: str) -> None:
    if stage not in STAGES:
        raise InputError(f"{stage!r} is no stage{nearest(stage, STAGES)} (stages: {', '.join(STAGES)})")


def _utc(milliseconds: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(milliseconds / 1000, dt.UTC)
