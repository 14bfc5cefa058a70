"""A log that its owner keeps: rows are read where they lie, and nothing is written there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from selfheal.errors import InputError, NotFoundError, UnavailableError
from selfheal.log.casting import zoneless
from selfheal.log.later import Labels
from selfheal.log.layout import AT, ID, NAIVE, ORDER, VERSION, WEIGHT, WHY, Layout, reason_and_column
from selfheal.log.planning import by_rows, by_time
from selfheal.log.rows import Bounded, Part, Rows, steadily
from selfheal.log.source import Tally
from selfheal.policy import WindowSpec
from selfheal.table import InferenceTable, Refusal, Window, WindowRef, spread
from selfheal.table.cycles import Mark
from selfheal.table.reading import LABELLED_ROWS, as_declared, label_series
from selfheal.table.values import duration_us, to_us


@dataclass(frozen=True)
class Standing:
    """How a log stands.

    Attributes
    ----------
    newest
        Time of its newest row, µs; None where it has none.
    undated
        Rows whose time (or number, for windows of rows) is missing or cannot be read.
    ahead
        Rows dated after the clock.
    """

    newest: int | None
    undated: int
    ahead: int


@dataclass(frozen=True)
class Keeper:
    """What a log does not say of itself, and who is told how it stands.

    Attributes
    ----------
    since
        Asks for the versions that have served, oldest first: since when (µs), and its number.
    predict
        Probabilities ``[n, k]`` that a version gives rows.
    tell
        Is told how the log stands when it was read, or why it cannot be read.
    tell_labels
        Is told what is wrong with the place of labels; empty where nothing is.
    """

    since: Callable[[], Sequence[tuple[int, int]]]
    predict: Callable[[int, pd.DataFrame], npt.NDArray[np.float64]]
    tell: Callable[[Standing | str], None]
    tell_labels: Callable[[str], None]

    def at(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The version that served at each time; before the first one, the first."""
        known = self.since()
        starts = np.array([start for start, _ in known], dtype=np.int64)
        versions = np.array([version for _, version in known], dtype=np.int64)
        return versions[np.maximum(np.searchsorted(starts, times, side="right") - 1, 0)]


