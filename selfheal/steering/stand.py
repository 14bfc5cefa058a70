"""Where the stages of a model stand, read once: what the journal settled, what replicas are told, what MLflow has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from selfheal.errors import NotFoundError
from selfheal.registry.versions import STAGE, VersionInfo
from selfheal.steering.look import NONE, PRODUCTION, STAGING, Look, look_of
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry, Pointer
from selfheal.table.journal import ALL_OPEN, LAST_SETTLED


@dataclass(frozen=True)
class Stand:
    """The stages of one model, as the database and MLflow have them.

    Attributes
    ----------
    name
        The model's.
    look
        What the journal settled last; None before the first look.
    pointer
        What replicas follow; None before adoption.
    versions
        Number → version, as MLflow has them now.
    open
        Entries that were begun and not closed: what a crash left behind.
    names
        The aliases that steer: of what serves, and of what is compared with it.
    aliases
        Version by alias, of these two, as MLflow has them now; None for one that there is not.
    unsaid
        Versions whose stage stands in no tag, where tags are to say it.
    """

    name: str
    look: Look | None
    pointer: Pointer | None
    versions: Mapping[int, VersionInfo]
    open: Sequence[JournalEntry] = ()
    names: tuple[str, str] = ("champion", "challenger")
    aliases: Mapping[str, int | None] = field(default_factory=dict)
    unsaid: tuple[int, ...] = ()

    @property
    def stages(self) -> dict[int, str]:
        """Version → stage."""
        return {number: info.stage for number, info in self.versions.items()}

    @property
    def is_settled(self) -> bool:
        """Whether everything says the same, so that nothing is to be done."""
        look, pointer = self.look, self.pointer
        return (
            look is not None
            and look.awaited is None
            and not self.open
            and not self.unsaid
            and pointer is not None
            and pointer.version == look.settled in self.versions
            and pointer.pinned == look.pinned
            and means(pointer, self.versions[pointer.version])
            and self.is_as(look)
        )

    @property
    def half_registered(self) -> list[int]:
        """Versions that came since the look and were never staged: who registered one died, or is about to stage it."""
        known = self.versions if self.look is None else self.look.stages
        return [v for v, info in sorted(self.versions.items()) if v not in known and info.is_half_registered]

    def is_named(self, look: Look) -> bool:
        """Whether aliases and the tag ``selfheal.pin`` are as a look left them, and say what it settled."""
        return (
            look.aliases == self.aliases
            and look.settled is not None
            and self.aliases.get(self.names[0]) == look.settled
            and look.settled in self.versions
            and self.versions[look.settled].pins == look.pinned
        )

    def is_as(self, look: Look) -> bool:
        """Whether all is as a look left it, and what it settled is in Production: an undone change may leave it out."""
        settled = None if look.settled is None else look.stages.get(look.settled)
        return look.stages == self.stages and settled == PRODUCTION and self.is_named(look)

    def has_only_gained(self, entering: int | None, look: Look) -> bool:
        """Whether nothing differs from a look but a version in Staging that there was not."""
        return (
            entering is not None
            and entering not in look.stages
            and {**look.stages, entering: STAGING} == self.stages
            and self.is_named(look)
        )

    def version(self, number: int) -> VersionInfo:
        """One version.

        Raises
        ------
        NotFoundError
            Names those that there are.
        """
        if number not in self.versions:
            known = ", ".join(map(str, sorted(self.versions)))
            raise NotFoundError(f"{self.name!r} has no version {number} (versions: {known})")
        return self.versions[number]

    def among(self, numbers: Collection[int]) -> list[VersionInfo]:
        """Those of ``numbers`` that there are, oldest first."""
        return [self.versions[number] for number in sorted(numbers) if number in self.versions]

    def twins(self, number: int) -> frozenset[int]:
        """The version, and those registered with the same bytes: a person's word about one is about them all."""
        digests = {v: info.tags.get("adapter_digest") for v, info in self.versions.items()}
        own = digests.get(number)
        return frozenset(v for v, digest in digests.items() if own and digest == own) | {number}


def stand_of(ws: Workspace, name: str) -> Stand:
    """Two reads of the database and two of MLflow.

    Raises
    ------
    NotFoundError
        MLflow has no such model.
    UnavailableError
        MLflow or the database can't be reached.
    """
    # In this order nothing that is done meanwhile passes for settled: a change moves the pointer before it is closed.
    entries = ws.table.journal_parts(name, settled=LAST_SETTLED, open=ALL_OPEN)
    look, pointer = look_of(next(iter(entries["settled"]), None)), ws.table.pointer(name)
    # In this order an alias names no version that is not among them yet.
    known, names = ws.registry.aliases(name), alias_names(ws)
    versions = {info.version: info for info in ws.registry.versions(name)}
    untold = [] if ws.settings.stages else [v for v, i in versions.items() if STAGE not in i.tags and i.stage != NONE]
    aliases = {alias: v if (v := known.get(alias)) in versions else None for alias in names}
    return Stand(name, look, pointer, versions, entries["open"], names, aliases, tuple(untold))


def of_other_bases(versions: Mapping[int, VersionInfo], serves: int | None) -> frozenset[int]:
    """The versions that belong to another base than the one that serves; none where that is not among them."""
    own = None if serves is None else versions.get(serves)
    return frozenset() if own is None else frozenset(v for v, info in versions.items() if not _of_one_base(info, own))


def _of_one_base(one: VersionInfo, other: VersionInfo) -> bool:
    manifests = one.tags.get("manifest"), other.tags.get("manifest")
    return manifests[0] == manifests[1] if all(manifests) else one.base_version == other.base_version


def alias_names(ws: Workspace) -> tuple[str, str]:
    """The aliases of what serves, and of what is compared with it."""
    return ws.settings.champion, ws.settings.challenger


def means(pointer: Pointer, info: VersionInfo) -> bool:
    """Whether a pointer names this version, and MLflow still means the same adapter and base by its number."""
    return (
        pointer.version == info.version
        and pointer.adapter_digest == info.tags.get("adapter_digest")
        and pointer.base_manifest == info.tags.get("manifest", pointer.base_manifest)
    )
