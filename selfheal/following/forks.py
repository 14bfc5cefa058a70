"""Followers through ``os.fork``: their threads hold still while it copies the process, and the child begins anew.

A lock that another thread holds at that moment stays locked in the child for ever, within SQLite and MLflow too. And no
connection may be open: to SQLite a child would seem to hold the locks of its parent's, which end with the parent, and
whoever closes the file last would take the child's unread rows away.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from typing import Any, Protocol

PATIENCE_S = 1.0
"""How long a fork waits for a thread to hold still: a commit takes up to 0.2 s, a database that hangs is not waited
for."""


class Connections(Protocol):
    """What one process has of a follower: threads and connections."""

    @property
    def busy(self) -> list[threading.Lock]:
        """Held by its threads while they use a connection."""

    def disconnect(self) -> None:
        """Leave no connection open; the next use opens one."""


class Forked(Protocol):
    """What is to go on in a child."""

    def here(self) -> Connections | None:
        """What this process has of it."""

    def inherit(self) -> None:
        """In the child: its threads are gone. What they had is not used, nor ever closed, here."""


_followers: weakref.WeakSet[Forked] = weakref.WeakSet()
_held: list[Any] = []
_forking = threading.Lock()


def watch(follower: Forked) -> None:
    """Take care of it whenever this process forks."""
    _followers.add(follower)


def forget(follower: Forked) -> None:
    """It is closed."""
    _followers.discard(follower)


def _before() -> None:
    _forking.acquire()
    for here in [follower.here() for follower in list(_followers)]:
        if here is not None:
            got = [lock for lock in here.busy if lock.acquire(timeout=PATIENCE_S)]
            _held.extend(got)
            if len(got) == len(here.busy):
                here.disconnect()


def _after_in_parent() -> None:
    for lock in _held:
        lock.release()
    _held.clear()
    _forking.release()


def _after_in_child() -> None:
    global _forking
    _forking = threading.Lock()
    _held.clear()
    for follower in list(_followers):
        follower.inherit()
    if _followers and "torch" in sys.modules:
        # The threads of torch's pool are not in the child either, and a large batch would wait for them for ever.
        sys.modules["torch"].set_num_threads(1)


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
