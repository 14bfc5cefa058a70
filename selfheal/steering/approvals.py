"""How many people have approved a version: a record, no access control.

Approvals are journaled. One is about a version in the place of what serves: once that changes, it is void.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from selfheal.errors import SelfhealError
from selfheal.policy import Release
from selfheal.registry.versions import VersionInfo
from selfheal.steering.look import Look
from selfheal.steering.policies import policy_of_record
from selfheal.steering.workspace import Workspace

APPROVAL = "approval"
"""Kind of the journal entries."""

_log = logging.getLogger("selfheal.steering")


@dataclass(frozen=True)
class Approvals:
    """Who has approved a version, and how many must."""

    names: tuple[str, ...]
    needed: int

    @property
    def lack(self) -> int:
        """How many more must."""
        return max(0, self.needed - len(self.names))

    def __str__(self) -> str:
        by = ", ".join(self.names) or "nobody yet"
        return f"{len(self.names)} of {self.needed} approvals ({by})"

    def ask(self, name: str, version: int) -> str:
        """What a version of model ``name`` waits for."""
        more = f"{self.lack} more approval{'s' if self.lack > 1 else ''}"
        return f"{more}: {self}, selfheal approve {name} {version} --as NAME"


def approvals(ws: Workspace, name: str, info: VersionInfo, look: Look, policy: Release) -> Approvals:
    """The approvals of a version that count now: of the same adapter, in the place of what serves.

    Parameters
    ----------
    policy
        That section of the policy of record.
    """
    about = (info.version, info.tags.get("adapter_digest"), look.swap)
    names = [
        e.intent["actor"]
        for e in ws.table.journal(name, kind=APPROVAL)
        if (e.intent["version"], e.intent["digest"], e.intent["swap"]) == about
    ]
    return Approvals(tuple({who.casefold(): who for who in reversed(names)}.values())[::-1], policy.approvers)


def note_approval(ws: Workspace, name: str, info: VersionInfo, look: Look, who: str) -> None:
    """Journal that somebody approved a version."""
    intent = {
        "version": info.version, "digest": info.tags.get("adapter_digest"), "swap": look.swap, "actor": who,
        "reasons": [f"{who} approved version {info.version}"],
    }  # fmt: skip
    ws.table.journal_note(name, APPROVAL, intent, "approved", ws.clock())


def lacking(ws: Workspace, name: str, info: VersionInfo, look: Look) -> str:
    """What to say of a person's move that fewer people approved than the policy asks for; empty where none is missing.

    Whoever moved it counts as one: MLflow does not say who it was. A person is obeyed whatever keeps the policy from
    being read.
    """
    try:
        said = approvals(ws, name, info, look, policy_of_record(ws, name).policy.release)
    except SelfhealError as error:
        _log.warning("%s: the approvals of version %d were not counted: %s", name, info.version, error)
        return ""
    if said.lack == 0 or said.needed == 1:
        return ""
    return f"{max(1, len(said.names))} of {said.needed} approvals (release.approvers): another name should look at it"
