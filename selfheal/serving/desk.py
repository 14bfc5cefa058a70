"""Requests that one turn of the event loop brought, scored one after the other and taken by the log with one write.

What most requests are (JSON to be scored, of a moderate size, whole, one at a time on their connection) needs no task
of its own, no messages to and fro and no timer. Whatever else a request is or asks for, and whatever goes wrong with
it, goes on as an ASGI request: only there is anything refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from selfheal.serving.http import Message
from selfheal.serving.lines import REQUESTS
from selfheal.serving.scored import Scored
from selfheal.serving.scoring import Scoring
from selfheal.serving.spill import Row

GROUP = 16
"""Requests that are answered together: the first waits for the others' 0.1 ms each."""

_requests = logging.getLogger(REQUESTS)


class Caller(Protocol):
    """A connection whose request waits."""

    @property
    def gone(self) -> bool:
        """Whether the client went away."""

    def reply(self, body: bytes) -> None:
        """Send 200 with a JSON body."""

    def go_on(self, body: bytes, at: float) -> None:
        """Treat the request, whole at the monotonic time ``at``, as any other."""


class Waiting(NamedTuple):
    """A whole request."""

    scoring: Scoring
    scope: Message
    body: bytes
    caller: Caller
    at: float


class Desk:
    """Gathers and answers.

    Parameters
    ----------
    scorings
        What scores, by path.

    Attributes
    ----------
    all_go_on
        Whether each request is to go its way as an ASGI request.
    """

    def __init__(self, scorings: Mapping[str, Scoring]) -> None:
        self._scorings = {path.encode(): scoring for path, scoring in scorings.items()}
        self._waiting: list[Waiting] = []
        self.all_go_on = False

    def takes(self, url: bytes, length: int) -> Scoring | None:
        """What scores a request's body of so many bytes here, if anything does: not where each gets a line."""
        scoring = self._scorings.get(url)
        if scoring is None or self.all_go_on or length > scoring.inline_bytes or _requests.isEnabledFor(logging.INFO):
            return None
        return scoring

    def put(self, scoring: Scoring, scope: Message, body: bytes, caller: Caller) -> None:
        """Let a request wait for the end of this turn of the event loop."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self.flush)
        self._waiting.append(Waiting(scoring, scope, body, caller, time.monotonic()))

    def flush(self) -> None:
        """Answer all that wait."""
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), GROUP):
            self._answer(waiting[start : start + GROUP])

    def _answer(self, group: list[Waiting]) -> None:
        scored: list[tuple[Waiting, Scored, bytes]] = []
        rows: dict[Scoring, tuple[list[Row], list[int]]] = {}
        for request in group:
            if request.caller.gone:
                request.scoring.answered(499)
                continue
            outcome = request.scoring.at_once(request.scope, request.body, request.at)
            if outcome is None:
                request.caller.go_on(request.body, request.at)
            else:
                scored.append((request, outcome[0], outcome[2]))
                some, sizes = rows.setdefault(request.scoring, ([], []))
                some.extend(outcome[1])
                sizes.append(len(request.body))
        taken = {scoring: _taken(scoring, some, sum(sizes)) for scoring, (some, sizes) in rows.items()}
        for request, answer, body in scored:
            if not taken[request.scoring]:
                request.caller.go_on(request.body, request.at)
                continue
            request.scoring.count(answer)
            request.caller.reply(body)
            request.scoring.shadow.offer(answer)


def _taken(scoring: Scoring, rows: list[Row], size: int) -> bool:
    try:
        return scoring.keep(rows, size)
    except Exception:
        return False  # told where each is tried by itself: here it would leave all of them without an answer
