"""Versions in Staging score a share of the requests that were answered: in a thread, after the answer, to a bound.

Nothing waits for it. What it has no room for, cannot score or cannot write down is dropped and counted.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed

import numpy as np

from selfheal.errors import InputError, SelfhealError
from selfheal.serving.lines import trace
from selfheal.serving.scored import Scored
from selfheal.serving.scorer import Floats, Scorer
from selfheal.serving.source import Source
from selfheal.serving.turns import Turns
from selfheal.table import InferenceTable, spread
from selfheal.table.shadows import Shadowed, ShadowRow

QUEUE_ROWS = 10_000
"""Rows that may wait: some 20 MB of the widest models, and a few seconds of a service at its limit."""
QUEUE_BYTES = 16 * 2**20
"""Bytes of bodies at which no more may wait: texts are long, and of a large request all of it waits."""
GATHER_S = 0.25
"""Between two turns: what came meanwhile is scored as one and written with one commit."""
REQUEST_ROWS = 1_000
"""Rows of one request that are scored at most, spread over it: they say what the others would."""
TURN_ROWS = 512
"""Rows that are scored at once: a tenth of a millisecond of a small network."""
LOOK_S = 2.0
"""Between two looks at which versions are to score."""

_log = logging.getLogger("selfheal.serving")


@dataclass
class ShadowState:
    """What became of the requests that were to be scored once more: rows, counted once a version.

    Attributes
    ----------
    rows, dropped
        Answers that were kept, and rows that were not scored or not kept.
    error
        Why the last ones were not, or empty.
    """

    rows: int = 0
    dropped: int = 0
    error: str = ""


class Shadow:
    """The queue of answered requests, and the thread that scores them."""

    def __init__(self, table: InferenceTable, model: str, source: Source) -> None:
        self.state = ShadowState()
        self.scorers: tuple[Scorer, ...] = ()
        self._table, self._model, self._source = table, model, source
        self._queue: deque[Scored] = deque()
        # each counted by one thread alone; their difference waits
        self._offered = self._taken = self._offered_bytes = self._taken_bytes = 0
        self._chance = random.Random().random
        self._due = 0.0
        self._turns = Turns("selfheal-shadow", self.turn, lambda: GATHER_S if self.scorers else LOOK_S / 2)

    @property
    def versions(self) -> list[int]:
        """Which versions score beside the one that serves."""
        return [scorer.version for scorer in self.scorers]

    def start(self) -> None:
        """Start the thread."""
        self._turns.start()

    def close(self) -> None:
        """Stop; what waits is dropped."""
        self._turns.close()

    def offer(self, scored: Scored) -> None:
        """Let the shadows score a request whose answer is on its way, if chance takes it and there is room."""
        if not self.scorers or self._chance() >= self._source.terms.shadow or not scored.logged:
            return
        rows = _rows_of(scored)
        full = self._offered_bytes - self._taken_bytes >= QUEUE_BYTES
        if full or self._offered - self._taken + rows > QUEUE_ROWS:
            self.state.dropped += rows
            return
        self._offered += rows
        self._offered_bytes += scored.size
        self._queue.append(scored)

    def turn(self) -> None:
        """Look which versions are to score, where that is due, and let them score what waits."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + LOOK_S
            self._look()
        for batch in self._batches(len(self._queue)):
            try:
                rows = [row for scorer in self.scorers for row in self._scored(scorer, batch)]
                if rows:
                    self._table.shadows.add(self._table.schema(self._model), rows)
                    self.state.rows, self.state.error = self.state.rows + len(rows), ""
            except Exception as error:  # the thread must outlive what nobody thought of
                self._failed(error, sum(len(scored.request.ids) for scored in batch))

    def _look(self) -> None:
        """Follow which versions are to score; one of another base than serves does not."""
        try:
            if not self._source.terms.shadow:
                self.scorers = ()
                return
            serving, scorers = self._source.scorer, {s.version: s for s in self.scorers}
            wanted = self._table.shadows.versions(self._model)
            same = all(_same_base(s, serving) for s in self.scorers)
            if same and wanted == {v: s.pointer.adapter_digest for v, s in scorers.items()}:
                return
            shadows = [s for s in self._table.shadows.load(self._model) if _is_of(s, serving)]
            self.scorers = tuple(_scorer(shadow, serving) for shadow in shadows)
        except Exception as error:  # as above
            self._failed(error, 0)

    def _batches(self, due: int) -> Iterator[list[Scored]]:
        """What waited when this turn began, in groups of some rows."""
        batch: list[Scored] = []
        rows = 0
        for _ in range(due):
            scored = _some(self._queue.popleft())
            self._taken += len(scored.request.ids)
            self._taken_bytes += scored.size
            batch.append(scored)
            rows += len(scored.request.ids)
            if rows >= TURN_ROWS:
                yield batch
                batch, rows = [], 0
        if batch:
            yield batch

    def _scored(self, scorer: Scorer, batch: Sequence[Scored]) -> list[ShadowRow]:
        alike = [s for s in batch if _same_base(scorer, s.scorer) and s.scorer.version != scorer.version]
        if not alike:
            return []
        try:
            return _rows(scorer, alike, _proba(scorer, alike))
        except InputError as error:
            if len(alike) == 1:
                self._failed(error, len(alike[0].request.ids))
                return []
            return [row for each in alike for row in self._scored(scorer, [each])]

    def _failed(self, error: Exception, rows: int) -> None:
        words = str(error) if isinstance(error, SelfhealError) else trace(error)  # which quotes no row
        if words != self.state.error:
            _log.warning("%s: requests are not scored by what waits in Staging: %s", self._model, words)
        self.state.dropped += rows
        self.state.error = words


