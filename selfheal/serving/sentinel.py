"""Counts what was answered, in the log's thread, and asks for an early look where that leaves what is usual."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selfheal.drift.sentinel import Plan, Tally
from selfheal.serving.lines import trace
from selfheal.serving.source import Source
from selfheal.serving.spill import Row
from selfheal.table import InferenceTable
from selfheal.table.reading import as_declared

BATCH_ROWS = 256
"""Rows that are counted at once, and a second: a busy service counts some of its rows."""
EVERY_S = 10.0
"""A service with few rows counts them this often."""
VOTED = 4
"""Of so many batches the rules vote on the first: to ask costs half a millisecond, of however many rows."""
LOOK_S = 5.0
"""Between two looks at what is to be counted."""
LEAST = 100
"""Rows below which a window is not looked at."""
GROWTH = 1.25
"""A window is looked at again when it has grown so much: some ten looks from its first to its last."""

_log = logging.getLogger("selfheal.serving")


class Sentinel:
    """The watch over one model's open window.

    Parameters
    ----------
    order
        The features as rows of the log hold them.

    Attributes
    ----------
    ratio
        What lies farthest from the usual in the open window, over its natural bound; 0 before the first look.
    cuts
        Windows that it asked to be closed early.
    """

    def __init__(self, table: InferenceTable, model: str, source: Source, order: Sequence[str]) -> None:
        self._table, self._model, self._source, self._order = table, model, source, order
        self.ratio, self.cuts = 0.0, 0
        self._plan: Plan | None = None
        self._next: Plan | None = None  # of the next window: a window is held against one plan
        self._text = self._said = ""
        self._tally: Tally | None = None
        self._window = self._asked = -(2**62)
        self._looked = self._batches = 0
        self._rows: list[Row] = []
        self._counted = self._due = time.monotonic()

    def see(self, rows: Sequence[Row]) -> None:
        """Take some of the rows that were just committed, and count them when it is time. Never raises."""
        if not self._source.terms.sentinel:
            return
        room = BATCH_ROWS - len(self._rows)
        if room > 0:
            self._rows.extend(rows[:: max(1, len(rows) // room)][:room])
        waited = time.monotonic() - self._counted
        if waited < 1.0 or (len(self._rows) < BATCH_ROWS and waited < EVERY_S):
            return
        self._counted, batch, self._rows = time.monotonic(), self._rows, []
        try:
            self.count(batch)
        except Exception as error:  # the log's thread must not end for it
            words = trace(error)
            if words != self._said:
                _log.error("%s: the open window is not watched: %s", self._model, words)
            self._said = words

    def count(self, rows: Sequence[Row]) -> None:
        """Count rows of the open window, and look at it where it has grown."""
        self._follow()
        self._open(int(np.median([row[1] for row in rows])))
        plan, tally, window = self._plan, self._tally, self._window
        if plan is None or tally is None or window == self._asked:
            return
        rows = [row for row in rows if row[1] // plan.window_us == window and row[-2] == plan.version]
        if not rows:
            return
        self._add(tally, rows)
        if tally.rows < max(LEAST, GROWTH * self._looked):
            return
        self._looked = tally.rows
        self.ratio, words = tally.worst()
        if self.ratio > 1.0 and self._cut(plan, window, max(row[1] for row in rows) + 1, words):
            self._asked = window

    def _follow(self) -> None:
        """The plan as the monitor last made it."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOK_S
        text = self._table.sentinels.plan(self._model)
        if text != self._text:
            self._text, self._next = text, Plan.from_json(text) if text else None

    def _open(self, at: int) -> None:
        """Begin to count anew where another window has begun (µs since 1970), or another version serves."""
        plan, serving = self._next, self._source.scorer.version
        if plan is None or plan.version != serving:
            self._plan = self._tally = None
            return
        window = at // plan.window_us
        if self._plan is None or window > self._window:
            self._plan, self._window, self._tally = plan, window, Tally(plan)
            self._looked = self._batches = 0

    def _add(self, tally: Tally, rows: Sequence[Row]) -> None:
        fields: list[tuple[Any, ...]] = list(zip(*rows, strict=True))
        scorer, d = self._source.scorer, len(self._order)
        dtypes = scorer.signature.dtypes
        columns: dict[str, NDArray[Any]] = {}
        for name, values in zip(self._order, fields[2 : 2 + d], strict=True):
            columns[name] = np.array(values, dtype=object if dtypes[name] == "str" else np.float64)
        for name, mapped in scorer.input_map.columns.items():
            columns[name] = mapped.apply(columns[name])
        proba = np.array(fields[2 + d : -2], dtype=np.float64).T
        tally.add(columns, proba)
        self._batches += 1
        if tally.plan.rules and self._batches % VOTED == 1:
            typed = {name: as_declared(each, dtypes[name]) for name, each in columns.items()}
            tally.add_votes(fired([rule.when for rule in tally.plan.rules], typed), proba)

    def _cut(self, plan: Plan, window: int, end: int, words: str) -> bool:
        schema = self._table.schema(self._model)
        done = self._table.sentinels.ask(schema, window * plan.window_us, end, plan.min_rows, words)
        if done:
            self.cuts += 1
            _log.warning("%s: the open window is closed early, and a monitor run is asked for: %s", self._model, words)
        return done


def fired(predicates: Sequence[str], columns: dict[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Where each predicate holds, bool [n, m]: :meth:`selfheal.rules.Rule.fires` for all of them at once."""
    import polars as pl

    from selfheal.rules import parse

    data = {name: values.tolist() if values.dtype == object else values for name, values in columns.items()}
    table = pl.DataFrame(data, nan_to_null=True)
    masks = table.select(parse(when).fill_null(False).alias(str(place)) for place, when in enumerate(predicates))
    return np.asarray(masks.to_numpy(), dtype=bool)
