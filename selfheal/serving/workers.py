"""Several processes on one socket: started, started again when they die, replaced one after the other on SIGHUP.

Each is a whole service with a log of its own; what one that was killed left in its files, its successor logs. The
parent only watches, and holds the sockets: connections wait in them while workers change.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any

from selfheal.errors import UnavailableError
from selfheal.serving.watchdog import BACKOFF_S

TICK_S = 0.1
STARTS_S = 120.0
"""How long a worker may take until it answers: some 8 s of imports on a free core."""
ENDS_S = 30.0
"""How long one that drained may take to close its connections and flush its log; then it is killed."""

_log = logging.getLogger("selfheal.serving")


@dataclass
class Worker:
    """A process, and whether it has said that it answers."""

    process: subprocess.Popen[bytes]
    started: float
    ready: bool = False

    def look(self) -> bool:
        """Whether it answers."""
        if not self.ready and self.process.stdout is not None:
            self.ready = bool(self.process.stdout.read(1))
        return self.ready

    def end(self, seconds: float) -> None:
        """Tell it to end, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            _log.error("worker %d does not end and is killed", self.process.pid)
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Fleet:
    """The workers of one service.

    Parameters
    ----------
    setup
        What every worker is told.
    bound, apart
        The socket that all listen on; one for each worker's /metrics, or none.
    environ
        Variables beside those of this process.
    """

    def __init__(
        self,
        setup: Mapping[str, Any],
        count: int,
        bound: socket.socket,
        apart: Sequence[socket.socket],
        environ: Mapping[str, str],
    ) -> None:
        self._setup, self._bound, self._apart, self._environ = dict(setup), bound, list(apart), dict(environ)
        self._ends_s = float(setup["drain_s"]) + ENDS_S
        self._signals: list[int] = []
        self._failures, self._due = [0] * count, [0.0] * count
        self.workers = [self._start(index) for index in range(count)]

    def run(self, on_ready: Callable[[], None]) -> None:
        """Watch until SIGINT or SIGTERM.

        Raises
        ------
        UnavailableError
            A worker ended before it answered the first time.
        """
        handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self.tell) for number in handled}
        try:
            if self._all_ready():
                on_ready()
                while not self._stops():
                    time.sleep(TICK_S)
                    if signal.SIGHUP in self._signals:
                        self._signals.clear()
                        self._roll()
                    self._watch(time.monotonic())
        finally:
            self._end()
            for number, handler in before.items():
                signal.signal(number, handler)

    def tell(self, number: int, frame: FrameType | None = None) -> None:
        """Let :meth:`run` see to a signal: SIGTERM and SIGINT end it, SIGHUP replaces the workers."""
        self._signals.append(number)

    def _stops(self) -> bool:
        return signal.SIGTERM in self._signals or signal.SIGINT in self._signals

    def _start(self, index: int) -> Worker:
        sockets = [self._bound, *self._apart[index : index + 1]]
        fds = [each.fileno() for each in sockets]
        setup = self._setup | {"index": index, "sockets": fds, "parent": os.getpid()}
        command = [sys.executable, "-m", "selfheal.serving.worker", json.dumps(setup)]
        process = subprocess.Popen(
            command, env=os.environ | self._environ, stdout=subprocess.PIPE, pass_fds=fds, bufsize=0
        )
        assert process.stdout is not None  # noqa: S101  it was asked for
        os.set_blocking(process.stdout.fileno(), False)
        return Worker(process, time.monotonic())

    def _all_ready(self) -> bool:
        while not self._stops():
            if all([worker.look() for worker in self.workers]):
                return True
            for index, worker in enumerate(self.workers):
                if (status := worker.process.poll()) is not None or self._late(worker):
                    how = f"ended with status {status}" if status is not None else f"took more than {STARTS_S:g} s"
                    raise UnavailableError(f"worker {index} {how} before it answered; its own words are above")
            time.sleep(TICK_S)
        return False

    def _late(self, worker: Worker) -> bool:
        return not worker.ready and time.monotonic() - worker.started > STARTS_S

    def _watch(self, now: float) -> None:
        """Start again what has died, at once at first and more slowly if it goes on dying."""
        for index, worker in enumerate(self.workers):
            if worker.process.poll() is None:
                worker.look()
                if self._late(worker):
                    worker.process.kill()
            elif self._due[index] == 0.0:
                self._failures[index] = 1 if worker.ready else self._failures[index] + 1
                wait = 0.0 if worker.ready else BACKOFF_S[min(self._failures[index], len(BACKOFF_S)) - 1]
                self._due[index] = now + wait
                _log.error("worker %d has died (status %s)", index, worker.process.returncode)
            if 0.0 < self._due[index] <= now:
                worker.end(0)
                self.workers[index], self._due[index] = self._start(index), 0.0

    def _roll(self) -> None:
        """Replace one after the other, each once its successor answers; at the first that does not, all stay."""
        for index, before in enumerate(self.workers):
            after = self._start(index)
            while not (after.look() or self._stops() or self._late(after) or after.process.poll() is not None):
                time.sleep(TICK_S)
            if not after.ready:
                after.end(self._ends_s)
                _log.error("a new worker did not answer; the others stay as they are")
                return
            self.workers[index], self._due[index] = after, 0.0
            before.end(self._ends_s)

    def _end(self) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.terminate()
        for worker in self.workers:
            worker.end(self._ends_s)


def end_with(parent: int) -> None:
    """Let this process end in order when its parent is gone."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="selfheal-parent", daemon=True).start()
