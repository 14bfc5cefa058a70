"""An alert in words: what happened, since when, what was done, what to type next. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from selfheal.errors import printable
from selfheal.table import AlertRow

Urgency = Literal["info", "success", "warning", "failure"]

LONGEST = 600
"""Characters of a part: a phone shows no more, and `selfheal status` has it all."""


@dataclass(frozen=True)
class Message:
    """One change of state.

    Attributes
    ----------
    kind
        ``promoted``, ``rolled_back``, ``restored``, ``quarantined``, ``approval``, ``question``, ``waits``, ``frozen``,
        ``unfrozen``, ``given_up``, ``trial``, ``trust`` or ``digest``; or a condition: ``data_fault``, ``alarm``,
        ``retrain``, ``degraded``, ``worse``, ``policy``, ``production``, ``reconciler``, ``monitor``, ``log``,
        ``log_labels``.
    what
        In one line.
    since
        ISO time, UTC.
    done, next
        What was done about it, and what to type.
    urgency
        As Apprise has them.
    run, version
        The MLflow run and the version that it is about, where they are known.
    over
        Whether a condition ended.
    """

    kind: str
    what: str
    since: str
    done: str = ""
    next: str = ""
    urgency: Urgency = "warning"
    run: str = ""
    version: int | None = None
    over: bool = False

    @property
    def event(self) -> str:
        """Its name as an event: ``selfheal.promoted``, ``selfheal.alarm``, ``selfheal.alarm.over``."""
        return f"selfheal.{self.kind}{'.over' if self.over else ''}"

    def to_json(self) -> dict[str, Any]:
        """As a JSON record."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Message:
        """The inverse; what a newer release wrote beside it is left out."""
        return cls(**{name: record[name] for name in cls.__dataclass_fields__ if name in record})


def identity(row: AlertRow) -> str:
    """The name of an alert, the same in every message of it."""
    return f"{row.model}-{row.id}"


def title(row: AlertRow) -> str:
    """The subject of a message."""
    message = Message.from_json(row.record)
    return line(f"selfheal {row.model}: {'over: ' if message.over else ''}{message.what}", 160)


def body(row: AlertRow, tracking_uri: str) -> str:
    """The text of a message.

    Parameters
    ----------
    tracking_uri
        Of MLflow: pages are linked where it is a server.
    """
    message = Message.from_json(row.record)
    parts = [
        ("", message.what),
        ("since", f"{message.since[:19].replace('T', ' ')} UTC" if message.since else ""),
        ("done", message.done),
        ("next", message.next),
        ("MLflow run", message.run),
        ("see", _page(row.model, message.version, tracking_uri)),
        ("alert", identity(row)),
    ]
    return "\n".join(f"{name + ': ' if name else ''}{line(text)}" for name, text in parts if text)


def _page(model: str, version: int | None, tracking_uri: str) -> str:
    if version is None or not tracking_uri.startswith(("http://", "https://")):
        return ""
    return f"{_without_login(tracking_uri)}/#/models/{model}/versions/{version}?workflowType=machine_learning"


def _without_login(uri: str) -> str:
    scheme, _, rest = uri.rstrip("/").partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def line(text: str, most: int = LONGEST) -> str:
    """Words from anywhere, in one line."""
    return printable(" ".join(text.split()), most)
