"""Adoption: a model enters, with an identity adapter as its first version."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from selfheal.errors import InputError
from selfheal.model import MonitoredModel
from selfheal.policy import Policy, check_name
from selfheal.registry.archive import save_base
from selfheal.registry.folder import POLICY
from selfheal.registry.pointing import pointer_of
from selfheal.registry.store import Registry
from selfheal.registry.versions import VersionInfo
from selfheal.settings import Settings
from selfheal.table import InferenceTable

if TYPE_CHECKING:
    import pandas as pd

ANEW = "adopted anew"
"""Kind of the journal entry that says so."""


@dataclass(frozen=True)
class Adoption:
    """What an adoption did.

    Attributes
    ----------
    name, version, stage
        The version with the identity adapter, and where it is.
    base_version, base_digest
        The base it belongs to.
    new
        False when this very base had been adopted before; then nothing was registered.
    message
        The same in words.
    """

    name: str
    version: int
    stage: str
    base_version: int
    base_digest: str
    new: bool
    message: str

    def __str__(self) -> str:
        return self.message


def adopt_model(
    name: str,
    model: MonitoredModel,
    registry: Registry,
    table: InferenceTable,
    source: Mapping[str, str] | None = None,
) -> Adoption:
    """Store `model` as a base and register the identity adapter: in Production the first time, later in Staging.

    Run again after a failure, it finishes what is missing. The same base with another policy renews the policy.

    Parameters
    ----------
    name
        As :func:`selfheal.policy.check_name` allows.
    source
        Tags of a new base that say where it is from.

    Raises
    ------
    InputError
        Bad name, a policy that does not fit, or columns that differ from those already logged.
    UnavailableError
        MLflow or the database is away.
    """
    _check(name, model)
    # First what can refuse without leaving anything behind.
    table.create(name, model.dtypes, model.classes_.tolist())
    registry.create_store(table.served())
    before, pointer = _versions(registry, name), table.pointer(name)
    base_version, new_base = registry.register_base(name, model, source=source)
    existing = [] if new_base else [i for i in before if i.base_version == base_version]
    version = existing[0].version if existing else _register_identity(name, model, registry, base_version)
    renewed = _keep_policy(name, version, base_version, model, registry, table)
    if pointer is None or not before:  # the first time, or the first since its registered model was deleted
        if not registry.production(name):
            registry.transition(name, version, "Production")
        _point(name, registry, table)
        if pointer is not None:
            _forget(name, table)
        registry.store.set_alias(name, registry.settings.champion, registry.production(name)[-1])
    elif existing and existing[0].is_half_registered:
        registry.transition(name, version, "Staging")  # whoever registered it died before that
    stage = registry.version(name, version).stage
    words = _words(name, version, stage, base_version, not existing) + ("; its policy was renewed" if renewed else "")
    return Adoption(name, version, stage, base_version, model.digest, not existing, words)


def adopt(name: str, model: MonitoredModel, settings: Settings | None = None) -> Adoption:
    """Adopt `model` under `name`: its base and an identity adapter, version 1, in Production.

    A new base for a known name puts its identity adapter into Staging; the same base again changes nothing and
    says so.

    Parameters
    ----------
    name
        Letters, digits, ``_`` and ``-``, at most 48, beginning with a letter or digit.
    settings
        By default from the environment.

    Raises
    ------
    InputError
        Bad name, a policy that does not fit, a part that cannot be stored, or changed columns.
    UnavailableError
        MLflow or the database cannot be reached.
    """
    here = settings or Settings.from_env()
    table = InferenceTable(here.database_url)
    try:
        return adopt_model(name, model, Registry(here), table)
    finally:
        table.close()


def rehearse(name: str, model: MonitoredModel, settings: Settings | None = None) -> int:
    """Whatever :func:`adopt` would refuse, MLflow aside; the base is stored in a folder that is gone afterwards.

    Returns
    -------
    int
        Bytes of the stored base, which was opened again and answers as the model does.

    Raises
    ------
    InputError
        As :func:`adopt` raises it.
    UnavailableError
        The database cannot be reached.
    """
    _check(name, model)
    here = settings or Settings.from_env()
    table = InferenceTable(here.database_url, rehearses=True)
    try:
        if table.models():
            table.create(name, model.dtypes, model.classes_.tolist())
    finally:
        table.close()
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "base"
        save_base(model, place)
        return sum(file.stat().st_size for file in place.iterdir())


def adopt_from(
    name: str,
    uri: str,
    reference: pd.DataFrame,
    target: str,
    settings: Settings,
    *,
    policy: Path | None = None,
    trusted_by: str | None = None,
) -> Adoption:
    """Adopt a network that MLflow has, see :func:`selfheal.registry.imported.imported`, as :func:`adopt` does."""
    from selfheal.registry.imported import imported

    check_name(name)
    model, source = imported(uri, reference, target, settings, policy=policy, trusted_by=trusted_by)
    table = InferenceTable(settings.database_url)
    try:
        return adopt_model(name, model, Registry(settings), table, source)
    finally:
        table.close()


def load(name: str, settings: Settings | None = None) -> MonitoredModel:
    """The model that Production names, as MLflow resolves it, with the policy that it was last adopted with.

    Raises
    ------
    NotFoundError
        No such model, or nothing in Production.
    ArtifactError
        A stored file is not what was registered; nothing of it was run.
    """
    here = settings or Settings.from_env()
    model = Registry(here).load(name)
    table = InferenceTable(here.database_url)
    try:
        kept = table.adopted_policy(name, model.manifest) if name in table.models() else None
    finally:
        table.close()
    return model if kept is None else model.with_policy(Policy.loads(kept))


def _check(name: str, model: MonitoredModel) -> None:
    check_name(name)
    if model.policy.model not in (None, name):
        raise InputError(
            f"the policy is for model {model.policy.model!r}, not {name!r}; adopt under that name, or change its model:"
        )
    if not model.adapter.is_identity:
        raise InputError(
            f"it carries an adapter ({model.adapter.changed_part}); adopt the base: model.with_adapter(Adapter())"
        )
    model.policy.check(model.features, model.classes_.tolist(), kinds=model.dtypes)


def _versions(registry: Registry, name: str) -> list[VersionInfo]:
    return registry.versions(name) if name in registry.models() else []


def _register_identity(name: str, model: MonitoredModel, registry: Registry, base_version: int) -> int:
    tags = {"diagnosis": "adoption", "verdict": "adopted"}
    text = "Identity adapter: the base model exactly as it was adopted."
    adapter = model.adapter.belonging_to(model.digest, base_version)
    return registry.register(name, adapter, tags=tags, record={"policy_digest": model.policy.digest}, description=text)


def _keep_policy(
    name: str, version: int, base_version: int, model: MonitoredModel, registry: Registry, table: InferenceTable
) -> bool:
    """Keep the policy of this adoption beside the base where it differs from the one that is; whether it did."""
    manifest, wanted = registry.manifest(name, version), model.policy.to_yaml()
    kept = table.adopted_policy(name, manifest) or (registry.base_dir(name, base_version) / POLICY).read_text("utf-8")
    if kept == wanted:
        return False
    table.keep_policy(name, manifest, wanted)
    return True


def _forget(name: str, table: InferenceTable) -> None:
    """What the journal saw was of a registered model that is gone: numbers in it mean other versions now."""
    table.journal_note(
        name, ANEW, {"actor": "adoption"}, "its registered model was deleted", dt.datetime.now(dt.UTC), look=None
    )


def _point(name: str, registry: Registry, table: InferenceTable) -> None:
    """Write the first pointer; later ones are the reconciler's."""
    info = registry.version(name, registry.production(name)[-1])
    adapter, manifest = registry.adapter(name, info), registry.manifest(name, info)
    table.set_pointer(name, pointer_of(name, info, adapter, manifest, at=dt.datetime.now(dt.UTC)))


def _words(name: str, version: int, stage: str, base_version: int, new: bool) -> str:
    if not new:
        return f"{name}: this base was already adopted (base {base_version}, version {version}, {stage}); nothing new"
    where = "serves" if stage == "Production" else f"waits in Staging; to serve it: selfheal promote {name} {version}"
    return f"{name}: adopted as base {base_version}; version {version} (identity adapter) {where}"
