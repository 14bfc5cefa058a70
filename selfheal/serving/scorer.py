"""One immutable scorer a version: what a request takes once and is answered by wholly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.errors import InputError
from selfheal.input_map import LARGEST
from selfheal.model import MonitoredModel
from selfheal.parts.words import REFUSES, refusal
from selfheal.serving.compiled import CompiledPath, compile_path
from selfheal.table import Pointer

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scorer:
    """A version that serves.

    Attributes
    ----------
    pointer
        Which version, as it was settled.
    model
        The frozen base with the version's adapter.
    path
        Its fast path, or None: then the model scores data frames.
    numeric, texts
        The features by kind, each in the model's order.
    """

    pointer: Pointer
    model: MonitoredModel
    path: CompiledPath | None
    numeric: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def of(cls, model: MonitoredModel, pointer: Pointer) -> Scorer:
        """Compile and warm up; the first request must not be the slow one."""
        numeric = tuple(name for name in model.features if model.dtypes[name] != "str")
        texts = tuple(name for name in model.features if model.dtypes[name] == "str")
        return cls(pointer, model, compile_path(model), numeric, texts)

    @property
    def version(self) -> int:
        """The model version."""
        return self.pointer.version

    def proba(self, numbers: Floats, words: Sequence[Sequence[str | None]], rows: pd.DataFrame | None = None) -> Floats:
        """Probabilities float64 [n, k] of checked rows: numeric columns [n, d] and text columns.

        Parameters
        ----------
        rows
            The same as a frame, where there is one: else it is made for a model without a fast path.

        Raises
        ------
        InputError
            If the model's own preprocessing refuses the rows.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            proba = self._raw(numbers, words, rows)
            if math.isfinite(np.add.reduce(proba, axis=None)):
                return proba
            if not np.isfinite(proba).all():
                odd = np.flatnonzero(~np.isfinite(proba).all(axis=1))
                near = np.clip(numbers[odd], -LARGEST, LARGEST)
                proba[odd] = self._raw(near, [[column[row] for row in odd.tolist()] for column in words])
        if not np.isfinite(proba).all():
            row = int(np.argmin(np.isfinite(proba).all(axis=1)))
            raise InputError(f"row {row}: the model gives no probability; a value is missing and not filled")
        return proba

    def _raw(self, numbers: Floats, words: Sequence[Sequence[str | None]], rows: pd.DataFrame | None = None) -> Floats:
        try:
            if self.path is not None:
                return self.path.proba(numbers, words)
            if rows is not None:
                return self.model.proba_of_units(self.model.adapter.input_map.apply(rows))
            return self.model.predict_proba(self.frame(numbers, words))
        except InputError:
            raise
        except REFUSES as error:
            sent = self.frame(numbers, words) if rows is None else rows
            raise refusal(self.model.input_of, self.model.reference, sent, error) from error

    def frame(self, numbers: Floats, words: Sequence[Sequence[str | None]]) -> pd.DataFrame:
        """The rows as a data frame in the model's column order."""
        columns: dict[str, object] = dict(zip(self.numeric, numbers.T, strict=True))
        columns |= {name: pd.Series(list(column), dtype=object) for name, column in zip(self.texts, words, strict=True)}
        return pd.DataFrame(columns, columns=list(self.model.features))
