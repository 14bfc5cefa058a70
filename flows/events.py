"""Alerts as Prefect events, ``selfheal.promoted`` and so on, and labels that came: for automations."""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from prefect.events import emit_event

from selfheal.alerts.message import Message, identity
from selfheal.table import AlertRow

LABELS = "selfheal.labels"
"""The event that labels have come."""


def resource(model: str) -> str:
    """A model as a resource of events."""
    return f"selfheal.model.{model}"


def labels_came(model: str, stored: int) -> None:
    """Emit that labels of a model were stored."""
    about = {"prefect.resource.id": resource(model), "prefect.resource.name": model}
    emit_event(event=LABELS, resource=about, payload={"stored": stored})


class Events:
    """Prefect as a place that is told."""

    key = shown = "prefect"

    def send(self, row: AlertRow) -> str:
        """Emit an event; one that is emitted again has the same id, by which the server knows it."""
        message, name = Message.from_json(row.record), identity(row)
        emit_event(
            event=message.event,
            occurred=row.at,
            resource={"prefect.resource.id": resource(row.model), "prefect.resource.name": row.model},
            payload={**message.to_json(), "alert": name},
            id=uuid5(NAMESPACE_URL, f"selfheal:{name}:{row.at.isoformat()}"),
        )
        return ""
