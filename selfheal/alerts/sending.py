"""Tell each place what it was not told yet, in order, one sender at a time; and give signs of life.

Nothing here may fail whoever calls it: what goes wrong is logged, and tried again by the next call.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from selfheal.alerts.channels import NOT_INSTALLED, Channel, Place, addresses, installed
from selfheal.alerts.conditions import RAN
from selfheal.alerts.gathering import Marks, gather
from selfheal.errors import BusyError
from selfheal.policy import Policy
from selfheal.steering.leases import hold
from selfheal.steering.policies import policy_of_record
from selfheal.steering.workspace import Workspace

ALERTS_TTL = timedelta(seconds=30)
"""How long the lease of a sender that died keeps others waiting."""

EVERY_S = 10.0
"""Between two looks of the helper beside a service: some five small queries."""

PATIENCE_S = 10.0
"""For the watchdog that a run's end is told to."""

_log = logging.getLogger("selfheal.alerts")
_warned: set[str] = set()


def tell(ws: Workspace, name: str, more: Sequence[Channel] = (), known: Marks | None = None) -> None:
    """Write what happened to the outbox, and send what waits there.

    Parameters
    ----------
    more
        Channels beside the addresses in ``SELFHEAL_ALERTS``.
    known
        See :func:`gather`.
    """
    try:
        gather(ws, name, known)
        for channel in (*_places(ws), *more):
            deliver(ws, name, channel)
    except Exception as error:  # an alert that fails must fail nothing else
        _once(f"{name}: alerts were not sent, and are tried again: {error or type(error).__name__}")


def deliver(ws: Workspace, name: str, channel: Channel) -> None:
    """Send what waits for one place, until it fails: then the rest waits too, for they come in order."""
    outbox = ws.table.outbox
    if not outbox.due(name, channel.key):
        return
    try:
        with hold(ws, f"alerts:{name}:{channel.key}", ttl=ALERTS_TTL) as lease:
            for row in outbox.due(name, channel.key):
                lease.renew()
                error = channel.send(row)
                if error:
                    wait = outbox.failed(row, channel.key, channel.shown, error)
                    _log.warning("%s: %s was not told, again in %s: %s", name, channel.shown, wait, error)
                    return
                ws.checkpoint("alert sent")
                outbox.sent(row, channel.key, channel.shown)
    except BusyError:
        return  # another process sends


def finished(ws: Workspace, name: str, policy: Policy | None = None) -> Marks:
    """A monitor run has finished: mark it, and tell the watchdog that ``SELFHEAL_HEARTBEAT_URL`` names.

    Parameters
    ----------
    policy
        The one of record, if the run has read it.

    Returns
    -------
    Marks
        As they are now.
    """
    every = (policy or policy_of_record(ws, name).policy).monitor.every
    now, marks = ws.table.outbox.marks(name)
    gap = now - marks[RAN][1] if RAN in marks else every  # longer where a schedule of one's own is
    rhythm = f"{max(gap, every).total_seconds():.0f}"
    ws.table.outbox.set_mark(name, RAN, rhythm)
    if ws.settings.heartbeat_url:
        _knock(name, ws.settings.heartbeat_url)
    return now, {**marks, RAN: (rhythm, now)}


def _knock(name: str, url: str) -> None:
    """Tell the watchdog."""
    import requests

    try:
        requests.get(url, timeout=PATIENCE_S).raise_for_status()
    except requests.RequestException as error:  # its text holds the address, which may be a secret
        answer = getattr(error.response, "status_code", type(error).__name__)
        _log.warning("%s: SELFHEAL_HEARTBEAT_URL was not told that a run has finished: %s", name, answer)


@dataclass
class End:
    """What a run knows that ends: the policy of record, once it has read it."""

    policy: Policy | None = None


@contextmanager
def told_at_the_end(ws: Workspace, name: str, more: Sequence[Channel] = ()) -> Iterator[End]:
    """A monitor run: what came of it is told however it ends, and a sign of life given where it finished."""
    end, marks = End(), None
    try:
        yield end
    except Exception:
        tell(ws, name, more)
        raise
    try:
        marks = finished(ws, name, end.policy)
    except Exception as error:
        _once(f"{name}: the end of the run was not marked: {error or type(error).__name__}")
    tell(ws, name, more, marks)


def keep_telling(ws: Workspace, name: str) -> threading.Event:
    """Tell from a thread, until the event that is returned is set or the process ends: sending may take its time."""
    stop = threading.Event()

    def go_on() -> None:
        while not stop.wait(EVERY_S):
            tell(ws, name)

    threading.Thread(target=go_on, name=f"alerts of {name}", daemon=True).start()
    return stop


def _places(ws: Workspace) -> list[Place]:
    urls = addresses(ws.settings.alerts)
    if urls and not installed():
        _once(NOT_INSTALLED)
        return []
    return [Place(url, ws.settings.tracking_uri) for url in urls]


def _once(words: str) -> None:
    """Log what every round would say again."""
    if words not in _warned:
        _warned.add(words)
        _log.error("%s", words)
