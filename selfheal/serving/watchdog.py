"""Keeps the reconciler beside a scoring service running: one that died is started again, one that hangs is killed."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from selfheal.serving.turns import Turns
from selfheal.settings import Settings
from selfheal.table.heartbeat import STALE_S

HANGS_S = 180.0
"""Without a finished round for this long it is killed. The longest honest one waits for an MLflow that does not answer
(three tries of 30 s), or fetches a base of gigabytes."""

STARTS_S = 60.0
"""How long the first round may take: importing MLflow alone takes 10-20 s on a busy box."""

BACKOFF_S = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Wait before the n-th restart in a row; a minute of life starts anew."""

TICK_S = 0.5

_log = logging.getLogger("selfheal.serving")


class Reconciler:
    """The helper process of one service.

    Parameters
    ----------
    command, environ
        What to run, and variables beside those of this process. It writes to its standard output whenever it has
        made progress.
    hangs_s, starts_s, backoff_s
        See the constants.

    Attributes
    ----------
    ended, hung
        How often it was found dead, or killed because it made no progress.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        hangs_s: float = HANGS_S,
        starts_s: float = STARTS_S,
        backoff_s: Sequence[float] = BACKOFF_S,
    ) -> None:
        self._command, self._environ = list(command), dict(environ)
        self._hangs_s, self._backoff_s = hangs_s, backoff_s
        self.ended = self.hung = 0
        self._last = ""
        self._failures, self._due = 0, 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._heard_at = time.monotonic() + starts_s  # it need not be heard before
        self._start()
        self._turns = Turns("selfheal-reconciler", self._watch, lambda: min(TICK_S, self._hangs_s / 4))
        self._turns.start()

    @classmethod
    def of(cls, models: Sequence[str], settings: Settings) -> Reconciler:
        """The reconciler of some models in an installation."""
        return cls([sys.executable, "-m", "selfheal.serving.reconciler", *models], settings.environ())

    @property
    def age(self) -> float:
        """Seconds since it last made progress; 0 while it still may be starting."""
        return max(0.0, time.monotonic() - self._heard_at)

    def complaint(self) -> str:
        """Why it is not well, and since when; empty when it is."""
        age = self.age
        if age <= STALE_S:
            return ""
        since = datetime.now(UTC) - timedelta(seconds=age)
        return (
            f"the reconciler beside this service has made no progress since {since:%Y-%m-%d %H:%M:%S} UTC ({age:.0f} s)"
            f"{self._last}; it is started again when it ends, and killed after {self._hangs_s:g} s without progress. "
            "The service's log says why"
        )

    def close(self) -> None:
        """End it."""
        self._turns.close()
        if self._child is None:
            return
        with self._child:  # closes the pipe
            self._child.terminate()
            with suppress(AttributeError):
                self._child.send_signal(signal.SIGCONT)  # one that was stopped would not hear
            try:
                self._child.wait(5)
            except subprocess.TimeoutExpired:
                self._child.kill()

    def _start(self) -> None:
        self._child = subprocess.Popen(self._command, env=os.environ | self._environ, stdout=subprocess.PIPE)
        os.set_blocking(self._pipe, False)
        self._started = self._active = time.monotonic()

    @property
    def _pipe(self) -> int:
        if self._child is None or self._child.stdout is None:
            raise AssertionError("a pipe was asked for")
        return self._child.stdout.fileno()

    def _watch(self) -> None:
        try:
            self._tick(time.monotonic())
        except Exception:  # without this thread nobody starts it again
            _log.exception("watching the reconciler failed")

    def _tick(self, now: float) -> None:
        if self._child is None:
            if now >= self._due:
                self._start()
            return
        with suppress(BlockingIOError):
            if os.read(self._pipe, 65536):
                self._heard_at = self._active = now
                self._last = ""
        status = self._child.poll()
        if status is not None:
            self.ended += 1
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            self._bury(now, how)
        elif now - self._active > self._hangs_s:
            self.hung += 1
            self._child.kill()  # also one that was stopped
            self._child.wait()
            self._bury(now, f"made no progress for {self._hangs_s:g} s and was killed")

    def _bury(self, now: float, how: str) -> None:
        if self._child is not None and self._child.stdout is not None:
            self._child.stdout.close()
        self._child = None
        self._failures = 1 if now - self._started > self._backoff_s[-1] else self._failures + 1
        wait = self._backoff_s[min(self._failures, len(self._backoff_s)) - 1]
        self._due = now + wait
        self._last = f"; the last one {how}"
        _log.error("the reconciler %s; starting it again in %g s", how, wait)
