"""How far a window lies from a pool of rows: cheap exact statistics, each a definition of a few lines.

All take plain arrays. ``x`` is the window, float [n, d]; ``pool`` what it is held against, float [m, d]; ``weights``
[m] reweights the pool (a prior shift, say) and sums to anything positive. Shares and distances are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.grid import Grid

Floats = NDArray[np.float64]

CLIP = 8.0
"""Standardised values are clipped here: one wild row (a pressure of 5503 hPa stands in the weather data) must not
decide a mean or a covariance of a thousand."""

FEW_LEVELS = 60
"""A column with at most this many values is taken as a code, and a value off its levels as never seen."""

MISSED = 0.01
"""Part of the smallest gap between codes by which a value may miss one: what was converted, written and undone."""

ORDERED = 10
"""Codes from which whole numbers without a gap are taken as counted or rounded."""


HEAVY = 0.05
"""Share of the rows from which a value's cell reaches as far to both sides ..."""

UNEVEN = 4.0
"""... where it would be so many times as wide on one of them."""


class Cells(NamedTuple):
    """A sample as its distance from another is taken: borders halfway between its distinct values, and the share below.

    Attributes
    ----------
    borders, shares : float [levels + 1], one more for each heavy value that lies alone; empty without values.
    """

    borders: Floats
    shares: Floats

    @classmethod
    def of(cls, values: Floats, weights: Floats | None = None) -> Cells:
        """Of a float vector [m], which may be weighted [m]."""
        if len(values) == 0:
            return cls(np.empty(0), np.empty(0))
        if weights is None:
            levels, mass = np.unique(values, return_counts=True)
        else:
            levels, where = np.unique(values, return_inverse=True)
            mass = np.bincount(where, weights=weights)
        share = np.concatenate(([0.0], np.cumsum(mass) / mass.sum()))
        if len(levels) == 1:
            # One value has no cell of its own: as narrow as a float tells apart.
            gap = np.maximum(np.abs(levels), 1.0) * 1e-9
            return cls(np.concatenate((levels - gap, levels + gap)), share)
        half = np.diff(levels) / 2
        below, above = np.concatenate((half[:1], half)), np.concatenate((half, half[-1:]))
        borders = np.concatenate((levels[:1] - half[0], levels + above))
        # What many rows share lies no farther to the one side than to the other: a wild row far out stretches nothing.
        heavy = np.flatnonzero(
            (np.diff(share) >= HEAVY) & (np.maximum(below, above) > UNEVEN * np.minimum(below, above))
        )
        if not len(heavy):
            return cls(borders, share)
        narrow = np.minimum(below, above)[heavy]
        cut = np.where(below[heavy] > above[heavy], levels[heavy] - narrow, levels[heavy] + narrow)
        at = heavy + 1
        return cls(np.insert(borders, at, cut), np.insert(share, at, share[heavy + (below[heavy] <= above[heavy])]))


def ks(x: Floats, pool: Floats | Cells, weights: Floats | None = None) -> float:
    """Two-sample Kolmogorov-Smirnov distance of two float vectors [n], [m]; the pool may be weighted.

    How finely a value is written is a habit of the recorder: both are compared at the cell borders of the coarser one
    (the one with fewer distinct values), the other's ties spread over their own cells. A pool that many windows are
    held against may come as its :class:`Cells`.

    >>> ks(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    1.0
    >>> round(ks(np.array([0.0, 1.0, 2.0]), np.array([-0.3, 0.3, 0.7, 1.3, 1.7, 2.3])), 2)
    0.03
    """
    ours, theirs = Cells.of(x), pool if isinstance(pool, Cells) else Cells.of(pool, weights)
    if len(ours.borders) == 0 or len(theirs.borders) == 0:
        return 0.0
    coarse, fine = (ours, theirs) if len(ours.borders) <= len(theirs.borders) else (theirs, ours)
    return float(np.abs(np.interp(coarse.borders, *fine, left=0.0, right=1.0) - coarse.shares).max())


def ks_columns(x: Floats, pool: Sequence[Cells]) -> Floats:
    """:func:`ks` of every column [n, d] from the pool's: float [d]."""
    return np.array([ks(x[:, j], cells) for j, cells in enumerate(pool)])


