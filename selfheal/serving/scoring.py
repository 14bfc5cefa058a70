"""From a request's body to rows that were scored and taken by the log, whatever the protocol."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import msgspec

from selfheal.errors import InputError, UnavailableError
from selfheal.serving.answered import answered_rows
from selfheal.serving.config import ServingConfig
from selfheal.serving.http import ROWS, WHOLE_AT, Message, Receive, TurnedAwayError, header, read_body
from selfheal.serving.log import LogWriter
from selfheal.serving.metrics import Metrics
from selfheal.serving.requests import Reading, Request, parse
from selfheal.serving.scored import Scored
from selfheal.serving.scorer import NotHereError, Scorer
from selfheal.serving.shadow import Shadow
from selfheal.serving.source import Source
from selfheal.serving.spill import Row
from selfheal.serving.terms import Terms

_encode = msgspec.json.Encoder().encode

PATH = "/invocations"
Body = bytes | bytearray
Read = Callable[[Body, Scorer, Reading], Request]
Extent = Callable[[Body, float], tuple[int, int]]
Got = TypeVar("Got")


class Scoring:
    """Reads, scores and logs requests of one model."""

    def __init__(
        self,
        config: ServingConfig,
        source: Source,
        log: LogWriter,
        metrics: Metrics,
        order: tuple[str, ...],
        shadow: Shadow,
    ) -> None:
        self._config, self._source, self._log, self._metrics = config, source, log, metrics
        self.shadow = shadow
        self._order = order  # the table's columns, which may be ordered otherwise than a later base's own
        self._large = 0

    async def answer(self, scope: Message, receive: Receive, read: Read, extent: Extent) -> Scored:
        """Score a request's rows; they are taken by the log when this returns.

        Parameters
        ----------
        read
            Makes checked rows of a body.
        extent
            How many rows a refused body holds, and when the first happened; see :func:`requests.extent`.

        Raises
        ------
        InputError
            A row is wrong; nothing was logged.
        TurnedAwayError
            Too much is asked for already.
        UnavailableError
            Rows that had to be logged were not.
        """
        config, began = self._config, time.perf_counter()
        body = await read_body(scope, receive, config.body_bytes)
        if time.monotonic() - scope.get(WHOLE_AT, math.inf) > config.turn_s:
            raise TurnedAwayError
        # Taken once: parsed, scored and named by this version alone, and by what the policy says now.
        scorer, terms = self._source.scorer, self._source.terms
        reading = self._reading(terms)
        latest = reading.latest_us
        sized = len(body) if scorer.texts else 0
        durably = header(scope, b"x-log").lower() == b"durable"

        def score(waits: bool) -> tuple[Scored, list[Row]]:
            try:
                request = read(body, scorer, reading._replace(waits=waits))
                proba = scorer.proba(request.numbers, request.words, waits=waits)
            except InputError as error:
                self._log.refuse(error, *extent(body, latest))
                raise
            ms = (time.perf_counter() - began) * 1000
            self._metrics.scored(len(request.ids), ms)
            scored = Scored(request, proba, scorer, ms=ms, size=len(body))
            return scored, answered_rows(self._order, request, scorer, proba, ms)

        def take(waits: bool) -> tuple[Scored, list[Row], bool]:
            scored, rows = score(waits)
            if durably or scored.request.durable:
                return scored, rows, False
            return scored, rows, self._log.put(rows, sized, answered=not terms.refuses)

        scored, rows, taken = await self._at_once_or_beside(take, len(body))
        scope[ROWS] = len(rows)
        if durably or scored.request.durable:
            await self._commit(rows, sized)
        elif not taken:
            if terms.refuses:
                raise UnavailableError(
                    "the rows were scored and are not answered: neither the database nor the disk has room for them "
                    "(log.when_full: refuse); send them again with the same prediction ids"
                )
            return scored._replace(logged=False)
        return scored

    @property
    def inline_bytes(self) -> int:
        """Larger bodies are not handled in the event loop."""
        return self._config.inline_bytes

    def at_once(self, scope: Message, body: bytes, at: float) -> tuple[Scored, list[Row], bytes] | None:
        """Score a whole JSON request that came at the monotonic time ``at``; None where :meth:`answer` must see it.

        Returns
        -------
        tuple
            What is answered, its rows, which are not taken yet, and the answer's body. Nothing is counted yet.
        """
        config, began = self._config, time.perf_counter()
        scorer, terms = self._source.scorer, self._source.terms
        try:
            if config.keys is not None:
                config.keys.admit(scope, "score")
            if time.monotonic() - at > config.turn_s:
                return None
            request = parse(body, scorer, self._reading(terms)._replace(waits=False))
            if request.durable:
                return None
            proba = scorer.proba(request.numbers, request.words, waits=False)
            scored = Scored(request, proba, scorer, ms=(time.perf_counter() - began) * 1000, size=len(body))
            rows = answered_rows(self._order, request, scorer, proba, scored.ms)
            return scored, rows, _encode(scored.answer())
        except Exception:
            return None  # told, counted and written down there

    def keep(self, rows: list[Row], size: int) -> bool:
        """Let the log take rows of :meth:`at_once`, of bodies of ``size`` bytes; False, uncounted, without room."""
        return self._log.put(rows, size if self._source.scorer.texts else 0, answered=False)

    def count(self, scored: Scored) -> None:
        """Count a request of :meth:`at_once` that is answered."""
        self._metrics.scored(len(scored.request.ids), scored.ms)
        self.answered(200)

    def answered(self, status: int) -> None:
        """Count an answer."""
        self._metrics.answered(PATH, status)

    def _reading(self, terms: Terms) -> Reading:
        config = self._config
        latest = math.inf if config.event_clock else (time.time() + config.future_s) * 1e6
        return Reading(latest, terms.ignores, config.rows, config.text)

    async def _commit(self, rows: list[Row], sized: int) -> None:
        if not await self._log.put_durably(rows, sized, self._config.durable_s):
            raise UnavailableError(
                f"the rows were scored but not committed within {self._config.durable_s:g} s "
                f"({self._log.state.error or 'the log is full or refused them'}); send them again with the same "
                "prediction ids, or without durable"
            )

    async def _at_once_or_beside(self, work: Callable[[bool], Got], size: int) -> Got:
        """Do in the event loop what a body of ``size`` bytes asks, if that is soon done; else in a thread, and wait."""
        if size <= self._config.inline_bytes:
            with suppress(NotHereError):
                return work(False)
        return await self._beside(lambda: work(True))

    async def _beside(self, work: Callable[[], Got]) -> Got:
        """Do what takes long in a thread, so that nobody waits behind it; so many at once, and not more."""
        if self._large >= self._config.large:
            raise TurnedAwayError
        self._large += 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self._large -= 1
