"""What a row goes through between its columns and the network, as plain arrays: numpy alone runs it.

A step is a dataclass of arrays, numbers, words and other steps, so that it can be stored as they are and opened again
without the library that made it. What cannot be said so is a function of that library's, and is not stored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Texts = Sequence[Sequence[str | None]]
Step = Callable[[Floats], Floats]
"""float64 [n, d] → [n, e]."""
Block = Callable[[Floats, Texts], Floats]
"""Numeric columns float64 [n, d] and text columns, a list each → [n, e]."""


class UnseenError(Exception):
    """A text or a code of which only the fitted transformer itself knows what becomes; it is not here."""


# ---------------------------------------------------------------------- numbers


@dataclass(frozen=True, eq=False)
class Scaled:
    """``(x - centre) / unit``; None stands for 0 and 1."""

    centre: Floats | None
    unit: Floats | None

    def __call__(self, x: Floats) -> Floats:
        """See the class."""
        return (x - (0.0 if self.centre is None else self.centre)) / (1.0 if self.unit is None else self.unit)


@dataclass(frozen=True, eq=False)
class Ranged:
    """``x · scale + least``, within ``low`` and ``high``."""

    scale: Floats
    least: Floats
    low: float
    high: float

    def __call__(self, x: Floats) -> Floats:
        """See the class."""
        return np.clip(x * self.scale + self.least, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Filled:
    """``values`` where a number is missing, and for each column of ``flags`` whether it was."""

    values: Floats
    flags: NDArray[np.int64] | None

    def __call__(self, x: Floats) -> Floats:
        """See the class."""
        gaps = np.isnan(x)
        made = np.where(gaps, self.values, x)
        return made if self.flags is None else np.concatenate([made, gaps[:, self.flags]], axis=1)


@dataclass(frozen=True, eq=False)
class Chain:
    """One step after the other."""

    steps: tuple[Step, ...]

    def __call__(self, x: Floats) -> Floats:
        """See the class."""
        for step in self.steps:
            x = step(x)
        return x


@dataclass(frozen=True, eq=False)
class Beside:
    """What each step makes of the same columns, side by side; None leaves them as they are."""

    steps: tuple[Step | None, ...]

    def __call__(self, x: Floats) -> Floats:
        """See the class."""
        return np.concatenate([x if step is None else step(x) for step in self.steps], axis=1)


FUNCTIONS: dict[str, Step] = {
    function.__name__: function
    for function in (
        np.absolute, np.cbrt, np.cos, np.exp, np.expm1, np.log, np.log10, np.log1p, np.log2, np.negative, np.sin,
        np.sqrt, np.square, np.tanh,
    )
}  # fmt: skip
"""Of numpy's, those that a fitted ``FunctionTransformer`` may be stored with, by name."""


@dataclass(frozen=True, eq=False)
class Function:
    """One of :data:`FUNCTIONS`."""

    name: str

    def __call__(self, x: Floats) -> Floats:
        """See the class."""
        return np.asarray(FUNCTIONS[self.name](x), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Codes:
    """What becomes of one column's codes: as :class:`Levels`, of numbers in increasing order, NaN the last."""

    values: Floats
    outputs: NDArray[np.int64]
    made: Floats

    def rows(self, column: Floats) -> NDArray[np.int64]:
        """Rows of ``made`` [n]; -1 for a code of which nothing is known."""
        near = np.minimum(np.searchsorted(self.values, column), len(self.values) - 1)
        at = self.values[near]
        known = (at == column) | (np.isnan(at) & np.isnan(column))
        return np.where(known, near, len(self.values) if len(self.made) > len(self.values) else -1)


@dataclass(frozen=True, eq=False)
class Coded:
    """What an encoder makes of columns of codes, a :class:`Codes` each; ``base`` [e] where none decides."""

    base: Floats
    columns: tuple[Codes, ...]

    def __call__(self, x: Floats) -> Floats:
        """See the class.

        Raises
        ------
        UnseenError
            Of a code nothing is known.
        """
        out = np.repeat(self.base[None, :], len(x), axis=0)
        for place, column in enumerate(self.columns):
            rows = column.rows(x[:, place])
            if (rows < 0).any():
                raise UnseenError
            out[:, column.outputs] = column.made[rows]
        return out


# ---------------------------------------------------------------------- blocks


@dataclass(frozen=True, eq=False)
class Picked:
    """Some numeric columns, through a step if there is one."""

    places: tuple[int, ...]
    step: Step | None = None

    def __call__(self, numbers: Floats, texts: Texts) -> Floats:
        """See the class."""
        whole = self.places == tuple(range(numbers.shape[1]))
        chosen = numbers if whole else numbers[:, list(self.places)]
        return chosen if self.step is None else self.step(chosen)


@dataclass(frozen=True, eq=False)
class Joined:
    """Blocks side by side, and what follows them."""

    blocks: tuple[Block, ...]
    step: Step | None = None

    def __call__(self, numbers: Floats, texts: Texts) -> Floats:
        """See the class."""
        made = self.blocks[0](numbers, texts)
        if len(self.blocks) > 1:
            made = np.concatenate([made, *(block(numbers, texts) for block in self.blocks[1:])], axis=1)
        return made if self.step is None else self.step(made)


@dataclass(frozen=True, eq=False)
class Levels:
    """What becomes of one text column's values.

    Attributes
    ----------
    place
        Which text column it is.
    values
        Those that are known; None is a gap.
    outputs
        Columns of the output that it decides [e].
    made
        What they are then: float64 [values, e]; a last row more says what any other value makes.
    """

    place: int
    values: tuple[str | None, ...]
    outputs: NDArray[np.int64]
    made: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "_rows", {value: row for row, value in enumerate(self.values)})
        object.__setattr__(self, "_other", len(self.values) if len(self.made) > len(self.values) else -1)

    def rows(self, texts: Texts) -> NDArray[np.int64]:
        """Rows of ``made`` [n]; -1 for a text of which nothing is known."""
        known: dict[str | None, int] = self._rows  # type: ignore[attr-defined]
        other: int = self._other  # type: ignore[attr-defined]
        return np.array([known.get(text, other) for text in texts[self.place]], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Table:
    """What a transformer makes of text, column by column.

    Attributes
    ----------
    base
        The output [e] where no column decides.
    columns
        What each decides.
    asked
        The transformer itself, for a text of which nothing is known; it is never stored.
    """

    base: Floats
    columns: tuple[Levels, ...]
    asked: Callable[[list[list[str | None]]], Floats] | None = None

    def __call__(self, numbers: Floats, texts: Texts) -> Floats:
        """See the class.

        Raises
        ------
        UnseenError
            Of a text nothing is known, and the transformer is not here.
        """
        out = np.repeat(self.base[None, :], len(numbers), axis=0)
        strange = np.zeros(len(numbers), dtype=bool)
        for column in self.columns:
            rows = column.rows(texts)
            out[:, column.outputs] = column.made[rows]
            strange |= rows < 0
        if strange.any():
            if self.asked is None:
                raise UnseenError
            unseen = np.flatnonzero(strange).tolist()
            out[unseen] = self.asked([[texts[column.place][row] for row in unseen] for column in self.columns])
        return out


STEPS = (Scaled, Ranged, Filled, Function, Codes, Coded, Chain, Beside, Picked, Joined, Levels, Table)
