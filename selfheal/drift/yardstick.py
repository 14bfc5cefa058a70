"""The yardstick: how far apart this model's own healthy windows lie, and so what counts as unusual.

Two natural years of weather never look alike (a classifier tells them apart with AUC .52-.84), so no fixed bound is
right for every stream. Each statistic's bound comes from the same statistic between healthy windows (two windows →
the next), and never lies below what chance alone gives at this sample size.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from selfheal.drift import context, stats
from selfheal.drift.kept import Kept
from selfheal.drift.stats import Floats
from selfheal.model import MonitoredModel
from selfheal.parts.columns import only

MARGIN = 1.3
"""A bound lies 30 % above the largest natural value seen (docs/notes.md): of about four
pairs, the largest underestimates the next."""

POOL_WINDOWS = 2
"""The pool is the last two windows: recent enough to be alike, large enough to be quiet."""

REFERENCE_BLOCKS = 10
"""The reference is cut into at most this many blocks (its last rows), and all of them are the pool."""


MOST_KEPT = 64
"""Yardsticks whose natural spread is kept: a heal asks after the very windows that its window was judged by."""


@dataclass(frozen=True)
class Distance:
    """How far one window lies from a pool; every figure larger when farther."""

    marginal: Floats  # D [d]: KS of each column
    residual: Floats  # R [d]: KS of each column given the others
    outside: Floats  # V [d]: share of rows with values the pool never had
    joint: float  # J: Gaussian KL, nats per column
    score: float  # S: KS of the model's margin
    auc: float  # A: classifier two-sample AUC

    @property
    def total(self) -> float:
        """``d·J + 2ΣV + ΣD``: what a measurement map has to bring down."""
        return total(self.joint, self.outside, self.marginal)


def total(joint: float, outside: Floats, marginal: Floats) -> float:
    """``d·J + 2ΣV + ΣD``."""
    return float(len(marginal) * joint + 2 * outside.sum() + marginal.sum())


@dataclass(frozen=True)
class Judgement:
    """A distance held against the natural bounds. ``ratios`` are value / bound, > 1 where unusual."""

    distance: Distance
    ratios: dict[str, float]
    columns: dict[str, float]

    @property
    def explained(self) -> bool:
        """Whether nothing about the window is unusual."""
        return max(self.ratios.values()) <= 1.0

    @property
    def worst(self) -> tuple[str, float]:
        """The most unusual measure and its ratio."""
        name = max(self.ratios, key=lambda k: self.ratios[k])
        return name, self.ratios[name]

    def moved(self) -> list[str]:
        """Columns that are unusual by themselves, most unusual first."""
        return sorted((c for c, r in self.columns.items() if r > 1), key=lambda c: -self.columns[c])


@dataclass(frozen=True, eq=False)
class _Pool:
    """What windows are held against, and what of a distance is its own and no window's: computed once.

    Attributes
    ----------
    x : float [m, d]
        Its rows, encoded.
    margin : float [m, k - 1]
        What the base model's decision on them hangs on.
    weights : float [m] or None
        How much each counts.
    """

    x: Floats
    margin: Floats
    weights: Floats | None = None

    @cached_property
    def scale(self) -> stats.Scale:
        return stats.Scale.of(self.x, self.weights)

    @cached_property
    def z(self) -> Floats:
        return self.scale.z(self.x)

    @cached_property
    def columns(self) -> tuple[stats.Cells, ...]:
        return stats.columns(self.x, self.weights)

    @cached_property
    def residuals(self) -> tuple[stats.Cells, ...]:
        return stats.columns(self.scale.residuals(self.z), self.weights)

    @cached_property
    def margins(self) -> tuple[stats.Cells, ...]:
        return stats.columns(self.margin, self.weights)


_SUPPORTS = Kept[stats.Support](MOST_KEPT)
_NATURAL = Kept[list[Distance]](MOST_KEPT)


class Yardstick:
    """Natural spread of one model's healthy windows of one length.

    Parameters
    ----------
    model
        The model; its reference is the yardstick until there are enough healthy windows.
    recent
        Healthy windows in model units, oldest first, or one frame that is cut into windows from its end.
    n
        Rows of the window to be judged.
    window : DataFrame [n, d]
        Those rows in model units. Without healthy windows they are held against reference rows of their context, and
        what places them there (:func:`selfheal.drift.context.still`) is not compared.

    Attributes
    ----------
    context
        Columns that place the window, and are not compared.
    pool, pool_frame
        What a window is held against: float [m, d], and the same as a frame in model units.
    pool_labels
        Their labels [m], where they are the reference's; None where they are healthy windows.
    """

    def __init__(
        self,
        model: MonitoredModel,
        recent: Sequence[pd.DataFrame] | pd.DataFrame | None,
        n: int,
        seed: int = 0,
        window: pd.DataFrame | None = None,
    ) -> None:
        self.model, self.seed, self.n = model, seed, n
        self.context = () if window is None else context.still(model, window, windows(recent, n))
        self.reference = model.reference if window is None else self._in_context(model.reference, window)
        reference = model.reference
        self._levels = {
            c: {level: i for i, level in enumerate(reference[c].astype(str).value_counts().index)}
            for c, kind in model.dtypes.items()
            if kind == "str"
        }
        numeric = [c for c in model.features if model.dtypes[c] != "str"]
        medians = reference[numeric].median() if numeric else pd.Series(dtype=float)
        self._fill = {c: float(medians[c]) if np.isfinite(medians[c]) else 0.0 for c in numeric}
        self._sparse = stats.sparse(stats.encode(reference[list(model.features)], self._levels, self._fill))
        self.blocks, self.from_reference = self._cut(recent)
        chosen = self.blocks if self.from_reference else self.blocks[-POOL_WINDOWS:]
        joined = pd.concat(chosen)
        labelled = self.from_reference and not windows(recent, n)
        self.pool_labels = model.reference_labels.loc[joined.index].to_numpy() if labelled else None
        self.pool_frame = joined.reset_index(drop=True)
        self.pool = self.encode(self.pool_frame)
        self.pool_margin = self.margin(self.pool_frame)

    # ---------------------------------------------------------------- what is compared

    def encode(self, units: pd.DataFrame) -> Floats:
        """Rows in model units as float [n, d]."""
        x = stats.encode(only(units, self.model.features), self._levels, self._fill)
        for j in {*self._sparse, *(j for j, c in enumerate(self.model.features) if c in self.context)}:
            x[:, j] = self._compared(x[:, j], j)
        return x

    def encode_column(self, values: Floats, j: int) -> Floats:
        """A numeric column in model units [n] as :meth:`encode` has it."""
        return self._compared(np.where(np.isfinite(values), values, self._fill[self.model.features[j]]), j)

    def _compared(self, values: Floats, j: int) -> Floats:
        """A column without gaps [n]: zeros if it places the window; a code that a rounding missed as that code."""
        if self.model.features[j] in self.context:
            return np.zeros(len(values))
        return stats.to_codes(values, self._sparse[j]) if j in self._sparse else values

    def margin(self, units: pd.DataFrame) -> Floats:
        """What the base model's decision hangs on, float [n, k - 1]: log-odds of each class against the first."""
        base = self.model.logits_of_base(units)
        return np.asarray(base[:, 1:] - base[:, :1])

    def _cut(self, recent: Sequence[pd.DataFrame] | pd.DataFrame | None) -> tuple[list[pd.DataFrame], bool]:
        features = list(self.model.features)
        healthy = [w[features] for w in windows(recent, self.n)]
        # One window has no spread to show: the reference joins until there are three.
        if len(healthy) >= 3:
            return healthy, False
        blocks = cut(self.reference, self.n)[-REFERENCE_BLOCKS:]
        return [*blocks, *healthy][-max(len(blocks), 3) :], True

    def _in_context(self, reference: pd.DataFrame, window: pd.DataFrame) -> pd.DataFrame:
        """The reference's rows that are of the window's context, as they would be in it."""
        return context.placed(context.alike(reference, window, self.context), window, self.context, self.seed)

    # ---------------------------------------------------------------- judging

    @property
    def scale(self) -> stats.Scale:
        """Location, spread and covariance of the pool."""
        return self._whole.scale

    @cached_property
    def _whole(self) -> _Pool:
        return _Pool(self.pool, self.pool_margin)

    @cached_property
    def support(self) -> stats.Support:
        """Values that the reference and the healthy windows have had."""
        seen = np.concatenate([self.encode(b) for b in (self.model.reference, *self.blocks)])
        return _SUPPORTS.of((seen,), lambda: stats.Support.of(seen))

    def resampled(self, weights: Floats) -> Yardstick:
        """The same bounds around a pool that is drawn anew in proportion to ``weights`` [m] (systematic sampling)."""
        other = self._anew(bounds=self.bounds, support=self.support)
        m = len(self.pool)
        steps = (np.arange(m) + 0.5) / m
        rows = np.minimum(np.searchsorted(np.cumsum(weights / weights.sum()), steps), m - 1)
        other.pool, other.pool_margin = self.pool[rows], self.pool_margin[rows]
        other.pool_labels = None if self.pool_labels is None else self.pool_labels[rows]
        other.pool_frame = self.pool_frame.iloc[rows].reset_index(drop=True)
        return other

    def without(self, columns: Collection[str]) -> Yardstick:
        """What compares all columns but these, which a fault has broken."""
        other = self._anew()
        other.context = (*self.context, *columns)
        other.pool = other.encode(self.pool_frame)
        return other

    def _anew(self, **kept: object) -> Yardstick:
        """A copy that computes anew what it keeps, but for what is given."""
        other = copy.copy(self)
        for name in [name for name, made in vars(Yardstick).items() if isinstance(made, cached_property)]:
            other.__dict__.pop(name, None)
        other.__dict__.update(kept)
        return other

    def distance(self, units: pd.DataFrame, weights: Floats | None = None) -> Distance:
        """How far rows in model units [n, d] lie from the pool, which ``weights`` may reweight."""
        pool = self._whole if weights is None else _Pool(self.pool, self.pool_margin, weights)
        return self._distance(self.encode(units), self.margin(units), pool, self.support)

    def ks(self, values: Floats, j: int) -> float:
        """KS distance of values [n] from the pool's of column j."""
        return stats.ks(values, self._whole.columns[j])

    def total(self, units: pd.DataFrame) -> float:
        """:attr:`Distance.total` of rows in model units, without the figures that it does not need."""
        x = self.encode(units)
        joint = stats.gaussian_kl(self.scale, self.scale.z(x))
        return total(joint, self.support.outside(x), stats.ks_columns(x, self._whole.columns))

    def _distance(self, x: Floats, margin: Floats, pool: _Pool, support: stats.Support) -> Distance:
        z = pool.scale.z(x)
        return Distance(
            marginal=stats.ks_columns(x, pool.columns),
            residual=stats.ks_columns(pool.scale.residuals(z), pool.residuals),
            outside=support.outside(x),
            joint=stats.gaussian_kl(pool.scale, z),
            score=float(stats.ks_columns(margin, pool.margins).max()),
            auc=stats.classifier_auc(z, pool.z, pool.weights, self.seed),
        )

    @cached_property
    def natural(self) -> list[Distance]:
        """Distances between healthy windows: two → the next."""
        encoded = [(self.encode(b), self.margin(b)) for b in self.blocks]
        reference = np.empty((0, self.pool.shape[1])) if self.from_reference else self.encode(self.model.reference)
        content = (reference, *(part for pair in encoded for part in pair))
        return _NATURAL.of(content, lambda: self._between(encoded, reference), (self.seed, self.from_reference))

    def _between(self, encoded: list[tuple[Floats, Floats]], reference: Floats) -> list[Distance]:
        distances = []
        for i in range(0 if self.from_reference else 1, len(encoded)):
            before = encoded[max(0, i - POOL_WINDOWS) : i]
            if self.from_reference:
                before = [*encoded[:i], *encoded[i + 1 :]]
            if not before:
                continue
            pool = _Pool(*(np.concatenate(parts) for parts in zip(*before, strict=True)))
            if min(len(pool.x), len(encoded[i][0])) < 10:
                continue
            others = np.concatenate([reference, *(x for j, (x, _) in enumerate(encoded) if j != i)])
            distances.append(self._distance(*encoded[i], pool, stats.Support.of(others, self.support.grids)))
        return distances

    @cached_property
    def bounds(self) -> Distance:
        """The bound of each figure of a :class:`Distance`."""
        n, m, d = self.n, len(self.pool), len(self.model.features)
        noise = np.sqrt((n + m) / (n * m))
        # KS: Bonferroni p = 1e-3 over the columns, asymptotic two-sample law.
        column = np.full(d, np.sqrt(-np.log(1e-3 / d / 2) / 2) * noise)
        score = np.sqrt(-np.log(1e-3 / 2) / 2) * noise
        auc = 0.5 + max(3 * np.sqrt((n + m + 1) / (12 * n * m)), 0.045)  # z < 3, or AUC < .545 (docs/notes.md)
        joint = 1.5 * (d + 3) / 4 * (1 / n + 1 / m) * 2
        seen = self.natural
        return Distance(
            marginal=_bound([s.marginal for s in seen], column),
            residual=_bound([s.residual for s in seen], column),
            outside=_bound([s.outside for s in seen], np.full(d, 0.02)),
            joint=float(_bound([np.array(s.joint) for s in seen], joint)),
            score=float(_bound([np.array(s.score) for s in seen], score)),
            auc=0.5 + float(_bound([np.array(s.auc - 0.5) for s in seen], auc - 0.5)),
        )

    def judge(self, units: pd.DataFrame, weights: Floats | None = None) -> Judgement:
        """Hold rows in model units against the natural bounds."""
        distance, bound = self.distance(units, weights), self.bounds
        per_column = np.maximum.reduce(
            [distance.marginal / bound.marginal, distance.residual / bound.residual, distance.outside / bound.outside]
        )
        ratios = {
            "marginal": float((distance.marginal / bound.marginal).max()),
            "residual": float((distance.residual / bound.residual).max()),
            "outside": float((distance.outside / bound.outside).max()),
            "joint": distance.joint / bound.joint,
            "score": distance.score / bound.score,
            "auc": (distance.auc - 0.5) / (bound.auc - 0.5),
        }
        return Judgement(distance, ratios, dict(zip(self.model.features, map(float, per_column), strict=True)))

    def alone(self, units: pd.DataFrame, columns: Iterable[str]) -> dict[str, float]:
        """How far columns of rows in model units lie by themselves (KS, unseen values), over natural bounds."""
        places = {c: self.model.features.index(c) for c in columns}
        if not places:
            return {}
        x, bound = self.encode(units), self.bounds
        ratios = np.maximum(
            stats.ks_columns(x, self._whole.columns) / bound.marginal, self.support.outside(x) / bound.outside
        )
        return {c: float(ratios[j]) for c, j in places.items()}


