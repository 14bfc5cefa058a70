"""The own table, filled by ``selfheal serve``: rows and state lie in one database."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from selfheal.log.source import Tally
from selfheal.policy import WindowSpec
from selfheal.table import InferenceTable, Window, WindowRef


@dataclass(frozen=True)
class OwnTable:
    """The rows of ``model`` in ``table``, see :class:`~selfheal.log.source.Source`."""

    table: InferenceTable
    model: str

    says = "were refused by the service"

    def closed_windows(
        self, spec: WindowSpec, *, until: datetime, lateness: timedelta, min_rows: int
    ) -> list[WindowRef]:
        """See :meth:`InferenceTable.closed_windows`."""
        return self.table.closed_windows(self.model, spec, until=until, lateness=lateness, min_rows=min_rows)

    def read(self, ref: WindowRef, limit: int | None = None) -> Window:
        """See :meth:`InferenceTable.read`."""
        return self.table.read(ref, limit)

    def labelled(self, ref: WindowRef) -> Window:
        """See :meth:`InferenceTable.labelled`."""
        return self.table.labelled(ref)

    def labelled_windows(self, indexes: Collection[int]) -> dict[int, int]:
        """See :meth:`InferenceTable.labelled_windows`."""
        return self.table.labelled_windows(self.model, indexes)

    def first_labelled(self, first: int) -> int | None:
        """See :meth:`InferenceTable.first_labelled`."""
        return self.table.first_labelled(self.model, first)

    def latencies(self, ref: WindowRef) -> npt.NDArray[np.float64]:
        """See :meth:`InferenceTable.latencies`."""
        return self.table.latencies(ref)

    def tally(self, ref: WindowRef) -> Tally:
        """All rows, and what the service refused, or could not log, since the window before."""
        refused, dropped = self.table.gaps.around(ref)
        return Tally(ref.rows, tuple(refused), dropped=tuple(dropped))

    def counted(self, refs: Sequence[WindowRef]) -> dict[int, int]:
        """Nothing: late rows of the own table are not counted."""
        return {}
