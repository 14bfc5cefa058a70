"""The policy of record: the file in ``SELFHEAL_RULES``; failing that, the last valid one; failing that, the copy at
adoption. Which one held is journaled, with its text, so that a later start knows it too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selfheal.errors import PolicyError
from selfheal.policy import Policy
from selfheal.registry.folder import POLICY as ADOPTED
from selfheal.registry.folder import read_base
from selfheal.steering.models import base_place, serving_pointer
from selfheal.steering.workspace import Workspace

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel

POLICY = "policy"
"""Kind of the journal entries that hold a policy."""


@dataclass(frozen=True)
class PolicyOfRecord:
    """The policy in force, and what is wrong with the file if it is not that one."""

    policy: Policy
    fault: str = ""


def policy_of_record(ws: Workspace, name: str, model: MonitoredModel | None = None) -> PolicyOfRecord:
    """The policy in force for a model; a changed one is journaled, an invalid one is reported and changes nothing.

    Parameters
    ----------
    model
        Whose policy at adoption is the fall-back; by default what serves, of which only the files are read.
    """
    path = ws.settings.rules / f"{name}.yaml"
    if not path.exists():
        return PolicyOfRecord(_at_adoption(ws, name, model))
    schema = ws.table.schema(name)
    try:
        policy = _valid(path, schema.dtypes, schema.classes)
        _refuse_anew(ws, name, policy, schema.dtypes, path, model)
    except PolicyError as error:
        return PolicyOfRecord(_last_valid(ws, name) or _at_adoption(ws, name, model), str(error))
    if policy.digest != _last_digest(ws, name):
        intent = {"digest": policy.digest, "yaml": policy.to_yaml(), "file": path.name}
        ws.table.journal_note(name, POLICY, intent, "in force", ws.clock())
    return PolicyOfRecord(policy)


def _at_adoption(ws: Workspace, name: str, model: MonitoredModel | None) -> Policy:
    """The policy that the base was last adopted with."""
    if model is not None:
        kept = ws.table.adopted_policy(name, model.manifest)
        return model.policy if kept is None else Policy.loads(kept)
    pointer = serving_pointer(ws, name)
    kept = ws.table.adopted_policy(name, pointer.base_manifest)
    if kept is None:
        place = base_place(ws, pointer)
        kept = read_base(place, pointer.base_digest, pointer.base_manifest or None)[ADOPTED].decode()
    return Policy.loads(kept)


def policy_fault(ws: Workspace, name: str) -> str:
    """What is wrong with the file of record, empty when nothing is; needs no model.

    Where this host has no such file, what the newest window says: the host that monitors may have one.
    """
    path = ws.settings.rules / f"{name}.yaml"
    try:
        stat = path.stat()
    except FileNotFoundError:
        newest = ws.table.cycles(name, last=1)
        return "; ".join(newest[-1].get("faults", ())) if newest else ""
    except OSError as error:
        return f"policy {path} cannot be read: {error.strerror}"
    schema = ws.table.schema(name)
    policy = _read(path, (stat.st_mtime_ns, stat.st_size, stat.st_ino), tuple(schema.dtypes.items()), schema.classes)
    if isinstance(policy, str):
        return policy
    try:
        _refuse_anew(ws, name, policy, schema.dtypes, path)
    except PolicyError as error:
        return str(error)
    return ""


@lru_cache(maxsize=64)
def _read(
    path: Path, stamp: tuple[int, ...], dtypes: tuple[tuple[str, str], ...], classes: tuple[Any, ...]
) -> Policy | str:
    """What a file holds, or what is wrong with it."""
    try:
        return _valid(path, dict(dtypes), classes)
    except PolicyError as error:
        return str(error)


def _valid(path: Path, dtypes: Mapping[str, str], classes: Sequence[Any]) -> Policy:
    policy = Policy.load(path)
    policy.check(tuple(dtypes), classes, str(path))
    return policy


def _refuse_anew(
    ws: Workspace,
    name: str,
    policy: Policy,
    dtypes: Mapping[str, str],
    path: Path,
    model: MonitoredModel | None = None,
) -> None:
    """Refuse declarations that cannot be meant, unless they are in force: a release before took them.

    Raises
    ------
    PolicyError
    """
    try:
        policy.check_declared(dtypes, str(path))
    except PolicyError:
        if policy.digest not in (_last_digest(ws, name), _at_adoption(ws, name, model).digest):
            raise


def _last_digest(ws: Workspace, name: str) -> str | None:
    return next((e.intent["digest"] for e in ws.table.journal(name, last=1, kind=POLICY)), None)


def _last_valid(ws: Workspace, name: str) -> Policy | None:
    text = next((e.intent["yaml"] for e in ws.table.journal(name, last=1, kind=POLICY)), None)
    return None if text is None else Policy.loads(text)
