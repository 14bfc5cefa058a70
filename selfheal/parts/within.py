"""Preprocessing for the thousands of rows that a heal tries: in arrays, and for numbers that it was never asked."""

from __future__ import annotations

import numpy as np
import pandas as pd

from selfheal.parts.blocks import Fitted, blocks_of, kinds_of, words_of
from selfheal.parts.columns import as_fitted, dense, transformed
from selfheal.parts.steps import Floats

_ROWS = 256
"""So many reference rows are asked of both before arrays are believed."""


class Within:
    """Fitted preprocessing for rows that nobody has sent: a heal tries what a column may have been before.

    A logarithm, say, raises below zero, or makes infinities on which a scaler then raises. Such rows are read within
    the range of the reference: how unlike healthy rows they are is told by the columns themselves. Rows are taken as
    arrays where the reference comes out the same to the last bit, a tenth of the time of data frames.

    Parameters
    ----------
    model
        Whose preprocessing, and the rows that it takes.
    """

    def __init__(self, model: Fitted) -> None:
        self._taken = model.preprocess
        numbers = model.reference.select_dtypes("number")
        self._low, self._high = numbers.min(), numbers.max()
        self._numeric, self._texts = kinds_of(model)
        self._blocks = blocks_of(model)
        if self._blocks is not None and not self._agrees(model):
            self._blocks = None

    def transform(self, rows: pd.DataFrame) -> Floats:
        """What preprocessing makes of rows, of those that it refuses once they are within the range that it knows."""
        with np.errstate(all="ignore"):
            try:
                made = self._made(rows)
            except Exception:  # whatever a transformer of one's own raises on numbers that it never met
                made = None
            if made is not None and np.isfinite(made).all():
                return made
            columns = [c for c in self._low.index if c in rows and pd.api.types.is_numeric_dtype(rows[c])]
            inside = rows[columns].clip(self._low[columns], self._high[columns], axis=1)
            return dense(transformed(self._taken, rows.assign(**inside.astype(rows.dtypes[columns]))))

    def _made(self, rows: pd.DataFrame) -> Floats:
        if self._blocks is None:
            return dense(transformed(self._taken, rows))
        numbers = rows[self._numeric].to_numpy(dtype=np.float64)
        texts = [words_of(rows[name]) for name in self._texts]
        parts = [block(numbers, texts) for block in self._blocks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _agrees(self, model: Fitted) -> bool:
        rows = as_fitted(model.reference.iloc[:: max(1, len(model.reference) // _ROWS)], model.nulls)
        try:
            return np.array_equal(self._made(rows), dense(transformed(self._taken, rows)), equal_nan=True)
        except Exception:  # whatever a transformer of one's own raises on an array that has no names
            return False
