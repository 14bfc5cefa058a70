"""From Staging to Production, as the policy allows: at once, after an audit, or by a person only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from selfheal.policy import Policy
from selfheal.registry.versions import VersionInfo

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel
from selfheal.steering.actors import FLOW
from selfheal.steering.look import PRODUCTION, STAGING, last_look
from selfheal.steering.models import load_version
from selfheal.steering.policies import policy_of_record
from selfheal.steering.quarantine import like_on_its_window
from selfheal.steering.waits import Released, put_in, wait
from selfheal.steering.workspace import Workspace

ASKS = "asks"
"""Tag of a version that waits: ``fact`` where the owner of the data can answer, or ``labels``."""

LABELS_FITTED = "number.labels_fitted"
"""Tag of a version that was fitted to labels: how many. Unless they have proven it already, window by window, later
labels decide about it, whatever the policy makes of what data can't decide."""


def release(ws: Workspace, name: str, version: int) -> Released:
    """Put a healed version into Production if the policy, the quarantine and people allow it.

    Raises
    ------
    NotFoundError, ArtifactError, UnavailableError
        No such version; it can't be loaded; a store is away. Nothing was changed.
    """
    info = ws.registry.version(name, version)
    if info.stage == PRODUCTION:
        return Released(version, True, f"version {version} is in Production already")
    if info.stage != STAGING:
        return Released(version, False, f"version {version} is in stage {info.stage}: somebody took it out of Staging")
    model = load_version(ws, name, info)
    policy = policy_of_record(ws, name, model).policy
    waits = _waits(policy, info) or _in_quarantine(ws, name, info, model.with_policy(policy))
    if waits:
        return wait(ws, name, version, waits)
    parent = info.tags.get("parent", "")
    reason = f"{info.tags.get('diagnosis', 'healed')}: {info.description}"[:1000]
    return put_in(ws, name, version, FLOW, over=int(parent) if parent.isdigit() else None, reason=reason)


def recall(ws: Workspace, name: str, version: int, over: int, reason: str) -> Released:
    """Put a version that served before into Production again: a stage transition, no training.

    Parameters
    ----------
    over
        The version that it was compared with.
    """
    policy = policy_of_record(ws, name, load_version(ws, name, version)).policy
    if policy.release.approval == "manual":
        return wait(ws, name, version, f"to be recalled by a person: release.approval is manual ({reason})")
    return put_in(ws, name, version, FLOW, over=over, reason=reason, kind="recall")


def _waits(policy: Policy, info: VersionInfo) -> str:
    if policy.release.approval == "manual":
        return "a person: release.approval is manual"
    if LABELS_FITTED in info.tags and info.tags.get("verdict") != "promote":
        return "labels of the next windows: it was fitted to earlier ones"
    # The gate has read release.ambiguous already: an audit is asked for, whatever that says (max_changed, say).
    if info.tags.get("verdict") == "audit" and info.tags.get(ASKS) == "fact":
        return "an answer (selfheal audit), or a person"
    if info.tags.get("verdict") == "audit":
        return "an audit or a person: the gate asks for labels"
    return ""


def _in_quarantine(ws: Workspace, name: str, info: VersionInfo, model: MonitoredModel) -> str:
    look = last_look(ws, name)
    if look is None or not look.quarantined:
        return ""
    barred = [other for other in ws.registry.versions(name) if other.version in look.quarantined]
    like = like_on_its_window(ws, name, info, model, barred)
    if like is None:
        return ""
    return f"labels, an audit or a person: it predicts like version {like}, which was rolled back"
