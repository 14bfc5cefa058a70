"""How far a window lies from the healthy ones under maps that are tried: a column under a map is computed once.

Of sixty-four pixels each is tried under its neighbours' conversions, and the other sixty-three are as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from selfheal.adapter import ColumnMap
from selfheal.drift.stats import Floats, gaussian_kl
from selfheal.drift.yardstick import total
from selfheal.healing.case import Case, once_a_case
from selfheal.healing.fits.known import Maps


@dataclass(frozen=True)
class _Column:
    """What a column is under a map: encoded [n], KS distance from the pool, share of values never seen."""

    values: Floats
    marginal: float
    outside: float


@dataclass(frozen=True)
class Tried:
    """A window under one map after another."""

    case: Case
    _known: dict[tuple[int, ColumnMap | None], _Column] = field(default_factory=dict)

    def total(self, maps: Maps) -> float:
        """:meth:`selfheal.drift.yardstick.Yardstick.total` of the window's rows under the maps, to the last bit."""
        columns = [self._column(j, maps.get(name)) for j, name in enumerate(self.case.model.features)]
        scale = self.case.stick.scale
        joint = gaussian_kl(scale, scale.z(np.column_stack([each.values for each in columns])))
        outside, marginal = (np.array([getattr(each, what) for each in columns]) for what in ("outside", "marginal"))
        return total(joint, outside, marginal)

    def _column(self, j: int, one: ColumnMap | None) -> _Column:
        if (j, one) not in self._known:
            self._known[j, one] = self._computed(j, one)
        return self._known[j, one]

    def _computed(self, j: int, one: ColumnMap | None) -> _Column:
        case, stick = self.case, self.case.stick
        values = case.encoded[:, j]
        if one is not None:
            sent = case.raw[case.model.features[j]].to_numpy(dtype=np.float64, na_value=np.nan)
            values = stick.encode_column(one.apply(sent), j)
        return _Column(values, stick.ks(values, j), stick.support.outside_column(values, j))


@once_a_case
def tried(case: Case) -> Tried:
    """The window of a case under maps."""
    return Tried(case)
