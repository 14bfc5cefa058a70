"""The case: everything that a mechanism may look at, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, wraps
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.adapter import Adapter, ColumnMap
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import Judgement, Yardstick
from selfheal.healing.facts import Fact
from selfheal.healing.labels.rows import Earlier, Labelled, labelled_rows
from selfheal.model import MonitoredModel, softmax
from selfheal.rules import Rule

Memory = Sequence[tuple[int, Adapter, pd.DataFrame | None]]
T = TypeVar("T")


@dataclass(frozen=True)
class Case:
    """One window of one model, and what it may be held against.

    Attributes
    ----------
    model
        As it serves now.
    raw : DataFrame [n, d], cleaned rows in raw units, in time order.
    stick
        The natural spread of healthy windows, in model units.
    memory
        Earlier versions: (version, adapter, its own window raw or None).
    seed
        Of every random choice.
    labelled_windows
        Windows whose labels have come, oldest first, this one last: raw rows, and labels on their index.
    facts
        What the owner of the data has answered.
    times
        Event times on the rows' index, where they are known.
    first_seen
        When an alarm first showed what these rows show, where windows before them alarmed too.
    wild : DataFrame [k, d], rows left out of ``raw`` for values far from all others, in raw units.
    """

    model: MonitoredModel
    raw: pd.DataFrame
    stick: Yardstick
    memory: Memory = ()
    seed: int = 0
    labelled_windows: Earlier = ()
    facts: Sequence[Fact] = ()
    times: pd.Series | None = None
    wild: pd.DataFrame | None = None
    first_seen: datetime | None = None

    @property
    def sent(self) -> pd.DataFrame:
        """All rows that could be read, in raw units, the wild ones last: a part of the rows may be wild as a whole."""
        return self.raw if self.wild is None or self.wild.empty else pd.concat([self.raw, self.wild])

    @cached_property
    def base(self) -> MonitoredModel:
        """The model with the identity adapter: every heal starts here, never on the last one."""
        return self.model.with_adapter(Adapter())

    @cached_property
    def units(self) -> pd.DataFrame:
        """The window as the serving input map leaves it."""
        return self.model.model_units(self.raw)

    @cached_property
    def encoded(self) -> Floats:
        """The window as it arrived, as the yardstick compares it: float [n, d]."""
        return self.stick.encode(self.raw)

    @cached_property
    def judged(self) -> Judgement:
        """The window as served, against the natural bounds."""
        return self.stick.judge(self.units)

    @cached_property
    def judged_raw(self) -> Judgement:
        """The window as it arrived (identity map), against the natural bounds."""
        return self.judged if not self.model.adapter.input_map else self.stick.judge(self.raw)

    @cached_property
    def served(self) -> Floats:
        """Probabilities of the serving version, float [n, k]."""
        return self.model.proba_of_units(self.units)

    @cached_property
    def halves(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Two random halves of the rows: fit on one, test on the other."""
        return halved(len(self.raw), self.seed)

    @cached_property
    def others(self) -> Memory:
        """The earlier versions that are not what serves."""
        return [entry for entry in self.memory if entry[1].digest != self.model.adapter.digest]

    @cached_property
    def new_rules(self) -> list[Rule]:
        """Rules about a pattern that the reference never saw."""
        return [rule for rule in self.model.policy.rule_set if rule.knowledge == "new"]

    @cached_property
    def labelled(self) -> Labelled:
        """The usable rows whose labels have come, of this window and of the ones before."""
        return labelled_rows(self.model, self.labelled_windows)

    @cached_property
    def calibration(self) -> tuple[Floats, Floats]:
        """Bias-corrected temperature on the labelled reference (Alexandari et al. 2020): (slopes [1], biases [k])."""
        return calibrate(self.base.logits_of_base(self.reference), self.truth, self.classes)

    def calibrated(self, units: pd.DataFrame) -> Floats:
        """The base model's calibrated probabilities float [n, k] for rows in model units."""
        slope, bias = self.calibration
        return softmax(self.base.logits_of_base(units) * slope + bias)

    @cached_property
    def pool_posterior(self) -> Floats:
        """Calibrated probabilities of the yardstick's pool, float [m, k]."""
        return self.calibrated(self.stick.pool_frame)

    @cached_property
    def healthy_posterior(self) -> Floats:
        """Calibrated probabilities of every healthy window's rows, float [m, k]."""
        return np.concatenate([self.calibrated(block) for block in self.stick.blocks])

    @cached_property
    def healthy_decisions(self) -> NDArray[np.int64]:
        """What the base model decides on them, int [m]."""
        return np.concatenate([self.base.decide(self.base.proba_of_units(block)) for block in self.stick.blocks])

    @cached_property
    def reference_posterior(self) -> Floats:
        """Calibrated probabilities of the labelled reference, float [m, k]."""
        return self.calibrated(self.reference)

    @cached_property
    def reference(self) -> pd.DataFrame:
        """The labelled reference, in model units, without rows that have missing values."""
        return self._labelled[0]

    @cached_property
    def truth(self) -> NDArray[np.int64]:
        """Class index [m] of every row of :attr:`reference`."""
        return self._labelled[1]

    @cached_property
    def skill(self) -> float:
        """Share of the constant's log-loss that the base model takes away on the labelled reference: at most 1."""
        proba = self.base.proba_of_units(self.reference)[np.arange(len(self.truth)), self.truth]
        constant = -float(self.prior @ np.log(np.maximum(self.prior, 1e-12)))
        return 1.0 + float(np.log(np.maximum(proba, 1e-12)).mean()) / max(constant, 1e-12)

    @cached_property
    def _labelled(self) -> tuple[pd.DataFrame, NDArray[np.int64]]:
        # 20,000 rows settle every figure that is taken from the reference to well under a percent.
        frame, labels = self.model.reference, self.model.reference_labels
        if len(frame) > 20_000:
            chosen = np.sort(np.random.default_rng(self.seed).choice(len(frame), 20_000, replace=False))
            frame, labels = frame.iloc[chosen], labels.iloc[chosen]
        return frame, np.searchsorted(self.model.classes_, labels.to_numpy())

    @property
    def classes(self) -> int:
        """Number of classes, k."""
        return len(self.model.classes_)

    @cached_property
    def prior(self) -> Floats:
        """Class shares of the reference, float [k]."""
        return np.bincount(self.truth, minlength=self.classes) / len(self.truth)

    @cached_property
    def code_columns(self) -> frozenset[str]:
        """Numeric columns that hold codes; what its owner declares as measured is none."""
        names, measured = self.model.features, self.model.measured
        coded = [c for c, codes in zip(names, self.stick.support.codes, strict=True) if codes is not None]
        return frozenset(c for c in coded if c not in measured)

    def present(self, frame: pd.DataFrame, column: str) -> Floats:
        """The values that a numeric column has, float [m]: what is missing has no unit and no grid."""
        values = frame[column].to_numpy(dtype=np.float64, na_value=np.nan)
        return np.asarray(values[np.isfinite(values)])

    @cached_property
    def numeric(self) -> list[str]:
        """Numeric columns."""
        return [c for c in self.model.features if self.model.dtypes[c] in ("float", "int")]

    @cached_property
    def known(self) -> dict[Callable[[Case], Any], Any]:
        """What :func:`once_a_case` has computed."""
        return {}

    @property
    def when(self) -> str:
        """When it was first seen, in words: by an alarm before these rows, or else with the first of them."""
        first = self.raw.index[0]
        if self.first_seen is not None:
            return f"on {self.first_seen:%Y-%m-%d %H:%M}"
        if self.times is not None:
            first = self.times[first]
        return f"on {first:%Y-%m-%d %H:%M}" if isinstance(first, datetime) else f"in these {len(self.raw)} rows"

    def answered(self, column: str, holds: bool) -> list[ColumnMap]:
        """The maps of a column of which its owner has said that they hold, or that they do not."""
        return [fact.columns[column] for fact in self.facts if fact.holds is holds and column in fact.columns]

    def part(self, rows: NDArray[np.int64]) -> Case:
        """The case of some of the window's rows (their positions)."""
        return replace(self, raw=self.raw.iloc[rows])


