"""End process groups: on demand, and (run as a program) when whoever holds the pipe is gone.

``python -m selfheal.up.lifeline`` reads the numbers of process groups from its standard input, one a line, ``-N`` when
group N ended by itself. At the end of the input, which is also what the writer's death looks like, it ends the rest.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

TERM_AGAIN_SECONDS = 3.0
"""A second SIGTERM follows after this long: a Prefect runner may need it."""

KILL_SECONDS = 10.0
"""What is left after this long is killed."""


def alive(group: int) -> bool:
    """Whether a process group has members (a zombie that nobody reaps is none)."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def end(groups: Iterable[int], reap: Callable[[], object] = lambda: None) -> None:
    """SIGTERM to every group, again after a while, then SIGKILL; returns when they are gone.

    Parameters
    ----------
    reap
        Called between looks, to collect children of this process.
    """
    left = [g for g in groups if alive(g)]
    _signal(left, signal.SIGTERM)
    begun, again = time.monotonic(), False
    while left and time.monotonic() - begun < KILL_SECONDS:
        time.sleep(0.05)
        reap()
        left = [g for g in left if alive(g)]
        if not again and time.monotonic() - begun > TERM_AGAIN_SECONDS:
            again = True
            _signal(left, signal.SIGTERM)
    _signal(left, signal.SIGKILL)
    reap()


def _signal(groups: Iterable[int], number: signal.Signals) -> None:
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def main() -> None:
    """Read groups until the pipe closes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    for line in sys.stdin:
        group = int(line)
        (groups.add if group > 0 else groups.discard)(abs(group))
    end(groups)


if __name__ == "__main__":
    main()
