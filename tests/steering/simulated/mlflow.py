"""A simulated MLflow: versions with stages, aliases, tags and timestamps, in memory, behind the registry's own code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import numpy as np

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.errors import NotFoundError, UnavailableError
from selfheal.registry.lineage import packed, unpacked
from selfheal.registry.store import Registry
from selfheal.registry.versions import STAGE, VersionInfo, VersionStore
from selfheal.settings import Settings

T = TypeVar("T")
Gate = Callable[[str, str, Callable[[], T]], T]
"""What a call of a store goes through: the store, what is asked, and the answer."""


def openly(store: str, what: str, effect: Callable[[], T]) -> T:
    """A gate that nothing keeps."""
    return effect()


@dataclass
class Clock:
    """The simulated time, microseconds since 1970."""

    us: int = 1_767_225_600_000_000


@dataclass
class SimulatedVersion:
    """A row of MLflow's table of versions."""

    version: int
    current_stage: str
    creation_timestamp: int
    last_updated_timestamp: int
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""
    run_id: str | None = None
    model_id: str | None = None
    source: str = "simulated"


ADAPTERS = tuple(
    Adapter(InputMap({"x": ColumnMap(1.0 + k, 0.0, f"×{1 + k}")}), base_digest="b" * 64, base_version=1)
    for k in range(8)
)
"""What versions are made of: each two of them predict alike."""