def once_a_case(compute: Callable[[Case], T]) -> Callable[[Case], T]:
    """Of a function of a case: what several mechanisms ask is computed for the first of them and kept with the case."""

    @wraps(compute)
    def kept(case: Case) -> T:
        if compute not in case.known:
            case.known[compute] = compute(case)
        known: T = case.known[compute]
        return known

    return kept


def halved(n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of two random halves of ``n`` rows."""
    order = np.random.default_rng(seed).permutation(n)
    return np.sort(order[: n // 2]), np.sort(order[n // 2 :])


def calibrate(logits: Floats, truth: NDArray[Any], k: int) -> tuple[Floats, Floats]:
    """Slope [1] and biases [k] that minimise the log-loss of ``softmax(slope · logits + bias)`` on labelled rows."""
    from scipy.optimize import minimize

    onehot = np.eye(k)[truth]

    def loss(theta: Floats) -> tuple[float, Floats]:
        p = softmax(logits * theta[0] + theta[1:])
        gap = (p - onehot) / len(logits)
        value = -np.log(np.maximum(p[np.arange(len(p)), truth], 1e-12)).mean() + 1e-4 * (theta[1:] ** 2).sum()
        return float(value), np.r_[(gap * logits).sum(), gap.sum(axis=0) + 2e-4 * theta[1:]]

    optimum = minimize(loss, np.r_[1.0, np.zeros(k)], jac=True, method="L-BFGS-B", bounds=[(0.05, 5.0)] + [(-5, 5)] * k)
    return np.asarray(optimum.x[:1]), np.asarray(optimum.x[1:])
