"""The grid that a column was recorded on: tenths of a degree, whole knots in miles per hour, minutes in hours.

A value in another unit falls off its grid, and comes back onto it exactly under the right conversion only. That tells
knots from km/h where their distributions do not, and needs no day to be like the days before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

DECIMALS = tuple(m * 10.0**k for k in (2, 1, 0, -1, -2, -3, -4) for m in (1.0, 0.5, 0.25))
"""Recording steps that are looked for first, largest first: most logged numbers are rounded to one of these."""

STRAY = 0.005
"""Share of values that may be off the grid a column has: wild rows."""

MOST_STEPS, FEWEST_STEPS = 10_000, 8
"""Steps between the 2 and 98 % quantiles that an odd grid may have; electricity prices in cents have
5000; with more it is as good as continuous."""

FEWEST_VALUES, PER_VALUE = 12, 20
"""An odd step is fitted, so it must hold for more distinct values than a step could be bent to, and have at most so
many marks for each of them: of 960 frequencies one fits a dozen random values in a hundred columns."""

COHERENT = 0.97
"""Mean resultant length of the values' phases from which they share a period; of 20 random ones it is about .2."""

NEAR_RHYTHM = 0.85
"""The same at a frequency that is at most an eighth of a turn off over the whole range (the scan's spacing)."""

EXACT = 1e-6
"""Values are as exact as this part of themselves: floats of 32 bits, converted there and back."""

WIDEST = 0.05
"""A value counts as on the grid within this part of a step at most, and one value in ten then lies there by chance."""


@dataclass(frozen=True)
class Grid:
    """``origin + k · step`` for whole k; a value within ``slack`` of it is on it. Step 0: there is no grid.

    >>> Grid.of(np.array([0.5, 12.3, 7.1, -4.0])).step
    0.1
    """

    step: float = 0.0
    origin: float = 0.0
    slack: float = 0.0

    @classmethod
    def of(cls, values: Floats) -> Grid:
        """The largest step of which nearly all values [n] are multiples, up to a common offset."""
        if len(values) == 0 or np.ptp(values) == 0:
            return cls()
        plain = cls.decimal(values)
        odd = _odd(values)
        return odd if odd.step > 1.5 * plain.step and odd.holds(values) else plain

    @classmethod
    def decimal(cls, values: Floats) -> Grid:
        """The largest decimal step of which nearly all values [n] are multiples: how their recorder writes."""
        if len(values) == 0:
            return cls()
        return next((g for g in map(_decimal, DECIMALS) if np.ptp(values) > 3 * g.step and g.holds(values)), cls())

    def on(self, values: Floats, slack: float = 0.0) -> Flags:
        """Which values [n] lie on it; all, where there is none. ``slack``: by how much they may be off besides."""
        if self.step <= 0:
            return np.ones(len(values), dtype=bool)
        gap = np.abs(values - self.origin - np.round((values - self.origin) / self.step) * self.step)
        return np.asarray(gap <= np.maximum(max(self.slack, slack), EXACT * np.abs(values)))

    def off(self, values: Floats) -> float:
        """Share of values [n] that lie off it."""
        return float(1.0 - self.on(values).mean()) if len(values) else 0.0

    def holds(self, values: Floats) -> bool:
        """Whether nearly all values [n] lie on it."""
        # The first few already show that most columns have no such grid: as many off it as all may be.
        few = values[: max(256, len(values) // 100)]
        if self.off(few) * len(few) >= STRAY * len(values):
            return False
        exact = EXACT * float(np.median(np.abs(values))) <= WIDEST * self.step
        return exact and self.off(values) < STRAY


def written(values: Floats) -> float:
    """The step of the last digit that values [n] are written with; 0 where they have more than six decimals.

    Unlike a grid it is read off the digits, so it holds for large values with many decimals too.

    >>> written(np.array([20.865, 116.25])), written(np.array([1 / 3, 2.0])), written(np.array([1200.0, 300.0]))
    (0.001, 0.0, 100.0)
    """
    for places in range(-9, 7):
        gap = np.abs(values - np.round(values, places))
        if len(values) and float((gap > 1e-9 * np.maximum(1.0, np.abs(values))).mean()) < STRAY:
            return float(10.0**-places)
    return 0.0


def _decimal(step: float) -> Grid:
    return Grid(step, 0.0, 1e-4 * step)


def _odd(values: Floats) -> Grid:
    """A grid of any step and origin: the longest period that the distinct values share, then least squares.

    °F that were whole tenths of °C lie on 0.18 k + 0.14; knots in miles per hour on 1.15078 k.
    """
    distinct = _between(values, 0.02)
    if len(distinct) < FEWEST_VALUES:
        return Grid()
    most_steps = min(MOST_STEPS, PER_VALUE * len(distinct))
    rhythm = (np.arange(4 * FEWEST_STEPS, 4 * most_steps) / 4) / np.ptp(distinct)
    # A few values rule out nearly every frequency; the rest are asked with up to 200.
    for most in (6, 12, 200):
        rhythm = rhythm[_coherence(rhythm, _spread(distinct, most)) > NEAR_RHYTHM]
        if not len(rhythm):
            return Grid()
    distinct = _between(values, 0.005)
    step, origin = _refined(distinct, 1.0 / rhythm[0])
    if step <= 0 or _coherence(np.array([1.0 / step]), distinct)[0] < COHERENT:
        return Grid()
    residual = np.abs(distinct - origin - np.round((distinct - origin) / step) * step)
    slack = 4.0 * float(np.quantile(residual, 0.99))
    return Grid(step, origin % step, min(max(slack, 1e-4 * step), WIDEST * step))


def _between(values: Floats, tail: float) -> Floats:
    """The distinct values without the rarest at both ends."""
    low, high = np.quantile(values, [tail, 1 - tail])
    return np.asarray(np.unique(values[(values >= low) & (values <= high)]))


def _spread(values: Floats, most: int) -> Floats:
    return np.asarray(values[np.unique(np.linspace(0, len(values) - 1, most).astype(int))])


def _coherence(rhythm: Floats, values: Floats) -> Floats:
    """``|mean exp(2πi f v)|`` for every frequency f: 1 where all values share the phase."""
    turns = np.outer(rhythm, values - values[0])
    # An angle needs no more digits, and 400,000 of them are asked.
    angles = ((turns - np.round(turns)) * (2 * np.pi)).astype(np.float32)
    return np.asarray(np.hypot(np.cos(angles).mean(axis=1), np.sin(angles).mean(axis=1)), dtype=np.float64)


def _refined(distinct: Floats, step: float) -> tuple[float, float]:
    """Least squares of the values on their count of steps, from the middle outwards: the step gets sharper."""
    origin = float(distinct[len(distinct) // 2])
    for share in (0.1, 0.2, 0.4, 0.7, 1.0, 1.0):
        near = distinct[np.argsort(np.abs(distinct - origin))[: max(FEWEST_VALUES // 2, int(share * len(distinct)))]]
        count = np.round((near - origin) / step)
        if np.ptp(count) == 0:
            return 0.0, 0.0
        step, shift = np.polyfit(count, near, 1)
        origin = float(shift)
    return float(step), origin
