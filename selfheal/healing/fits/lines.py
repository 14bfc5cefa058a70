"""Maps of no known conversion: which columns moved, and by what line or curve, fitted to the healthy windows.

A column's own quantiles give a first line. Where columns depend on each other that is not exact enough: beside the
others a column may vary a tenth as much as by itself, and what is left of the error looks like a new joint
distribution. So all lines are then fitted together, as those under which mean and covariance of the window come nearest
to the healthy ones (the smallest Gaussian KL divergence). The fewest columns that explain the window are moved.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import minimize

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.drift import stats
from selfheal.drift.grid import Grid
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.fits import atoms
from selfheal.healing.fits.known import Maps

Form = Literal["line", "offset", "factor"]
Lines = dict[int, tuple[float, float]]

SIMPLER: tuple[Form, ...] = ("offset", "factor")
"""What most faults are; with a parameter less, a small window tells it more exactly."""

SMALLEST = 1e-3
"""Least scale of a joint line beside the first fit, which has brought it near 1."""

KNOTS = 17
"""Points of a curve: enough for the bend of a sensor, too few to copy a window's own quirks."""

MOST = 8
"""Columns that are fitted at most; more at once are a new population, or the declaration of one sensor too wide."""

ONE_STEP = 0.05
"""Log by which a factor may miss the ratio of two recorders' steps: half of the way to one that is a tenth off."""

WORTHWHILE = 0.8
"""A further column has to bring the divergence below this share of what it was, unless it is declared and unusual."""


def proposals(case: Case, known: Maps) -> Iterator[Maps]:
    """Known maps plus fitted ones of one further column, of two, ...: declared columns only, where any is declared."""
    declared = case.model.measured
    start = _Start.of(case, known, [j for j, c in enumerate(case.model.features) if _free(case, c, declared)])
    bound, distance = case.stick.bounds.marginal, case.judged_raw.distance.marginal
    expected = [j for j, c in enumerate(case.model.features) if c in declared and distance[j] > bound[j]]
    chosen: list[int] = []
    left = start.fit({})[0]
    while len(chosen) < MOST:
        tried = {j: start.fit(dict.fromkeys([*chosen, j], "line"))[0] for j in start.first if j not in chosen}
        best = min(tried, key=lambda j: tried[j], default=None)
        if best is None or (tried[best] > WORTHWHILE * left and best not in expected):
            return
        chosen.append(best)
        left = tried[best]
        yield start.maps(start.simplest(chosen))


def _free(case: Case, column: str, declared: Collection[str]) -> bool:
    if (
        column not in case.numeric
        or column in case.code_columns
        or any(not m.words for m in case.answered(column, False))
    ):
        return False
    return column in declared or not declared