def _rows_of(scored: Scored) -> int:
    """How many rows of a request are scored again."""
    return min(len(scored.request.ids), REQUEST_ROWS)


def _some(scored: Scored) -> Scored:
    """Those rows of it."""
    asked = scored.request
    places = spread(len(asked.ids), REQUEST_ROWS)
    if len(places) == len(asked.ids):
        return scored
    kept = places.tolist()
    request = asked._replace(
        numbers=asked.numbers[places],
        words=[[column[place] for place in kept] for column in asked.words],
        ids=[asked.ids[place] for place in kept],
        times=[asked.times[place] for place in kept],
        lists=None,
    )
    return scored._replace(request=request, proba=scored.proba[places])


def _proba(scorer: Scorer, batch: Sequence[Scored]) -> Floats:
    """float64 [n, k] for all rows of some requests."""
    words = [scored.request.words for scored in batch]
    columns = [[word for each in words for word in each[place]] for place in range(len(scorer.texts))]
    return scorer.proba(np.concatenate([scored.request.numbers for scored in batch]), columns)


def _rows(scorer: Scorer, batch: Sequence[Scored], proba: Floats) -> list[ShadowRow]:
    rows: list[ShadowRow] = []
    said = iter(proba.tolist())
    for scored in batch:
        asked = zip(scored.request.ids, scored.request.times, scored.proba.tolist(), strict=True)
        served = scored.scorer.version
        rows.extend(ShadowRow(name, at, scorer.version, served, next(said), answered) for name, at, answered in asked)
    return rows


def _is_of(shadow: Shadowed, serving: Scorer) -> bool:
    return serving.pointer.is_of(shadow.base_digest, shadow.base_manifest)


def _same_base(one: Scorer, other: Scorer) -> bool:
    return one.pointer.is_of(other.pointer.base_digest, other.pointer.base_manifest)


def _scorer(shadow: Shadowed, serving: Scorer) -> Scorer:
    """A shadow on the base that serves; the adapter's own check refuses one that does not fit."""
    pointer = changed(serving.pointer, version=shadow.version, adapter=shadow.adapter)
    return Scorer.on(serving.base, changed(pointer, adapter_digest=shadow.adapter_digest))
