"""The policy of record: the file in ``SELFHEAL_RULES``; failing that, the last valid one; failing that, the copy at
adoption. Which one held is journaled, with its text, so that a later start knows it too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import yaml

from selfheal.errors import PolicyError
from selfheal.lifecycle.workspace import Workspace
from selfheal.policy import Policy

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel

POLICY = "policy"
"""Kind of the journal entries that hold a policy."""


@dataclass(frozen=True)
class PolicyOfRecord:
    """The policy in force, and what is wrong with the file if it is not that one."""

    policy: Policy
    fault: str = ""


def policy_of_record(ws: Workspace, name: str, model: MonitoredModel) -> PolicyOfRecord:
    """The policy in force for a model; a changed one is journaled, an invalid one is reported and changes nothing."""
    path = ws.settings.rules / f"{name}.yaml"
    if not path.exists():
        return PolicyOfRecord(_at_adoption(ws, name, model))
    try:
        policy = Policy.load(path)
        policy.check(model.features, model.classes_.tolist(), str(path))
    except PolicyError as error:
        return PolicyOfRecord(_last_valid(ws, name) or _at_adoption(ws, name, model), str(error))
    if policy.digest != _last_digest(ws, name):
        intent = {"digest": policy.digest, "yaml": policy.to_yaml(), "file": path.name}
        ws.table.journal_note(name, POLICY, intent, "in force", ws.clock())
    return PolicyOfRecord(policy)


def _at_adoption(ws: Workspace, name: str, model: MonitoredModel) -> Policy:
    """The policy that the base was last adopted with."""
    kept = ws.table.adopted_policy(name, model.manifest)
    return model.policy if kept is None else Policy.load(yaml.safe_load(kept))


def _last_digest(ws: Workspace, name: str) -> str | None:
    return next((e.intent["digest"] for e in reversed(ws.table.journal(name)) if e.kind == POLICY), None)


def _last_valid(ws: Workspace, name: str) -> Policy | None:
    texts = (e.intent["yaml"] for e in reversed(ws.table.journal(name)) if e.kind == POLICY)
    text = next(texts, None)
    return None if text is None else Policy.load(yaml.safe_load(text))