@dataclass(frozen=True)
class _Start:
    """First fits, column by column, and the moments of the window before and after them.

    ``mean`` [2d] and ``covariance`` [2d, 2d] are of the standardised columns as they are, then as fitted.
    """

    case: Case
    known: Maps
    first: dict[int, ColumnMap]
    mean: Floats
    covariance: Floats

    @classmethod
    def of(cls, case: Case, known: Maps, columns: list[int]) -> _Start:
        x = case.stick.encode(InputMap(known).apply(case.raw))
        declared = case.model.measured
        first, fitted = {}, x.copy()
        for j in columns:
            made = _fit_column(case, x[:, j], j, case.model.features[j] in declared)
            if made is not None:
                first[j], fitted[:, j] = made, made.apply(x[:, j])
        z = np.concatenate([case.stick.scale.z(x), case.stick.scale.z(fitted)], axis=1)
        return cls(case, known, first, *stats.moments(z))

    def fit(self, forms: Mapping[int, Form]) -> tuple[float, Lines]:
        """The least KL divergence (nats) with lines of these forms on these columns, and the lines (in z units)."""
        d, chosen = len(self.case.model.features), list(forms)
        rows = np.arange(d)
        rows[chosen] += d
        mean, covariance = self.mean[rows], self.covariance[np.ix_(rows, rows)]
        scale = self.case.stick.scale
        curved = scale.precision * covariance
        fixed = 0.5 * (np.linalg.slogdet(scale.covariance)[1] - np.linalg.slogdet(covariance)[1] - d)
        base, turn, lowest = self._constraints(forms)

        def loss(theta: Floats) -> tuple[float, Floats]:
            a, b = np.ones(d), np.zeros(d)
            a[chosen], b[chosen] = (base + turn @ theta).reshape(2, len(chosen))
            gap = a * mean + b - scale.mean
            pull, bend = scale.precision @ gap, curved @ a
            value = 0.5 * (a @ bend + gap @ pull) - np.log(a).sum() + fixed
            return float(value), np.r_[(bend + pull * mean - 1 / a)[chosen], pull[chosen]] @ turn

        if not chosen:
            return loss(np.empty(0))[0], {}
        optimum = minimize(
            loss, np.where(np.isfinite(lowest), 1.0, 0.0), jac=True, method="L-BFGS-B",
            bounds=[(low, None) for low in lowest],
        )  # fmt: skip
        scales, offsets = (base + turn @ optimum.x).reshape(2, len(chosen)).tolist()
        return float(optimum.fun), dict(zip(chosen, zip(scales, offsets, strict=True), strict=True))

    def _constraints(self, forms: Mapping[int, Form]) -> tuple[Floats, Floats, Floats]:
        """(base [2k], turn [2k, p], lowest [p]): scales and offsets are ``base + turn @ theta``, theta >= lowest."""
        k = len(forms)
        base, turn, lowest = np.zeros(2 * k), [], []
        for i, (j, form) in enumerate(forms.items()):
            scale, offset = np.eye(2 * k)[[i, k + i]]
            first, of = self.first[j], self.case.stick.scale
            if form == "offset":
                base[i] = 1 / first.scale
            elif form == "factor":
                # In raw units the offset vanishes: b is then a line in a.
                base[k + i] = -of.center[j] / of.spread[j]
                turn.append(scale + offset * (of.center[j] - first.offset) / of.spread[j])
            else:
                turn.append(scale)
            if form != "factor":
                turn.append(offset)
            lowest += {"offset": [-np.inf], "factor": [SMALLEST], "line": [SMALLEST, -np.inf]}[form]
        return base, np.array(turn).reshape(len(turn), 2 * k).T, np.array(lowest)

    def simplest(self, chosen: Sequence[int]) -> dict[int, Form]:
        """A mere offset or factor instead of a line wherever the data don't speak against it (BIC, Schwarz 1978)."""
        n, m = len(self.case.raw), len(self.case.stick.pool)
        effective = n * m / (n + m)
        forms: dict[int, Form] = dict.fromkeys(chosen, "line")
        least = self.fit(forms)[0]
        for j in chosen:
            if self.first[j].knots is not None:
                continue
            tried: dict[Form, float] = {form: self.fit({**forms, j: form})[0] for form in SIMPLER}
            form = min(tried, key=lambda f: tried[f])
            if effective * (tried[form] - least) < 0.5 * np.log(effective):
                forms[j], least = form, tried[form]
        return forms

    def maps(self, forms: Mapping[int, Form]) -> Maps:
        """Known maps, and for the given columns the first fits with the joint lines on top, in raw units."""
        made = dict(self.known)
        for j, (a, b) in self.fit(forms)[1].items():
            name, of = self.case.model.features[j], self.case.stick.scale
            whole = _compose(self.first[j], ColumnMap(a, float(of.center[j] * (1 - a) + of.spread[j] * b)))
            if self._worse(j, whole):
                whole = self.first[j]
            elif forms[j] == "offset":
                whole = replace(whole, scale=1.0)
            elif forms[j] == "factor":
                whole = self._on_grid(j, replace(whole, offset=0.0))
            made[name] = (
                _compose(self.known[name], whole) if name in self.known else atoms.anchored(self.case, name, whole)
            )
        return made

    def _on_grid(self, j: int, one: ColumnMap) -> ColumnMap:
        """A fitted factor, made exact where a recorder tells it: a factor turns the step of a record into its own."""
        values, grid = self.case.present(self.case.raw, self.case.model.features[j]), self.case.stick.support.grids[j]
        sent = Grid.of(values).step
        if min(grid.step, sent) <= 0 or one.knots is not None or self.case.model.features[j] in self.known:
            return one
        exact = replace(one, scale=float(f"{grid.step / sent:.12g}"))
        close = abs(np.log(exact.scale / one.scale)) <= ONE_STEP
        return exact if close and grid.holds(exact.apply(values)) else one

    def _worse(self, j: int, whole: ColumnMap) -> bool:
        """Whether the joint fit leaves a column unusual that an offset alone brings back: a long tail bends moments."""
        if self.first[j].scale != 1.0 or self.first[j].knots is not None:
            return False
        values = self.case.stick.encode(InputMap(self.known).apply(self.case.raw))[:, j]
        stick = self.case.stick
        left, alone = (stick.ks(one.apply(values), j) for one in (whole, self.first[j]))
        return bool(left > stick.bounds.marginal[j] >= alone)


