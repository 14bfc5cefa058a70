"""The one door to Apprise, which knows a hundred kinds of places: mail, Slack, PagerDuty, webhooks."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import re
from typing import Protocol
from urllib.parse import urlsplit

from selfheal.alerts.message import Message, body, line, title
from selfheal.table import AlertRow

NOT_INSTALLED = (
    "SELFHEAL_ALERTS names places to tell, and apprise is not installed here: pip install 'selfheal[worker]'. Alerts "
    "are kept, and sent by a process that has it"
)


class Channel(Protocol):
    """Somewhere that is told alerts, one by one.

    Attributes
    ----------
    key, shown
        Its name in the database, and for people: both without secrets.
    """

    @property
    def key(self) -> str:
        """Its name in the database."""

    @property
    def shown(self) -> str:
        """Its name for people."""

    def send(self, row: AlertRow) -> str:
        """Tell it; why it was not told, or empty."""


def installed() -> bool:
    """Whether Apprise is here; it is imported only where something is to be sent."""
    return importlib.util.find_spec("apprise") is not None


def addresses(text: str) -> list[str]:
    r"""The URLs of ``SELFHEAL_ALERTS``. A comma within one stays.

    >>> addresses("json://a/x, mailto://u:p@b?to=c,d\nslack://e")
    ['json://a/x', 'mailto://u:p@b?to=c,d', 'slack://e']
    """
    parts = re.split(r"[\n,]\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)|\n", text)
    return list(dict.fromkeys(part.strip(" ,\t\r") for part in parts if part.strip(" ,\t\r")))


class Place:
    """An Apprise URL."""

    def __init__(self, url: str, tracking_uri: str) -> None:
        self._url, self._tracking_uri = url, tracking_uri
        self.key = hashlib.sha256(url.encode()).hexdigest()[:16]
        parts = urlsplit(url)
        # What stands where a host would is a token for many services.
        known = parts.scheme in ("json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos")
        host = parts.netloc.rpartition("@")[2] if known else ""
        self.shown = line(f"{parts.scheme or 'address'}://{host or self.key[:6]}", 80)

    def send(self, row: AlertRow) -> str:
        """Tell it; why it was not told, or empty."""
        import apprise

        logging.getLogger("apprise").propagate = False  # it logs addresses whole
        place = apprise.Apprise()
        if not place.add(self._url):
            return "apprise knows no such address: see its list of services, and quote what is special in a URL"
        urgency = apprise.NotifyType(Message.from_json(row.record).urgency)
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
            done = place.notify(
                title=title(row),
                body=body(row, self._tracking_uri),
                notify_type=urgency,
                body_format=apprise.NotifyFormat.TEXT,
            )
            words = said.getvalue()
        return "" if done else line(words, 200) or "it was not taken"
