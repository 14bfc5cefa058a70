"""Keep a set of child processes running, and leave none behind.

Each child leads a process group of its own, so that what it starts goes with it. A *lifeline* process holds the other
end of a pipe: when the supervisor dies without a word (kill -9), the pipe closes and the lifeline ends every group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from selfheal.up import lifeline
from selfheal.up.lifeline import end

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Wait before the n-th restart in a row."""

SETTLED_SECONDS = 60.0
"""A child that ran this long starts its back-off anew."""

POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Service:
    """What to keep running.

    Attributes
    ----------
    name
        As it is spoken of; its output goes to ``<logs>/<name>.log``.
    argv, environ
        The command, and variables beside those of this process.
    ready
        Says whether it answers; called until it does.
    ready_line
        What is said then, e.g. its URL.
    nice
        Added to its niceness: schedules must not slow the scoring down.
    """

    name: str
    argv: Sequence[str]
    environ: Mapping[str, str]
    ready: Callable[[], bool]
    ready_line: str
    nice: int = 0


@dataclass
class Child:
    """One service with its process, while there is one."""

    service: Service
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    failures: int = 0
    due: float = 0.0
    is_ready: bool = False


@dataclass
class Supervisor:
    """Starts services, restarts those that die, ends all of them.

    Parameters
    ----------
    logs
        Folder of the children's output.
    say
        Takes each line that a person should read.
    clock, sleep
        Monotonic seconds.
    """

    logs: Path
    say: Callable[[str], None]
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    children: dict[str, Child] = field(default_factory=dict)
    _lifeline: tuple[subprocess.Popen[bytes], IO[bytes]] | None = None

    def start(self, service: Service) -> None:
        """Start a service now; its readiness is looked at by :meth:`tick`."""
        self.logs.mkdir(parents=True, exist_ok=True)
        child = Child(service, self.logs / f"{service.name.replace(' ', '-')}.log")
        self.children[service.name] = child
        self._spawn(child)

    def tick(self) -> None:
        """One look at every child: say who is ready, restart who died and whose wait is over."""
        for child in self.children.values():
            if child.process is None:
                if self.clock() >= child.due:
                    self._spawn(child)
            elif (status := child.process.poll()) is not None:
                self._bury(child, child.process.pid, status)
            elif not child.is_ready and child.service.ready():
                child.is_ready = True
                self.say(f"ready     {child.service.name:<18} {child.service.ready_line}")

    def wait_ready(self, names: Sequence[str], seconds: float, stopped: Callable[[], bool]) -> bool:
        """Tick until all of ``names`` are ready; False when stopped or out of time."""
        deadline = self.clock() + seconds
        while not stopped() and self.clock() < deadline:
            self.tick()
            if all(self.children[name].is_ready for name in names):
                return True
            self.sleep(POLL_SECONDS)
        return False

    def stop(self, *names: str) -> None:
        """End these services, or all of them: SIGTERM, again, then SIGKILL."""
        leaving = [self.children.pop(name) for name in (names or tuple(self.children))]
        groups = [child.process.pid for child in leaving if child.process is not None]
        end(groups, reap=lambda: [c.process.poll() for c in leaving if c.process is not None])
        for group in groups:
            self._tell(f"-{group}")
        if not self.children and self._lifeline is not None:
            process, pipe = self._lifeline
            pipe.close()
            process.wait()
            self._lifeline = None

    def _spawn(self, child: Child) -> None:
        service = child.service
        with child.log.open("ab") as log:
            child.process = subprocess.Popen(
                service.argv,
                env={**os.environ, **service.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._tell(str(child.process.pid))
        if service.nice:
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, child.process.pid, service.nice)
        child.started, child.is_ready = self.clock(), False

    def _bury(self, child: Child, group: int, status: int) -> None:
        end([group])
        self._tell(f"-{group}")
        child.process = None
        child.failures = 1 if self.clock() - child.started > SETTLED_SECONDS else child.failures + 1
        wait = BACKOFF_SECONDS[min(child.failures, len(BACKOFF_SECONDS)) - 1]
        child.due = self.clock() + wait
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.say(f"restart   {child.service.name:<18} it {how}; again in {wait:g} s; see {child.log}")
        if last := last_line(child.log):
            self.say(f"          {'':<18} its log ends with: {last}")

    def _tell(self, word: str) -> None:
        """Let the lifeline know of a group that came (``123``) or went (``-123``)."""
        if self._lifeline is None:
            # by file, not by module: it needs nothing of this package, and starts in a moment
            process = subprocess.Popen(
                [sys.executable, lifeline.__file__], stdin=subprocess.PIPE, start_new_session=True, bufsize=0
            )
            if process.stdin is None:
                raise AssertionError("a pipe was asked for")
            self._lifeline = process, process.stdin
        with suppress(OSError):
            self._lifeline[1].write(f"{word}\n".encode())


def last_line(log: Path) -> str:
    """The last line of a log that says something."""
    with suppress(OSError), log.open("rb") as opened:
        opened.seek(max(0, log.stat().st_size - 4000))
        lines = [line.strip() for line in opened.read().decode("utf-8", "replace").splitlines()]
        return next((line[:300] for line in reversed(lines) if line), "")
    return ""