def windows(recent: Sequence[pd.DataFrame] | pd.DataFrame | None, n: int) -> list[pd.DataFrame]:
    """Healthy windows as a list, oldest first; one frame is cut into windows of ``n`` rows from its end."""
    if isinstance(recent, pd.DataFrame):
        return cut(recent, max(n, 1)) if len(recent) else []
    return [window for window in recent or () if len(window)]


def thinned(frame: pd.DataFrame, rows: int) -> pd.DataFrame:
    """At most ``rows`` rows of a frame, evenly spread, in order."""
    if len(frame) <= rows:
        return frame
    return frame.iloc[np.arange(rows) * len(frame) // rows]


def cut(frame: pd.DataFrame, n: int) -> list[pd.DataFrame]:
    """Cut into windows of ``n`` rows from the end; what is left over at the start is dropped (kept if it is all)."""
    if len(frame) < 2 * n:
        half = len(frame) // 2
        return [frame.iloc[:half], frame.iloc[half:]] if half else [frame]
    starts = range(len(frame) % n, len(frame), n)
    return [frame.iloc[s : s + n] for s in starts]


def _bound(values: list[Floats], floor: float | Floats) -> Floats:
    """``max(floor, 1.3·max, median + 4·1.48·MAD)`` over healthy pairs, per column."""
    lowest: Floats = np.asarray(floor, dtype=np.float64)
    if not values:
        return lowest
    stack = np.stack([np.asarray(v, dtype=np.float64) for v in values])
    middle = np.median(stack, axis=0)
    deviation = np.median(np.abs(stack - middle), axis=0)
    spread: Floats = np.maximum(MARGIN * stack.max(axis=0), middle + 4 * 1.48 * deviation)
    return np.maximum(lowest, spread)