def refitted(case: Case, maps: Maps) -> Adapter:
    """The fitted maps among ``maps`` fitted again on these rows, in the same form; known ones stay."""
    forms = {case.model.features.index(c): _form(m) for c, m in maps.items() if not m.words}
    start = _Start.of(case, {c: m for c, m in maps.items() if m.words}, list(forms))
    again = start.maps({j: form for j, form in forms.items() if j in start.first})
    return Adapter(input_map=InputMap({**maps, **again}))


def _form(made: ColumnMap) -> Form:
    if made.knots is not None or (made.scale != 1.0 and made.offset != 0.0):
        return "line"
    return "offset" if made.scale == 1.0 else "factor"


def _fit_column(case: Case, values: Floats, j: int, curve: bool) -> ColumnMap | None:
    """An affine map; or a curve, where one is allowed and the line leaves the column unusual."""
    pool, bound = case.stick.pool[:, j], case.stick.bounds.marginal[j]
    line = affine_fit(values, pool)
    if line is None or case.stick.ks(line.apply(values), j) <= bound:
        return line
    # The quantiles of a long tail bend a line of two parameters; one of the others tells an offset.
    offsets = [ColumnMap(1.0, float(gap)) for gap in np.unique(np.subtract(*_quantiles(pool, values)))]
    shifted = min(offsets, key=lambda one: case.stick.ks(one.apply(values), j))
    if case.stick.ks(shifted.apply(values), j) <= bound:
        return shifted
    return (monotone_fit(values, pool) if curve else None) or line


def monotone_fit(values: Floats, pool: Floats) -> ColumnMap | None:
    """The increasing curve that lays the quantiles of ``values`` onto the pool's, or None where it has flat pieces."""
    levels = np.linspace(0.01, 0.99, KNOTS)
    xs, ys = np.quantile(values, levels), np.quantile(pool, levels)
    if np.any(np.diff(xs) <= 1e-12) or np.any(np.diff(ys) < 0):
        return None
    return ColumnMap(knots=(tuple(map(float, xs)), tuple(map(float, ys))))


def affine_fit(values: Floats, pool: Floats) -> ColumnMap | None:
    """``s·x + c`` that lays the 4-96 % quantiles of ``values`` onto the pool's (least squares), or None if constant.

    The tails are left out: they hold the wild rows, and clipping.
    """
    source, target = _quantiles(values, pool)
    if np.ptp(source) <= 1e-12 or np.ptp(target) <= 1e-12:
        return None
    scale, offset = np.polyfit(source, target, 1)
    return ColumnMap(float(scale), float(offset)) if scale > 0 else None


def _quantiles(*samples: Floats) -> list[Floats]:
    """Of each sample those of 4 to 96 % [47]."""
    return [np.quantile(sample, np.linspace(0.04, 0.96, 47)) for sample in samples]


def _compose(first: ColumnMap, then: ColumnMap) -> ColumnMap:
    """``then`` after ``first``; one of them at least is a line."""
    if first.knots is not None:
        ys = tuple(then.scale * y + then.offset for y in first.knots[1])
        return ColumnMap(knots=(first.knots[0], ys))
    if then.knots is None:
        return ColumnMap(first.scale * then.scale, first.offset * then.scale + then.offset)
    xs = tuple(sorted((x - first.offset) / first.scale for x in then.knots[0]))
    return replace(then, knots=(xs, then.knots[1]))
