"""Automations for a Prefect server: late labels are acted on at once, and an alert goes where Prefect's blocks send it.

``python -m flows --automate`` makes them, and changes those that it made before; others are left alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound

from flows.events import LABELS, resource
from selfheal.errors import InputError, NotFoundError

ALERTS = (
    "alarm", "approval", "data_fault", "degraded", "given_up", "log", "log_labels", "monitor", "policy", "production",
    "quarantined", "question", "reconciler", "restored", "retrain", "rolled_back", "trial", "trust", "waits", "worse",
)  # fmt: skip
"""Kinds of alerts that ask for somebody; that something is over, or was promoted, does not."""

BODY = """{{ event.payload.what }}
since: {{ event.payload.since }}
done: {{ event.payload.done }}
next: {{ event.payload.next }}
alert: {{ event.payload.alert }}
"""


def on_labels(model: str, deployment: UUID) -> AutomationCore:
    """When labels have come: what they say is acted on without waiting for the next window."""
    return AutomationCore(
        name=f"selfheal: labels of {model}",
        description=f"Labels of {model} have come: maintain judges estimates, decisions and what waits by them.",
        trigger=EventTrigger(expect={LABELS}, match=_of(model), posture="Reactive", threshold=1),
        actions=[RunDeployment(deployment_id=deployment)],
    )


def on_alert(model: str, block: UUID) -> AutomationCore:
    """When somebody should look: the alert, by a notification block of Prefect."""
    subject = f"selfheal {model}: " + "{{ event.payload.what }}"
    return AutomationCore(
        name=f"selfheal: alerts of {model}",
        description=f"Something is wrong with {model}, or waits for a person.",
        trigger=EventTrigger(
            expect={f"selfheal.{kind}" for kind in ALERTS}, match=_of(model), posture="Reactive", threshold=1
        ),
        actions=[SendNotification(block_document_id=block, subject=subject, body=BODY)],
    )


def automate(models: Sequence[str], block: str = "") -> list[str]:
    """Make both of each model; names of those that were made or changed.

    Parameters
    ----------
    block
        Notification block as ``TYPE/NAME``, ``slack-webhook/team`` say; without one alerts get no automation.

    Raises
    ------
    NotFoundError
        The server has no such block, or no deployment ``maintain MODEL``: it must be served first.
    InputError
        A block that is not ``TYPE/NAME``.
    """
    with get_client(sync_client=True) as client:
        document = _block(client, block) if block else None
        wanted = [on_labels(model, _deployment(client, model)) for model in models]
        wanted += [on_alert(model, document) for model in models] if document else []
        for each in wanted:
            _put(client, each)
    return [each.name for each in wanted]


def _put(client: SyncPrefectClient, wanted: AutomationCore) -> None:
    existing = client.read_automations_by_name(wanted.name)
    if not existing:
        client.create_automation(wanted)
        return
    known = wanted.model_dump(exclude={"owner_resource", "enabled"})
    for each in existing:  # an update leaves out what was not set, types too; one that somebody paused stays so
        client.update_automation(each.id, AutomationCore(**known, enabled=each.enabled))


def _deployment(client: SyncPrefectClient, model: str) -> UUID:
    name = f"maintain/maintain {model}"
    try:
        return client.read_deployment_by_name(name).id
    except ObjectNotFound:
        raise NotFoundError(
            f"the Prefect server has no deployment {name!r}; serve it first: selfheal up, python -m flows.deployments, "
            "or prefect deploy --all"
        ) from None


def _block(client: SyncPrefectClient, block: str) -> UUID:
    kind, slash, name = block.partition("/")
    if not (kind and slash and name):
        raise InputError(f"--notify {block!r} is no block; give TYPE/NAME, as prefect block ls shows it")
    try:
        return client.read_block_document_by_name(name, kind).id
    except ObjectNotFound:
        raise NotFoundError(f"the Prefect server has no block {block!r}; prefect block ls shows those it has") from None


def _of(model: str) -> dict[str, str]:
    return {"prefect.resource.id": resource(model)}
