"""Whether the loop may release what it heals: the policy may leave that to people, and trust in its heals may be lost.

Where more of them harmed than the policy allows, each one waits and is asked. That is a fact of the journal, written
when the evidence reached its bound, and ended by a person only.
"""

from __future__ import annotations

from selfheal.errors import InputError
from selfheal.policy import Policy
from selfheal.steering.actors import AUDIT, is_person
from selfheal.steering.workspace import Workspace

TRUST = "trust"
"""Kind of the journal's entries about it; their ``step`` is one of the two below."""

LOST, GIVEN = "lost", "given"


def lose_trust(ws: Workspace, name: str, reason: str) -> None:
    """From now on the loop asks before it releases what it healed."""
    ws.table.journal_note(name, TRUST, {"step": LOST, "reasons": [reason]}, LOST, ws.clock())


def trust(ws: Workspace, name: str, actor: str, why: str) -> str:
    """Let the loop release its heals again; what was judged so far does not count any more.

    Returns
    -------
    str
        Why it had to ask; empty where it had not, and nothing is journaled.

    Raises
    ------
    NotFoundError
        No such model.
    InputError
        No name of a person, or no reason.
    """
    ws.table.schema(name)
    who, reason = actor.strip(), " ".join(why.split())
    if not who or not is_person(who) or who == AUDIT:
        raise InputError(f"trust is journaled under a person's name, which {actor!r} is none: --as NAME")
    if not reason:
        raise InputError("trust is journaled with its reason: --why TEXT; whoever comes next wants to know")
    before = lost_trust(ws, name)
    if before:
        ws.table.journal_note(name, TRUST, {"step": GIVEN, "actor": who, "reasons": [reason]}, GIVEN, ws.clock())
    return before


def lost_trust(ws: Workspace, name: str) -> str:
    """Why the loop's heals are not trusted; empty where they are."""
    newest = ws.table.journal(name, last=1, kind=TRUST)
    return newest[-1].intent["reasons"][0] if newest and newest[-1].intent["step"] == LOST else ""


def asks_first(ws: Workspace, name: str) -> str:
    """What a version that data alone found waits for where heals are not trusted; empty where they are."""
    why = lost_trust(ws, name)
    return f"labels, an audit or a person: {why}" if why else ""


def kept_for_people(policy: Policy) -> str:
    """What a version waits for where the policy leaves releases to people; empty where the loop may release."""
    approval = policy.release.approval
    return "" if approval == "auto" else f"a person: release.approval is {approval}"
