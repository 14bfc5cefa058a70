"""What goes on beside the requests in a thread of its own, turn after turn."""

from __future__ import annotations

import threading
from collections.abc import Callable

CLOSING_S = 5.0
"""For the turn under way when it is closed."""


class Turns:
    """A thread that takes turn after turn, each after a pause, from its start until it is closed.

    Parameters
    ----------
    turn
        Raises nothing: the thread would end.
    pause
        Seconds until the next one.
    """

    def __init__(self, name: str, turn: Callable[[], None], pause: Callable[[], float]) -> None:
        self._turn, self._pause = turn, pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Take no further turn."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(CLOSING_S)

    def _run(self) -> None:
        while not self._stop.wait(self._pause()):
            self._turn()
