"""From Staging to Production, as the policy allows: at once, after an audit, or by a person only."""

from __future__ import annotations

from dataclasses import dataclass

from selfheal.errors import InputError
from selfheal.policy import Policy
from selfheal.registry.versions import VersionInfo
from selfheal.steering.actors import AUDIT, FLOW, is_person
from selfheal.steering.approvals import Approvals, approvals, note_approval
from selfheal.steering.look import PRODUCTION, STAGING, Look, last_look
from selfheal.steering.models import load_version
from selfheal.steering.policies import policy_of_record
from selfheal.steering.quarantine import quarantined
from selfheal.steering.reconciler import reconcile
from selfheal.steering.shadowing import unshadowed
from selfheal.steering.stages import promote
from selfheal.steering.trusts import asks_first, kept_for_people, lost_trust
from selfheal.steering.waits import Order, Released, hold_for_shadow, put_in, wait
from selfheal.steering.workspace import Workspace

ASKS = "asks"
"""Tag of a version that waits: ``fact`` where the owner of the data can answer, or ``labels``."""

LABELS_FITTED = "number.labels_fitted"
"""Tag of a version that was fitted to labels: how many. Unless they have proven it already, window by window, later
labels decide about it, whatever the policy makes of what data can't decide."""


def release(ws: Workspace, name: str, version: int | VersionInfo) -> Released:
    """Put a healed version into Production if the policy, the quarantine and people allow it.

    Parameters
    ----------
    version
        Its number, or what MLflow said of it just now.

    Raises
    ------
    NotFoundError, ArtifactError, UnavailableError
        No such version; it can't be loaded; a store is away. Nothing was changed.
    """
    info = version if isinstance(version, VersionInfo) else ws.registry.version(name, version)
    version = info.version
    if info.stage == PRODUCTION:
        return Released(version, True, f"version {version} is in Production already")
    if info.stage != STAGING:
        return Released(version, False, f"version {version} is in stage {info.stage}: somebody took it out of Staging")
    model = load_version(ws, name, info)
    policy = policy_of_record(ws, name, model).policy
    look, lack = Look(), ""
    waits = _waits(policy, info) or asks_first(ws, name)
    if not waits:
        look = last_look(ws, name) or look
        waits = quarantined(ws, name, info, model.with_policy(policy), look)
        lack = unshadowed(policy, info, look) if info.lineage.parent == look.settled else ""
    if waits:
        return wait(ws, name, version, waits)
    reason = f"{info.lineage.diagnosis or 'healed'}: {info.summary}"[:1000]
    if lack:
        return hold_for_shadow(ws, name, info, Order("promote", FLOW, look.settled, look.swap, reason), lack)
    return put_in(ws, name, version, FLOW, over=info.lineage.parent, reason=reason)


def recall(ws: Workspace, name: str, version: int, over: int, reason: str) -> Released:
    """Put a version that served before into Production again: a stage transition, no training.

    Parameters
    ----------
    over
        The version that it was compared with.
    """
    policy = policy_of_record(ws, name, load_version(ws, name, version)).policy
    waits = f"{kept}, to be recalled: {reason}" if (kept := kept_for_people(policy)) else ""
    if not waits and (lost := lost_trust(ws, name)):
        waits = f"a person, to be recalled: {reason}; {lost}"
    if waits:
        return wait(ws, name, version, waits)
    return put_in(ws, name, version, FLOW, over=over, reason=reason, kind="recall")


@dataclass(frozen=True)
class Approved:
    """What came of an approval.

    Attributes
    ----------
    version, approvals
        The version, and who has approved it by now.
    promoted
        Whether it serves.
    before
        Whether it served already: then there was nothing to approve, and nothing was journaled.
    """

    name: str
    version: int
    approvals: Approvals
    promoted: bool
    before: bool = False


def approve(ws: Workspace, name: str, version: int, actor: str) -> Approved:
    """Approve a version; it goes to Production with the last name that ``release.approvers`` asks for.

    What was approved before is asked again by the same name without effect, so that a crash just then is mended by
    approving once more. People's approvals override what keeps a flow from promoting, and a freeze.

    Raises
    ------
    NotFoundError, ArtifactError, UnavailableError
        No such version; it can't be loaded; a store is away.
    InputError
        No name, or one of these programs'.
    """
    who = " ".join(actor.split())
    if not who or not is_person(who) or who == AUDIT:
        raise InputError(f"an approval is journaled under a person's name, which {actor!r} is none: --as NAME")
    settled = reconcile(ws, name)
    info, look = settled.stand.version(version), settled.stand.look or Look()
    policy = policy_of_record(ws, name).policy.release
    said = approvals(ws, name, info, look, policy)
    if look.settled == version:
        return Approved(name, version, said, True, before=True)
    if who.casefold() not in {n.casefold() for n in said.names}:
        note_approval(ws, name, info, look, who)
        ws.checkpoint("approved")
        said = approvals(ws, name, info, look, policy)
    if said.lack:
        wait(ws, name, version, said.ask(name, version))
        return Approved(name, version, said, False)
    promote(ws, name, version, ", ".join(said.names), reason=str(said))
    return Approved(name, version, said, True)


def _waits(policy: Policy, info: VersionInfo) -> str:
    if kept := kept_for_people(policy):
        return kept
    if LABELS_FITTED in info.tags and info.lineage.verdict != "promote":
        return "labels of the next windows: it was fitted to earlier ones"
    # The gate has read release.ambiguous already: an audit is asked for, whatever that says (max_changed, say).
    if info.lineage.verdict == "audit" and info.tags.get(ASKS) == "fact":
        return "an answer (selfheal audit), or a person"
    if info.lineage.verdict == "audit":
        return "an audit or a person: the gate asks for labels"
    return ""
