"""What the loop asks of a log."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from selfheal.policy import WindowSpec
from selfheal.table import Gap, Refusal, Window, WindowRef


class Tally(NamedTuple):
    """What became of a window's rows.

    Attributes
    ----------
    used
        How many are in the window.
    refused
        The others, by reason and column.
    size
        How many there were when it was read; None where late rows are not counted.
    dropped
        Rows of its time that were answered and are in no log.
    """

    used: int
    refused: tuple[Refusal, ...]
    size: int | None = None
    dropped: tuple[Gap, ...] = ()


class Source(Protocol):
    """The predictions of one model, wherever they are kept.

    Every method raises :class:`~selfheal.errors.UnavailableError` where the log cannot be read now, and
    :class:`~selfheal.errors.InputError` where it is not what the policy says.
    """

    @property
    def says(self) -> str:
        """What follows "50 of 200 rows" where they are in no window: who left them out."""

    def closed_windows(
        self, spec: WindowSpec, *, until: datetime, lateness: timedelta, min_rows: int
    ) -> list[WindowRef]:
        """Windows that closed before ``until - lateness`` and were not processed yet, in order; bounds stay fixed."""

    def read(self, ref: WindowRef, limit: int | None = None) -> Window:
        """A window's rows, with the labels that have come; at most ``limit``, spread evenly over it."""

    def labelled(self, ref: WindowRef) -> Window:
        """Those of a window's rows whose label has come, up to :data:`~selfheal.table.reading.LABELLED_ROWS`."""

    def labelled_windows(self, indexes: Collection[int]) -> dict[int, int]:
        """Of these windows those with labelled rows: index → how many :meth:`labelled` would read."""

    def first_labelled(self, first: int) -> int | None:
        """Index of the first processed window from ``first`` on that has labelled rows; None where none has."""

    def latencies(self, ref: WindowRef) -> npt.NDArray[np.float64]:
        """Milliseconds float64 ``[n]`` that requests of a window took; empty where the log does not say."""

    def tally(self, ref: WindowRef) -> Tally:
        """How many of a window's rows can be used, and what is wrong with the others."""

    def counted(self, refs: Sequence[WindowRef]) -> dict[int, int]:
        """Index → how many rows lie in each of these windows now; empty where late rows are not counted."""
