"""The interpretable part of an adapter: a map a column, from raw units to the model's; and an adapter in words.

Needs no torch, so that who only shows what serves need not wait for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

DECIMALS = 9
"""Mapped values are rounded to 1e-9, so that 32 °F comes back from 0 °C as 32 and not as 31.999999999999996: ties
in the data stay ties, which rank statistics and rules such as ``temp <= 32`` need."""

BEYOND, LARGEST = 1e30, 1e12
"""No quantity is larger than the first; what is, infinities too, is a broken number. Scored, compared and reported it
counts as the second: 32-bit floats end at 3e38, squares of 64-bit ones at 1e154, and one odd value must not spoil the
other rows. It is logged as it was sent."""


def fractional(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of floats: others hold nothing so large, and nothing infinite."""
    kept = [name for name, dtype in frame.dtypes.items() if dtype.kind == "f"]
    return frame if len(kept) == frame.shape[1] else frame[kept]


def bounded(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with every number that is :data:`BEYOND` any quantity at :data:`LARGEST`; what is missing stays so."""
    numbers = fractional(frame)
    plain = all(isinstance(dtype, np.dtype) for dtype in numbers.dtypes)  # others have a missing value of their own
    values = numbers.to_numpy(np.float64) if plain else numbers.to_numpy(np.float64, na_value=np.nan)
    broken = np.abs(values) > BEYOND
    if not broken.any():
        return frame
    odd = numbers.loc[:, broken.any(axis=0)]
    return frame.assign(**odd.mask(odd > BEYOND, LARGEST).mask(odd < -BEYOND, -LARGEST))


@dataclass(frozen=True)
class ColumnMap:
    """One column, raw unit → model unit, and the words for it.

    ``y = (scale · x + offset) mod modulo``, or, with ``knots`` (two increasing rows of numbers), the line through
    them: a sensor whose curve bent.
    """

    scale: float = 1.0
    offset: float = 0.0
    words: str = ""
    modulo: float | None = None
    knots: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map float [n] → float [n], rounded to 1e-9; NaN stays NaN."""
        with np.errstate(over="ignore", invalid="ignore"):  # of what is beyond any quantity: see `bounded`
            mapped = values * self.scale + self.offset if self.knots is None else _through(values, *self.knots)
            if self.modulo is not None:
                mapped = np.mod(mapped, self.modulo)
            return np.round(mapped, DECIMALS)

    def describe(self) -> str:
        """In words if they are known, else as a formula."""
        if self.knots is not None:
            return self.words or f"a curve through {len(self.knots[0])} points"
        factor = "" if self.scale == 1.0 else f"{self.scale:.6g}·"
        step = f" {'+' if self.offset > 0 else '−'} {abs(self.offset):.6g}" if self.offset else ""
        return self.words or f"{factor}x{step}"


def _through(values: NDArray[np.float64], xs: tuple[float, ...], ys: tuple[float, ...]) -> NDArray[np.float64]:
    """The line through the knots, continued beyond them with the slope of the last piece."""
    inside = np.interp(values, xs, ys)
    low = ys[0] + (values - xs[0]) * (ys[1] - ys[0]) / (xs[1] - xs[0])
    high = ys[-1] + (values - xs[-1]) * (ys[-1] - ys[-2]) / (xs[-1] - xs[-2])
    return np.where(values < xs[0], low, np.where(values > xs[-1], high, inside))


@dataclass(frozen=True)
class InputMap:
    """Per-column maps from raw units to model units; columns that are not named pass unchanged."""

    columns: Mapping[str, ColumnMap] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.columns)

    def apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        """A frame [n, d] in raw units → the same rows in model units; the input is not changed."""
        if not self.columns:
            return frame
        return frame.assign(
            **{
                name: m.apply(frame[name].to_numpy(dtype=np.float64))
                for name, m in self.columns.items()
                if name in frame
            }
        )

    def describe(self) -> list[str]:
        """One line a column, for people: ``["temperature: °C → °F"]``."""
        return [f"{name}: {m.describe()}" for name, m in self.columns.items()]


def column_map(entry: Mapping[str, Any]) -> ColumnMap:
    """A column's map from its fields, as JSON has them."""
    knots = entry.get("knots")
    return ColumnMap(**{**entry, "knots": None if knots is None else (tuple(knots[0]), tuple(knots[1]))})


def changed(input_map: InputMap, layer: bool, offset: NDArray[np.float64] | None) -> tuple[str, ...]:
    """The parts of an adapter that differ from the identity, in the order in which a row meets them."""
    present = {
        "input map": bool(input_map),
        "ReflexiveLayer": layer,
        "logit offset": offset is not None and bool(np.any(offset)),
    }
    return tuple(name for name, there in present.items() if there)


def in_words(input_map: InputMap, width: int | None, offset: NDArray[np.float64] | None) -> list[str]:
    """What an adapter does, one line a part or column; ``width`` is that of its layer, None without one."""
    lines = input_map.describe()
    if width is not None:
        lines.append(f"ReflexiveLayer on the hidden state ({width} → {width})")
    if offset is not None and np.any(offset):
        lines.append("logit offset " + ", ".join(f"{v:+.3f}" for v in offset))
    return lines or ["identity"]