KS_CHANCE = 1.95
"""Of two samples' KS distance, over √(1/n + 1/m): beyond it once in a thousand (asymptotic law)."""


def ks_chance(n: int, m: int) -> float:
    """The KS distance that two samples of one column, n and m values, exceed once in a thousand."""
    return KS_CHANCE * float(np.sqrt(1 / max(n, 1) + 1 / max(m, 1)))


def columns(pool: Floats, weights: Floats | None = None) -> tuple[Cells, ...]:
    """The cells of every column of a pool [m, d]."""
    return tuple(Cells.of(column, weights) for column in pool.T)


@dataclass(frozen=True)
class Scale:
    """Location and spread per column, robust to wild rows, and the pool's inverse covariance on that scale."""

    center: Floats
    spread: Floats
    precision: Floats
    mean: Floats
    covariance: Floats
    farthest: float

    @classmethod
    def of(cls, pool: Floats, weights: Floats | None = None) -> Scale:
        """Fit on a pool [m, d]. A constant column gets spread 1."""
        center = np.median(pool, axis=0)
        low, high = np.quantile(pool, [0.05, 0.95], axis=0)
        spread: Floats = (high - low) / 3.29  # the 5-95 % range of a unit normal
        plain = pool.std(axis=0)
        spread = np.where(spread > 1e-12 * (1 + np.abs(center)), spread, plain)
        spread = np.where(spread > 1e-12 * (1 + np.abs(center)), spread, 1.0)
        z = np.clip((pool - center) / spread, -CLIP, CLIP)
        mass = np.full(len(z), 1.0 / max(len(z), 1)) if weights is None else weights
        mean, covariance = moments(z, mass)
        away = _away(z, mean, np.asarray(np.linalg.inv(covariance), dtype=np.float64))
        farthest = ODD * float(np.quantile(away, ODD_QUANTILE))
        mean, covariance = moments(z, mass * _usual(away, farthest))
        return cls(center, spread, np.asarray(np.linalg.inv(covariance)), mean, covariance, farthest)

    @cached_property
    def volume(self) -> float:
        """Log-determinant of the pool's covariance."""
        return float(np.linalg.slogdet(self.covariance)[1])

    def z(self, x: Floats) -> Floats:
        """Standardised and clipped, float [n, d]."""
        return np.asarray(np.clip((x - self.center) / self.spread, -CLIP, CLIP))

    def moments(self, z: Floats) -> tuple[Floats, Floats]:
        """:func:`moments` of standardised rows [n, d] but for the few that lie where none of the pool does."""
        return moments(z, _usual(_away(z, self.mean, self.precision), self.farthest))

    def residuals(self, z: Floats) -> Floats:
        """Each column minus its linear prediction from the others, float [n, d]: ``(Ωz)_j / Ω_jj``."""
        return np.asarray((z - self.mean) @ self.precision / np.diag(self.precision))


ODD, ODD_QUANTILE, ODD_ROWS = 4.0, 0.999, 0.005
"""A row is odd from twice as far out (Mahalanobis) as all but a thousandth of the pool. So few odd rows are no drift,
whatever they weigh: a stone of height 0 among 1,000 lay at 125 where 9 is usual, and the joint at 36 of its bound."""


def _away(z: Floats, mean: Floats, precision: Floats) -> Floats:
    """Squared Mahalanobis distance of every row: float [n]."""
    centered = z - mean
    return np.asarray(((centered @ precision) * centered).sum(axis=1))


def _usual(away: Floats, farthest: float) -> Floats:
    """Weights [n] that leave odd rows out, where they are few; all ones where they are not."""
    odd = away > farthest
    few = odd.sum() <= max(1, ODD_ROWS * len(odd)) and not odd.all()
    return np.where(odd, 0.0, 1.0) if few else np.ones(len(away))


RIDGE = 1e-3
"""Added to covariances of standardised columns: collinear columns (a duplicate, a constant) stay invertible."""


