"""One immutable scorer a version: what a request takes once and is answered by wholly."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from selfheal.adapter_file import check_fits, read_adapter
from selfheal.errors import ArtifactError, InputError, UnavailableError
from selfheal.input_map import LARGEST, InputMap
from selfheal.parts.path import CompiledPath
from selfheal.parts.signature import REFUSES, Signature
from selfheal.parts.steps import UnseenError
from selfheal.serving.base import Base
from selfheal.table import Pointer

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.model import MonitoredModel

Floats = NDArray[np.float64]

_log = logging.getLogger("selfheal.serving")


class NotHereError(Exception):
    """What is asked needs what is not loaded yet, and takes long; who may wait asks again."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """A version that serves.

    Attributes
    ----------
    pointer
        Which version, as it was settled.
    base
        The frozen base that it adapts.
    path
        Its fast path, or None: then the model scores data frames.
    input_map, changed_part
        Of its adapter.
    numeric, texts
        The features by kind, each in the model's order.
    """

    pointer: Pointer
    base: Base
    path: CompiledPath | None
    input_map: InputMap
    changed_part: str
    numeric: tuple[str, ...]
    texts: tuple[str, ...]

    @classmethod
    def on(cls, base: Base, pointer: Pointer) -> Scorer:
        """A settled version on its base, compiled: the first request must not be the slow one.

        Raises
        ------
        ArtifactError
            The adapter is none, or does not fit the base.
        """
        adapter, signature = read_adapter(pointer.adapter), base.signature
        numeric = tuple(name for name in signature.features if signature.dtypes[name] != "str")
        texts = tuple(name for name in signature.features if signature.dtypes[name] == "str")
        if base.path is None:
            path = _compiled(_adapted(base, pointer))
        else:
            check_fits(adapter, base.digest, signature.dtypes, base.path.hidden, len(signature.classes))
            path = base.path.with_adapter(adapter, numeric)
        return cls(pointer, base, path, adapter.input_map, adapter.changed_part, numeric, texts)

    @cached_property
    def model(self) -> MonitoredModel:
        """The whole model with the version's adapter; opened the first time, see :class:`Base`."""
        try:
            return _adapted(self.base, self.pointer)
        except (ArtifactError, UnavailableError) as error:
            if self.base.whole:
                raise
            # The words name a folder, and a client has nothing to do with it.
            _log.error("%s: the whole model is asked for and can't be opened: %s", self.pointer.model, error)
            raise UnavailableError(
                "a value here is one that only the whole model knows, and it can't be opened now; the service's log "
                "says why. Send known values, or the same again later"
            ) from error

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self.base.signature

    @property
    def version(self) -> int:
        """The model version."""
        return self.pointer.version

    def proba(
        self,
        numbers: Floats,
        words: Sequence[Sequence[str | None]],
        rows: pd.DataFrame | None = None,
        *,
        waits: bool = True,
    ) -> Floats:
        """Probabilities float64 [n, k] of checked rows: numeric columns [n, d] and text columns.

        Parameters
        ----------
        rows
            The same as a frame, where there is one: else it is made for a model without a fast path.
        waits
            Whether the caller may be kept for as long as opening the whole model takes.

        Raises
        ------
        InputError
            If the model's own preprocessing refuses the rows.
        NotHereError
            The whole model is needed, is not here, and the caller can't wait.
        """
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            proba = self._raw(numbers, words, rows, waits)
            if math.isfinite(np.add.reduce(proba, axis=None)):
                return proba
            if not np.isfinite(proba).all():
                odd = np.flatnonzero(~np.isfinite(proba).all(axis=1))
                near = np.clip(numbers[odd], -LARGEST, LARGEST)
                proba[odd] = self._raw(near, [[column[row] for row in odd.tolist()] for column in words], None, waits)
        if not np.isfinite(proba).all():
            row = int(np.argmin(np.isfinite(proba).all(axis=1)))
            why = (
                "a value is missing and not filled"
                if np.isnan(numbers[row]).any()
                else "is a value outside of what its preprocessing is defined for, as a logarithm of one below zero?"
            )
            raise InputError(f"row {row}: the model gives no probability; {why}")
        return proba

    def _raw(
        self, numbers: Floats, words: Sequence[Sequence[str | None]], rows: pd.DataFrame | None, waits: bool
    ) -> Floats:
        try:
            if self.path is not None:
                try:
                    return self.path.proba(numbers, words)
                except UnseenError:
                    self._must_be_here(waits)
            if rows is not None:
                return self.model.proba_of_units(self.input_map.apply(rows))
            return self.model.predict_proba(self.frame(numbers, words))
        except InputError:
            raise
        except REFUSES as error:
            self._must_be_here(waits)
            from selfheal.parts.words import refusal

            sent = self.frame(numbers, words) if rows is None else rows
            raise refusal(self.model.input_of, self.model.reference, sent, error) from error

    def _must_be_here(self, waits: bool) -> None:
        if not waits and not self.base.whole:
            raise NotHereError

    def frame(self, numbers: Floats, words: Sequence[Sequence[str | None]]) -> pd.DataFrame:
        """The rows as a data frame in the model's column order."""
        import pandas as pd

        columns: dict[str, object] = dict(zip(self.numeric, numbers.T, strict=True))
        columns |= {name: pd.Series(list(column), dtype=object) for name, column in zip(self.texts, words, strict=True)}
        return pd.DataFrame(columns, columns=list(self.signature.features))


def _adapted(base: Base, pointer: Pointer) -> MonitoredModel:
    from selfheal.adapter import Adapter

    return base.model.with_adapter(Adapter.from_bytes(pointer.adapter))


def _compiled(model: MonitoredModel) -> CompiledPath | None:
    from selfheal.parts.compiled import compile_path

    return compile_path(model)
