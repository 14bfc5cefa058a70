"""The end of a service in order: readiness goes first, then the socket, then the log is flushed."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import FrameType

import uvicorn


class DrainingServer(uvicorn.Server):
    """A server that says for a while that it ends before it does.

    Parameters
    ----------
    leave
        Called at once when it is told to end: no more requests should be sent here.
    drain_s
        Seconds for which it goes on answering then, so that whoever asks for readiness learns of it. A second signal
        ends it at once.
    """

    def __init__(self, config: uvicorn.Config, leave: Callable[[], None], drain_s: float) -> None:
        super().__init__(config)
        self._leave, self._drain_s = leave, drain_s
        self._asked: tuple[int, FrameType | None, float] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end."""
        self._leave()
        if self._asked is None and self._drain_s:
            self._asked = sig, frame, time.monotonic() + self._drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time."""
        if self._asked is not None and not self.should_exit and time.monotonic() >= self._asked[2]:
            super().handle_exit(*self._asked[:2])
        return await super().on_tick(counter)
