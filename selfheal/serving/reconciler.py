"""The helper process beside a scoring service: it alone on the host talks to MLflow.

``python -m selfheal.serving.reconciler MODEL...`` fetches bases into the cache and settles stage changes (under a
lease: of all hosts one does). It ends with the process that started it, and writes it a byte after every round. What it
found is in the database, for the services of all hosts and for ``selfheal status``.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfheal.errors import ArtifactError, NotFoundError, SelfhealError

if TYPE_CHECKING:
    from selfheal.steering.workspace import Workspace

EVERY_S = 1.0
"""Between two looks at MLflow, 7-10 ms of CPU each; a person's change is settled within 5 s. Not niced: a starved
helper holds the lease without settling anything."""

WHOLE_S = 5.0
"""Between two whole looks at a store that nobody has written to: only its file's time is asked every :data:`EVERY_S`. A
journal entry that another process left open is found by them."""

BEAT_S = 5.0
"""Between two heartbeats while nothing new is found: each is a commit, 1 to 10 ms."""

_log = logging.getLogger("selfheal.reconciler")


class Rounds:
    """One look after another: each settles what changed and says how it went."""

    def __init__(self, ws: Workspace, model: str) -> None:
        self.ws, self.model = ws, model
        self.holder = f"{socket.gethostname()}:{os.getpid()}"
        self._fetched = ("", "")
        self._said = self._beaten = ""
        self._told: set[str] = set()
        self._due = self._shadows_due = self._whole_due = 0.0
        self._stamp: tuple[int, ...] | None = None
        self._production = ""

    def go(self) -> None:
        """One round; whatever fails is said once and tried again by the next."""
        try:
            self._beat(self._look())
            self._said = ""
        except Exception as error:  # it must outlive what nobody thought of: without it no stage change is served
            self._failed(error)

    def _look(self) -> str:
        """Settle the stages, where something may have changed; why Production can't be served, or empty."""
        stamp, now = self.ws.registry.stamp, time.monotonic()
        if stamp is None or stamp != self._stamp or now >= self._whole_due:
            self._stamp = None  # until this look has ended well
            self._production, settled = self._settle()
            self._stamp, self._whole_due = stamp if settled else None, now + WHOLE_S
        return self._production

    def _settle(self) -> tuple[str, bool]:
        """Why Production can't be served, or empty; and whether nothing is left to settle."""
        from selfheal.steering.reconciler import reconcile
        from selfheal.steering.shadowing import tell_shadows

        try:
            pointer = self.ws.table.pointer(self.model)
            if pointer is not None and (pointer.base_digest, pointer.base_manifest) != self._fetched:
                self.ws.registry.base_dir(self.model, pointer.base_version)
                self._fetched = (pointer.base_digest, pointer.base_manifest)
            stand = reconcile(self.ws, self.model).stand
            if time.monotonic() >= self._shadows_due:
                tell_shadows(self.ws, stand)
                self._shadows_due = time.monotonic() + BEAT_S
        except (ArtifactError, NotFoundError) as error:
            return str(error), False
        return "", stand.is_settled

    def _beat(self, production: str) -> None:
        from selfheal.steering.troubles import troubles

        if production == self._beaten and not self._said and time.monotonic() < self._due:
            return
        complaints = troubles(self.ws, self.model) | ({"production": production} if production else {})
        self.ws.table.heartbeats.beat(self.model, self.holder, complaints)
        for words in set(complaints.values()) - self._told:
            _log.error("%s", words)
        self._told = set(complaints.values())
        self._beaten, self._due = production, time.monotonic() + BEAT_S

    def _failed(self, error: Exception) -> None:
        words = str(error) or type(error).__name__
        if words != self._said:
            _log.error("%s", words, exc_info=not isinstance(error, SelfhealError))
        elif time.monotonic() < self._due:
            return
        self._said, self._due = words, time.monotonic() + BEAT_S
        with contextlib.suppress(SelfhealError):  # the database may be what failed
            self.ws.table.heartbeats.miss(self.model, self.holder, words)

    def end(self) -> None:
        """Say that it stops on purpose."""
        with contextlib.suppress(SelfhealError):
            self.ws.table.heartbeats.end(self.model, self.holder)
        self.ws.table.close()


def run(models: Sequence[str], parent: int, progress: int) -> None:
    """Reconcile until the parent is gone, writing a byte to the descriptor ``progress`` after every round."""
    from selfheal.alerts import keep_telling
    from selfheal.steering.workspace import open_workspace

    ws = open_workspace()
    every = [Rounds(ws, model) for model in models]
    stops = [keep_telling(ws, model) for model in models]
    try:
        while os.getppid() == parent:
            for rounds in every:
                rounds.go()
                os.write(progress, b".")
            if not gc.isenabled():
                gc.freeze()
                gc.enable()
            time.sleep(EVERY_S)
    except BrokenPipeError:
        pass  # the parent is gone
    finally:
        for stop, rounds in zip(stops, every, strict=True):
            stop.set()
            rounds.end()


def _leave(signum: int, frame: object) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    signal.signal(signal.SIGTERM, _leave)
    gc.disable()  # until after the first round all is imported: it stays, hundreds of thousands of objects
    pipe = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no progress
    run(sys.argv[1:], os.getppid(), pipe)