def moments(z: Floats, weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Mean [d] and ridged covariance [d, d] of standardised rows."""
    w = np.full(len(z), 1.0 / max(len(z), 1)) if weights is None else weights / weights.sum()
    mean = w @ z
    centered = z - mean
    return mean, (centered * w[:, None]).T @ centered + RIDGE * np.eye(z.shape[1])


def gaussian_kl(scale: Scale, z: Floats) -> float:
    """KL divergence of the window's Gaussian from the pool's, in nats per column: J."""
    d = z.shape[1]
    mean, covariance = scale.moments(z)
    gap = mean - scale.mean
    _, log_window = np.linalg.slogdet(covariance)
    trace = np.einsum("ij,ji->", scale.precision, covariance)
    kl = 0.5 * (trace + gap @ scale.precision @ gap - d + scale.volume - log_window) / d
    return max(0.0, float(kl))


@dataclass(frozen=True)
class Support:
    """Which values each column has had: its codes if they are few, else its range with 25 % to spare.

    ``grids`` are what the values were recorded on. To be off it is no value never seen: a recorder may write finer from
    one day to the next.
    """

    codes: tuple[Floats | None, ...]
    low: Floats
    high: Floats
    grids: tuple[Grid, ...]

    @classmethod
    def of(cls, pool: Floats, grids: tuple[Grid, ...] | None = None) -> Support:
        """Read off a pool [m, d]; ``grids`` are known already where it is a part of another one."""
        low, high = pool.min(axis=0), pool.max(axis=0)
        spare = 0.25 * (high - low)
        return cls(tuple(map(_codes, pool.T)), low - spare, high + spare, grids or tuple(map(Grid.of, pool.T)))

    def outside(self, x: Floats) -> Floats:
        """Share of rows off it, per column: V, float [d]."""
        return np.array([self.outside_column(x[:, j], j) for j in range(x.shape[1])])

    def outside_column(self, values: Floats, j: int) -> float:
        """Share of values [n] that column j has not had: an unknown code, or out of range."""
        return float(1.0 - self.known(values, j).mean()) if len(values) else 0.0

    def known(self, values: Floats, j: int) -> NDArray[np.bool_]:
        """Which of the values [n] column j could have had."""
        codes = self.codes[j]
        if codes is not None:
            # A finer recorder writes what lies between.
            return np.isin(np.round(to_codes(values, codes), 0 if self.counted(j) else 6), codes)
        return np.asarray((values >= self.low[j]) & (values <= self.high[j]))

    def counted(self, j: int) -> bool:
        """Whether column j holds many whole numbers in a row: they are counted or rounded, not coded."""
        codes = self.codes[j]
        return codes is not None and len(codes) >= ORDERED and bool(np.ptp(codes) == len(codes) - 1)

    def recorded(self, values: Floats, j: int, slack: float = 0.0) -> NDArray[np.bool_]:
        """Which of the values [n] column j could have had, as its recorder wrote them so far, within ``slack``."""
        return np.asarray(self.known(values, j) & self.grids[j].on(values, slack))

    def unrecorded(self, values: Floats, j: int, slack: float = 0.0) -> float:
        """Share of values [n] that are none of :meth:`recorded`."""
        return float(1.0 - self.recorded(values, j, slack).mean()) if len(values) else 0.0


def sparse(x: Floats) -> dict[int, Floats]:
    """Per column of rows [n, d] that is a code with gaps (incomes in thousands, the sizes of thirty car parks): it."""
    codes = {j: _codes(x[:, j]) for j in range(x.shape[1]) if len(np.unique(x[: 2 * FEW_LEVELS, j])) <= FEW_LEVELS}
    return {j: code for j, code in codes.items() if code is not None and _gap(code) >= 2}


def to_codes(values: Floats, codes: Floats) -> Floats:
    """Values [n], those that miss a code with gaps by a rounding as that code: 20000.09 is 20000."""
    gap = _gap(codes)
    if gap < 2:
        return values
    near = codes[np.searchsorted((codes[1:] + codes[:-1]) / 2, values)]
    return np.where(np.abs(values - near) <= MISSED * gap, near, values)


def _gap(codes: Floats) -> float:
    return float(np.diff(codes).min()) if len(codes) > 1 else 0.0


def _codes(values: Floats) -> Floats | None:
    """The column's levels, if it is a code: few whole numbers, each common enough that a new one means something."""
    levels, counts = np.unique(np.round(values, 6), return_counts=True)
    is_code = len(levels) <= FEW_LEVELS and np.all(levels == np.round(levels)) and counts.min() * 500 >= len(values)
    return levels if is_code else None


def classifier_auc(zx: Floats, zpool: Floats, weights: Floats | None = None, seed: int = 0) -> float:
    """AUC with which a quadratic least-squares classifier tells window from pool, two-fold cross-fitted.

    The classifier two-sample test (Lopez-Paz & Oquab 2017). Least squares on the squares (and, up to 24 columns, the
    products) of standardised columns ranks rows like quadratic logistic regression at a hundredth of the time.
    """
    if min(len(zx), len(zpool)) < 10:
        return 0.5
    z = np.concatenate([zx, zpool])
    features = _quadratic(z)
    side = np.r_[np.ones(len(zx)), np.zeros(len(zpool))]
    mass = np.r_[np.full(len(zx), 1.0 / len(zx)), _unit(weights, len(zpool))] * len(z) / 2
    fold = np.random.default_rng(seed).integers(0, 2, len(z))
    score = np.empty(len(z))
    for k in (0, 1):
        train, test = features[fold != k], fold == k
        a = train * mass[fold != k, None]
        gram = a.T @ train + 1e-2 * len(train) * np.eye(features.shape[1])
        score[test] = features[test] @ np.linalg.solve(gram, a.T @ (side[fold != k] - 0.5))
    values = [_auc(score[(fold == k)], side[fold == k], mass[fold == k]) for k in (0, 1)]
    return float(np.mean(values))


def _quadratic(z: Floats) -> Floats:
    """One, the columns [n, d], their squares less one, and up to 24 columns the products of every two."""
    z = np.clip(z, -4, 4)
    n, d = z.shape
    made = np.empty((n, 1 + 2 * d + (d * (d - 1) // 2 if d <= 24 else 0)))
    made[:, 0], made[:, 1 : d + 1], made[:, d + 1 : 2 * d + 1] = 1.0, z, z**2 - 1
    at = 2 * d + 1
    for i in range(d - 1 if d <= 24 else 0):
        at, start = at + d - 1 - i, at
        np.multiply(z[:, i : i + 1], z[:, i + 1 :], out=made[:, start:at])
    return made


def _unit(weights: Floats | None, m: int) -> Floats:
    return np.full(m, 1.0 / m) if weights is None else weights / weights.sum()


def _auc(score: Floats, side: Floats, mass: Floats) -> float:
    """Weighted AUC of ``score`` for ``side == 1``; ties count half."""
    _, where = np.unique(score, return_inverse=True)
    one = np.bincount(where, weights=mass * side)
    zero = np.bincount(where, weights=mass * (1 - side))
    total = one.sum() * zero.sum()
    return float((one * (zero.cumsum() - 0.5 * zero)).sum() / total) if total > 0 else 0.5


def encode(frame: pd.DataFrame, levels: dict[str, dict[str, int]], fill: dict[str, float]) -> Floats:
    """A frame as float [n, d]: numbers as they are, text as the code of its level (unseen: -1), missing as ``fill``."""
    if not levels and all(isinstance(dtype, np.dtype) and dtype.kind in "fiub" for dtype in frame.dtypes):
        numbers = np.ascontiguousarray(frame.to_numpy(dtype=np.float64))  # by rows, as below: sums end in the same bit
        return np.where(np.isfinite(numbers), numbers, [fill.get(str(name), 0.0) for name in frame.columns])
    columns = []
    for name in frame.columns:
        if name in levels:
            codes = frame[name].astype(str).map(levels[name])
            columns.append(codes.to_numpy(dtype=np.float64, na_value=-1.0))
        else:
            values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            columns.append(np.where(np.isfinite(values), values, fill.get(str(name), 0.0)))
    return np.column_stack(columns) if columns else np.empty((len(frame), 0))
