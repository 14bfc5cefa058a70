"""Preprocessing that reads numbers it cannot take as the nearest ones that it is known to take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


class Within:
    """Fitted preprocessing for rows that nobody has sent: a heal tries what a column may have been before.

    A logarithm, say, raises below zero, or makes infinities on which a scaler then raises. Such rows are read within
    the range of the reference: how unlike healthy rows they are is told by the columns themselves.

    Parameters
    ----------
    taken
        The preprocessing.
    known
        Rows that it takes.
    """

    def __init__(self, taken: Any, known: pd.DataFrame) -> None:
        self._taken = taken
        numbers = known.select_dtypes("number")
        self._low, self._high = numbers.min(), numbers.max()

    def transform(self, rows: pd.DataFrame) -> Any:
        """What preprocessing makes of rows, of those that it refuses once they are within the range that it knows."""
        with np.errstate(all="ignore"):
            try:
                made = self._taken.transform(rows)
            except ValueError:
                made = None
            if made is not None and _finite(made):
                return made
            columns = [c for c in self._low.index if c in rows and pd.api.types.is_numeric_dtype(rows[c])]
            inside = rows[columns].clip(self._low[columns], self._high[columns], axis=1)
            return self._taken.transform(rows.assign(**inside.astype(rows.dtypes[columns])))


def _finite(made: Any) -> bool:
    held = made.data if hasattr(made, "toarray") else made
    return bool(np.isfinite(np.asarray(held, dtype=np.float64)).all())