@dataclass(frozen=True)
class Foreign:
    """The rows of one model in its owner's log, see :class:`~selfheal.log.source.Source`.

    Attributes
    ----------
    table
        The state: which windows were handled, labels that were sent here.
    model
        The model's name.
    rows, layout
        Where the log is, and what its columns hold.
    labels, keeper
        Labels, what answered where the log does not say, and who is told how it stands.
    refused_words
        See :meth:`selfheal.model.MonitoredModel.refused_words`; None where none can be refused.
    """

    table: InferenceTable
    model: str
    rows: Rows
    layout: Layout
    labels: Labels
    keeper: Keeper
    refused_words: Callable[[pd.DataFrame], dict[str, npt.NDArray[np.bool_]]] | None

    says = "of the log cannot be used"

    def closed_windows(
        self, spec: WindowSpec, *, until: datetime, lateness: timedelta, min_rows: int
    ) -> list[WindowRef]:
        """See :class:`~selfheal.log.source.Source`."""
        mark = self.table.elsewhere.mark(self.model)
        horizon = to_us(until) - duration_us(lateness)
        if spec.duration is not None:
            keys = self._placed(Part(start=mark.end))
            fresh = by_time(keys[AT].to_numpy(), duration_us(spec.duration), mark, horizon, min_rows)
        else:
            if not self._was_here():
                mark = mark._replace(seq=None)
            keys = self._placed(Part(after=mark.seq) if mark.seq is not None else Part(start=mark.end))
            keys = keys.drop_nulls(ORDER)
            numbers, times = keys[ORDER].to_numpy(), keys[AT].to_numpy()
            fresh = by_rows(numbers, times, spec.rows or 1, mark, horizon, min_rows)
        self.keeper.tell(self._standing(keys[AT].to_numpy(), mark, to_us(until)))
        return self.table.elsewhere.fix(self.model, mark, fresh, horizon)

    def _was_here(self) -> bool:
        """Whether the last window was one of a log elsewhere; else numbers of rows are the own table's."""
        return all(cycle.get("held") is not None for cycle in self.table.cycles(self.model, last=1))

    def read(self, ref: WindowRef, limit: int | None = None) -> Window:
        """See :class:`~selfheal.log.source.Source`."""
        rows = self._window(ref)[0]
        if limit is None:  # whoever has all of it asks no more
            self._last.clear()
        return self._as_window(ref, rows if limit is None else rows[spread(len(rows), limit)])

    def labelled(self, ref: WindowRef) -> Window:
        """See :class:`~selfheal.log.source.Source`."""
        rows = self._window(ref)[0]
        known = np.flatnonzero(self.labels.codes(self._known, rows) >= 0)
        return self._as_window(ref, rows[known[:LABELLED_ROWS]])

    def labelled_windows(self, indexes: Collection[int]) -> dict[int, int]:
        """See :class:`~selfheal.log.source.Source`."""
        counts = self._counted(indexes)
        return {index: min(counts[index], LABELLED_ROWS) for index in sorted(indexes) if counts.get(index)}

    def first_labelled(self, first: int) -> int | None:
        """See :class:`~selfheal.log.source.Source`."""
        later = sorted(index for index in self.table.processed(self.model) if index >= first)
        counts = self._counted(later)
        return next((index for index in later if counts.get(index)), None)

    def latencies(self, ref: WindowRef) -> npt.NDArray[np.float64]:
        """None: a log says what was answered, not how fast."""
        return np.empty(0)

    def tally(self, ref: WindowRef) -> Tally:
        """See :class:`~selfheal.log.source.Source`."""
        return self._window(ref)[1]

    def counted(self, refs: Sequence[WindowRef]) -> dict[int, int]:
        """How many rows lie in each of these windows now, or between it and the one before, whatever is wrong with
        them: where there was no row there is no window.
        """
        if not refs:
            return {}
        numbered = all(ref.seqs is not None for ref in refs)
        parts = [_numbered(ref) if numbered else _around([ref]) for ref in sorted(refs, key=lambda ref: ref.index)]
        for place, before in enumerate(parts[:-1], 1):
            parts[place] = replace(parts[place], start=before.end, after=before.last)
        whole = Part(parts[0].start, parts[-1].end, parts[0].after, parts[-1].last)
        keys = self._placed(whole)
        counts = (int(keys.select(_in_part(part).fill_null(False).sum()).item()) for part in parts)
        return dict(zip(sorted(ref.index for ref in refs), counts, strict=True))

    # What is read

    def _standing(self, fresh: npt.NDArray[np.int64], mark: Mark, until: int) -> Standing:
        clock = max(until, to_us(datetime.now(UTC)))  # a replay's own may be long past
        past = fresh[fresh <= clock]
        newest = int(past.max()) if len(past) else mark.end
        undated = len(self._collected(Part(undated=True, numbered=ORDER in self.layout.raw), keys=True))
        return Standing(newest, undated, len(fresh) - len(past))

    def _placed(self, part: Part) -> pl.DataFrame:
        """Keys of rows that have a time."""
        return self._collected(part, keys=True).drop_nulls(AT)

    def _collected(self, part: Part, *, keys: bool) -> pl.DataFrame:
        try:
            return self._scanned(part, keys=keys)
        except (UnavailableError, InputError) as error:
            self.keeper.tell(str(error))
            raise

    def _scanned(self, part: Part, *, keys: bool) -> pl.DataFrame:
        layout = self.layout
        by = Bounded(layout.raw[AT], layout.raw.get(ORDER))
        asked = _in_part(part) | pl.col(NAIVE)

        def read() -> list[pl.DataFrame]:
            with closing(self.rows.scan(layout.wanted(keys=keys), part, by)) as frames:
                return [layout.mapped(frame, keys=keys).filter(asked).collect() for frame in frames]

        tables = steadily(self.rows, read)
        if not tables:
            return layout.empty(keys=keys)
        rows = pl.concat(tables)
        if rows[NAIVE].any():
            raise zoneless(f"column {layout.raw[AT]!r} of {self.rows.name}")
        return rows.drop(NAIVE)

    @cached_property
    def _known(self) -> pl.DataFrame:
        return self.labels.known()

    @cached_property
    def _last(self) -> dict[int, tuple[pl.DataFrame, Tally]]:
        """The window that was read last: a pass asks for it more than once."""
        return {}

    def _window(self, ref: WindowRef) -> tuple[pl.DataFrame, Tally]:
        """The rows of a window that can be used, by time and id, and what is wrong with the others."""
        if ref.index not in self._last:
            self._last.clear()
            raw = self._collected(_around([ref]), keys=False)
            if ref.seqs is not None:
                raw = raw.filter(_inside_expr(ref))
            if not (raw[AT].is_sorted() and raw[AT].is_unique().all()):  # a log mostly is, and a sort copies all of it
                raw = raw.sort(AT, ID, nulls_last=True)
            self._last[ref.index] = self._usable(raw, self._before(ref, raw))
        return self._last[ref.index]

    def _before(self, ref: WindowRef, rows: pl.DataFrame) -> pl.Series:
        """Ids of the rows that the windows before had, too: a client that sent again just after a window's end."""
        if ref.seqs is not None:
            part = Part(after=ref.seqs[0] - REPEATED * (ref.seqs[1] - ref.seqs[0]), last=ref.seqs[0])
        else:
            part = Part(to_us(ref.start - REPEATED * (ref.end - ref.start)), to_us(ref.start))
        past = self._placed(part)[ID]
        return past.filter(past.is_in(rows[ID].drop_nulls().implode()))

    def _usable(self, rows: pl.DataFrame, before: pl.Series) -> tuple[pl.DataFrame, Tally]:
        wrong = rows.drop_nulls(WHY).group_by(WHY).len().sort("len", WHY, descending=[True, False])
        refused = [Refusal(*reason_and_column(why), count) for why, count in wrong.iter_rows()]
        right = rows.filter(pl.col(WHY).is_null()).drop(WHY)
        good = right if before.is_empty() else right.filter(~pl.col(ID).is_in(before.implode()))
        if again := len(right) - len(good):
            # A retry is nobody's fault; ids of which most come again name no prediction.
            blamed = self.layout.raw[ID] if again > len(right) / 2 else ""
            refused.append(Refusal("repeated from a window before", blamed, again))
        kept = good
        if not good[ID].is_unique().all():
            # What another model answered the same request is no retry.
            same = [ID, *(name for name in good.columns if name.startswith("f:")), *self.layout.probabilities]
            single = good.unique(same, keep="first", maintain_order=True)
            kept = single.unique(ID, keep="first", maintain_order=True)
            if len(good) > len(single):  # sent twice: no column is to blame
                refused.append(Refusal("repeated", "", len(good) - len(single)))
            if len(single) > len(kept):
                refused.append(Refusal("one id for several predictions", self.layout.raw[ID], len(single) - len(kept)))
        strange = {} if self.refused_words is None else self.refused_words(self._frame(kept))
        for c, of in strange.items():
            what = "word" if self.layout.dtypes[c] == "str" else "value"
            refused.append(Refusal(f"a {what} that preprocessing refuses", c, int(of.sum())))
        if strange:
            kept = kept.filter(~pl.Series(np.logical_or.reduce([*strange.values()])))
        kept = kept.with_columns(pl.col(VERSION).fill_null(pl.Series(self._versions(kept), dtype=pl.Int64)))
        if not self.layout.probabilities:
            kept = self._scored(kept)
        return thinned(kept), Tally(len(kept), tuple(refused), len(rows))

    def _versions(self, rows: pl.DataFrame) -> npt.NDArray[np.int64]:
        if not rows[VERSION].has_nulls():
            return np.zeros(len(rows), dtype=np.int64)
        return self.keeper.at(rows[AT].to_numpy())

    def _scored(self, rows: pl.DataFrame) -> pl.DataFrame:
        """With the probabilities that the versions give, which the log has not."""
        frame, versions = self._frame(rows), rows[VERSION].to_numpy()
        proba = np.empty((len(rows), self.layout.classes))
        for version in np.unique(versions):
            own = versions == version
            proba[own] = self.keeper.predict(int(version), frame[own])
        return rows.with_columns(pl.Series(f"p{k}", proba[:, k]) for k in range(self.layout.classes))

    @cached_property
    def _counts(self) -> dict[int, int]:
        return {}

    def _counted(self, indexes: Collection[int]) -> dict[int, int]:
        """How many rows of each window have a label: looked for once, however often it is asked."""
        fresh = []
        for index in indexes:
            if index not in self._counts:
                with suppress(NotFoundError):  # a dry run knows windows that are nowhere kept
                    fresh.append(self.table.window(self.model, index))
        if fresh and not self._known.is_empty():
            keys = self._placed(_around(fresh)).drop_nulls(ID).unique(ID, maintain_order=True)
            keys = keys.filter(pl.Series(self.labels.codes(self._known, keys) >= 0, dtype=pl.Boolean))
            self._counts.update({ref.index: int(_inside(keys, ref).sum()) for ref in fresh})
        return self._counts

    def _frame(self, rows: pl.DataFrame) -> pd.DataFrame:
        index = pd.Index(rows[ID].to_list(), name="prediction_id", dtype=object)
        columns: dict[str, npt.NDArray[Any]] = {}
        for feature, dtype in self.layout.dtypes.items():
            values = rows[f"f:{feature}"]
            if dtype == "str":
                columns[feature] = np.array(values.to_list(), dtype=object)
            else:
                columns[feature] = as_declared(
                    values.cast(pl.Float64).fill_null(float("nan")).to_numpy(writable=True), dtype
                )
        return pd.DataFrame(columns, index=index, columns=list(self.layout.dtypes), copy=False)

    def _as_window(self, ref: WindowRef, rows: pl.DataFrame) -> Window:
        frame = self._frame(rows)
        codes = self.labels.codes(self._known, rows).astype(np.float64)
        return Window(
            ref=ref,
            frame=frame,
            probabilities=rows.select(f"p{k}" for k in range(self.layout.classes)).to_numpy(),
            versions=rows[VERSION].to_numpy().astype(np.int64),
            event_times=pd.DatetimeIndex(rows[AT].to_numpy().astype("datetime64[us]")).tz_localize(UTC),
            labels=label_series(codes, self.labels.classes, frame.index),
        )