BYTES = {adapter.digest: adapter.to_bytes() for adapter in ADAPTERS}
SAID = {a.digest: np.random.default_rng(k // 2).integers(0, 2, 100) for k, a in enumerate(ADAPTERS)}
LIKE = {a.digest: k // 2 for k, a in enumerate(ADAPTERS)}
"""Which adapters predict alike."""
ROWS = np.zeros((100, 1))


class SimulatedMlflow:
    """What MLflow holds of one registered model."""

    def __init__(self, name: str, clock: Clock, *, stages: bool = True) -> None:
        self.name, self.clock, self.stages = name, clock, stages
        self.versions: dict[int, SimulatedVersion] = {}
        self.aliases: dict[str, int] = {}
        self.unreadable: dict[int, str] = {}
        """Versions whose files are ``away`` or ``changed``."""
        self.made = self.changes = 0

    @property
    def production(self) -> list[int]:
        """Versions in Production."""
        return [v for v in self.versions if self.stage(v) == "Production"]

    def stage(self, version: int) -> str:
        """The stage of a version, or what its tag says where stages are not used."""
        row = self.versions[version]
        return row.current_stage if self.stages else row.tags.get(STAGE, row.current_stage)

    def digest(self, version: int) -> str:
        """Of its adapter."""
        return unpacked(self.versions[version].tags).get("adapter_digest", "")

    def row(self, name: str, version: int) -> SimulatedVersion:
        """One version."""
        if name != self.name or version not in self.versions:
            raise NotFoundError(f"Model Version (name={name}, version={version}) not found")
        return self.versions[version]

    def create(self, adapter: Adapter, manifest: str, **tags: Any) -> int:
        """Register a version, as the registry packs it; it is in no stage yet."""
        refs = {"base_name": f"{self.name}-base", "base_version": 1, "base_digest": adapter.base_digest,
                "manifest": manifest, "adapter_digest": adapter.digest}  # fmt: skip
        self.made += 1
        row = SimulatedVersion(self.made, "None", self._ms, self._ms, packed(tags, refs), "healed")
        self.versions[self.made] = row
        self.changes += 1
        return self.made

    def move(self, name: str, version: int, stage: str, archive_others: bool) -> None:
        """Move a version; of the others in that stage, when they go with it, the same time is noted."""
        row = self.row(name, version)
        for other in self.versions.values() if archive_others else ():
            if other.current_stage == stage and other is not row:
                other.current_stage, other.last_updated_timestamp = "Archived", self._ms
        self.changes += row.current_stage != stage
        row.current_stage, row.last_updated_timestamp = stage, self._ms

    def delete(self, version: int) -> None:
        """Delete a version, and its aliases."""
        self.row(self.name, version)
        del self.versions[version]
        self.aliases = {alias: v for alias, v in self.aliases.items() if v != version}
        self.changes += 1

    def name_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version."""
        self.row(name, version)
        self.changes += self.aliases.get(alias) != version
        self.aliases[alias] = version

    def drop_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""
        self.changes += self.aliases.pop(alias, None) is not None

    def tag(self, name: str, version: int, key: str, value: str | None) -> None:
        """Write a tag of a version, or take it away with None."""
        tags = self.row(name, version).tags
        self.changes += tags.get(key) != value
        if value is None:
            tags.pop(key, None)
        else:
            tags[key] = value

    @property
    def _ms(self) -> int:
        return self.clock.us // 1000


class SimulatedClient:
    """The calls of MLflow's client that the registry makes."""

    def __init__(self, store: SimulatedMlflow, gate: Gate[Any]) -> None:
        self._store, self._gate = store, gate

    def _ask(self, what: str, effect: Callable[[], T]) -> T:
        answer: T = self._gate("mlflow", what, effect)
        return answer

    def search_registered_models(self, max_results: int) -> list[SimpleNamespace]:
        return [SimpleNamespace(name=self._store.name, tags={"selfheal.role": "adapters"})]

    def search_model_versions(self, where: str, max_results: int, page_token: str = "") -> _Page:
        store = self._store
        return self._ask(
            "versions", lambda: _Page(map(_copied, store.versions.values()) if f"'{store.name}'" in where else ())
        )

    def get_model_version(self, name: str, version: str) -> SimulatedVersion:
        return self._ask(f"version {version}", lambda: _copied(self._store.row(name, int(version))))

    def get_registered_model(self, name: str) -> SimpleNamespace:
        return self._ask("aliases", lambda: self._registered(name))

    def _registered(self, name: str) -> SimpleNamespace:
        if name != self._store.name:
            raise NotFoundError(f"Registered Model with name={name} not found")
        return SimpleNamespace(aliases=dict(self._store.aliases))

    def transition_model_version_stage(
        self, name: str, version: str, stage: str, archive_existing_versions: bool
    ) -> None:
        act = (name, int(version), stage, archive_existing_versions)
        self._ask(f"move {version} to {stage}", lambda: self._store.move(*act))

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._ask(f"alias {alias} {version}", lambda: self._store.name_alias(name, alias, int(version)))

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self._ask(f"drop alias {alias}", lambda: self._store.drop_alias(name, alias))

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._ask(f"tag {version} {key} {value[:12]!r}", lambda: self._store.tag(name, int(version), key, value))

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        self._ask(f"untag {version} {key}", lambda: self._store.tag(name, int(version), key, None))


class _Page(list[Any]):
    token = ""


def _copied(row: SimulatedVersion) -> SimulatedVersion:
    return SimulatedVersion(**{**vars(row), "tags": dict(row.tags)})


class SimulatedDoor:
    """The door to a simulated MLflow."""

    name = "simulated"
    is_server = False

    def __init__(self, client: SimulatedClient) -> None:
        self.client = client

    @contextmanager
    def asked(self, what: str) -> Iterator[SimulatedClient]:
        """The client; it speaks of errors in selfheal's words."""
        yield self.client


@dataclass(frozen=True)
class SimulatedModel:
    """A version as a model: what it predicts is known by its adapter."""

    adapter: Adapter
    manifest: str
    reference: Any = field(default_factory=lambda: ROWS)
    policy: object = None

    def check_unchanged(self) -> None:
        """It never changes."""

    def with_policy(self, policy: object) -> SimulatedModel:
        return self

    def with_adapter(self, adapter: Adapter) -> SimulatedModel:
        return SimulatedModel(adapter, self.manifest)

    def predict(self, rows: Any) -> Any:
        return SAID[self.adapter.digest]


class _Files:
    """Where the registry reads adapters."""

    def __init__(self, store: SimulatedMlflow, gate: Gate[Any]) -> None:
        self._store, self._gate = store, gate

    def read(self, info: VersionInfo, name: str, entry: str, digest: str, kept_as: str) -> bytes:
        answer: bytes = self._gate("files", f"read {info.version}", lambda: self._read(info.version, digest))
        return answer

    def _read(self, version: int, digest: str) -> bytes:
        fault = self._store.unreadable.get(version)
        if fault == "away":
            raise UnavailableError(f"version {version}: its files are away")
        return b"changed" if fault else BYTES[digest]


class SimulatedRegistry(Registry):
    """The registry over a simulated MLflow: versions, stages, aliases, tags and adapters are read by its own code."""

    def __init__(self, store: SimulatedMlflow, settings: Settings, gate: Gate[Any] = openly) -> None:
        self.settings = settings
        self._simulated = store
        self._gate = gate
        self._door: Any = SimulatedDoor(SimulatedClient(store, gate))
        self.store = VersionStore(self._door, stages=settings.stages)
        self._files: Any = _Files(store, gate)

    def load(self, name: str, stage: str = "Production", version: int | None = None) -> Any:
        info = self.store.resolved(name, stage) if version is None else self.version(name, version)
        return SimulatedModel(self.adapter(name, info), info.tags["manifest"])

    def sample(self, name: str, version: int | VersionInfo) -> Any:
        return ROWS

    def manifest(self, name: str, version: int | VersionInfo) -> str:
        return self._info(name, version).tags.get("manifest", "")

    def heal(self, name: str, adapter: Adapter, manifest: str, **tags: Any) -> int:
        """Register a version in Staging, in the calls that the registry makes for it."""
        version: int = self._gate("mlflow", "create", lambda: self._simulated.create(adapter, manifest, **tags))
        if self.version(name, version).is_half_registered:
            self.transition(name, version, "Staging")
        return version
