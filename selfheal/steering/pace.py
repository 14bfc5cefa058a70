"""How a process lets time pass while it steers: by this machine's clock and threads, or by those of a simulation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Pace:
    """The time of this machine."""

    def now(self) -> float:
        """Seconds from an arbitrary beginning; never runs back."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        time.sleep(seconds)

    @contextmanager
    def every(self, seconds: float, do: Callable[[], None], name: str) -> Iterator[None]:
        """Have something done again and again beside a block, first after ``seconds``; once it ends, never again."""
        done = threading.Event()

        def beat() -> None:
            while not done.wait(seconds):
                do()

        thread = threading.Thread(target=beat, name=name, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