REPEATED = 3
"""Windows before, as long as this one, in which the ids of its rows are looked for: their times and ids are read."""

MOST = 0.01
"""Share of a window that one row may stand for."""


def thinned(rows: pl.DataFrame) -> pl.DataFrame:
    """A fair draw of what was served, from rows that stand for more or fewer: each is kept with a probability that
    goes by its weight, the same whenever it is read; no row comes twice.
    """
    weights = rows[WEIGHT].to_numpy()
    if not len(weights) or (weights == weights[0]).all():
        return rows
    weights = np.minimum(weights, MOST * weights.sum())
    hashes: npt.NDArray[np.uint64] = pd.util.hash_array(np.array(rows[ID].to_list(), dtype=object))
    return rows.filter(pl.Series(hashes / 2.0**64 < weights / weights.max()))


def _around(refs: Sequence[WindowRef]) -> Part:
    return Part(min(to_us(ref.start) for ref in refs), max(to_us(ref.end) for ref in refs))


def _numbered(ref: WindowRef) -> Part:
    return Part() if ref.seqs is None else Part(after=ref.seqs[0], last=ref.seqs[1])


def _in_part(part: Part) -> pl.Expr:
    if part.undated:
        return pl.col(AT).is_null() | (pl.col(ORDER).is_null() if part.numbered else pl.lit(False))
    inside = pl.lit(True)
    for column, low, high in ((AT, part.start, part.end), (ORDER, part.after, part.last)):
        # [start, end) of times, (after, last] of whole numbers
        step = 1 if column == ORDER else 0
        if low is not None:
            inside = inside & (pl.col(column) >= low + step)
        if high is not None:
            inside = inside & (pl.col(column) < high + step)
    return inside


def _inside_expr(ref: WindowRef) -> pl.Expr:
    return _in_part(Part(to_us(ref.start), to_us(ref.end))) & _in_part(_numbered(ref))


def _inside(keys: pl.DataFrame, ref: WindowRef) -> pl.Series:
    return keys.select(_inside_expr(ref).fill_null(False)).to_series()
