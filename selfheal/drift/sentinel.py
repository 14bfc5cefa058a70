"""Between two looks of the monitor: counts of what is served, held against healthy windows and beginnings of them.

Every column in model units, every class's probability, and what each rule says are counted in a few bins. The sentinel
decides nothing: it asks for an early look, and the signals have the say there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BINS = 16
"""Quantile bins of a column: a unit that changes fills one of the outer ones, or beyond them."""
LEVELS = 15
"""Levels of a text column that are told apart; all others are one."""
MARGIN = 2.0
"""A bound lies so far above the largest natural distance: the yardstick's 1.3 is for one look a window. At 1.3 windows
whose level wanders by .1 of a standard deviation were cut in 14 of 100, at 2.0 in 3 (docs/notes.md)."""
BEGINNINGS = (0.125, 0.25, 0.5, 0.75, 1.0)
"""Parts of a healthy window, from its start, that are held against the others: mornings are no drift."""
HEALTHY = 5
"""Fewer healthy windows have no spread to show; then nothing is watched."""
CHANCE = 1e-4
"""Of a look at a window like the others by chance alone, over all that is watched (Kolmogorov's law, Bonferroni)."""
RULE_Z = 4.0
"""The same of a rule's shares: standard errors."""
VOTES = 30
"""Fewer votes of a rule make no share of conflict."""


class Block(NamedTuple):
    """Rows of a healthy window, in order of time.

    Attributes
    ----------
    columns
        Feature → its values [n] in model units: float64, or text and None.
    proba
        What was or would be answered, float64 [n, k].
    fired
        Where each rule fires, bool [n, m].
    """

    columns: Mapping[str, NDArray[Any]]
    proba: Floats
    fired: NDArray[np.bool_]


@dataclass(frozen=True)
class Gauge:
    """One thing that is counted.

    Attributes
    ----------
    name
        A column, or ``probability of class N``.
    edges, levels
        Upper edges of the bins of numbers, or the levels of a text.
    usual
        Share of the healthy rows up to each bin.
    natural
        The largest distance of a healthy window's beginning from the other windows.
    """

    name: str
    edges: tuple[float, ...]
    levels: tuple[str, ...]
    usual: tuple[float, ...]
    natural: float

    def counts(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """How many values fall into each bin; what is missing, or beyond what was seen, into the last."""
        if self.levels:
            known = {level: place for place, level in enumerate(self.levels)}
            places = np.array([known.get(value, len(known)) for value in values.tolist()], dtype=np.int64)
            return np.bincount(places, minlength=len(self.levels) + 1)
        return np.bincount(np.searchsorted(self.edges, values, side="left"), minlength=len(self.edges) + 1)


@dataclass(frozen=True)
class RuleGauge:
    """What a rule usually says: its vote, where it fires, and how often the model contradicts it, with natural steps.

    ``conflict`` is NaN where it hardly ever fires.
    """

    name: str
    when: str
    vote: int
    rate: float
    rate_natural: float
    conflict: float
    conflict_natural: float


@dataclass(frozen=True)
class Plan:
    """What a service counts, and how far it may lie from what is usual.

    Attributes
    ----------
    version
        The version whose answers it is about.
    window_us, min_rows
        The policy's: length of a window, and how many rows one needs.
    rows
        Healthy rows that it was made from.
    """

    version: int
    window_us: int
    min_rows: int
    rows: int
    gauges: tuple[Gauge, ...]
    rules: tuple[RuleGauge, ...]

    def to_json(self) -> str:
        """As text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """The inverse of :meth:`to_json`."""
        record: dict[str, Any] = json.loads(text)
        gauges = [{**g, **{key: tuple(g[key]) for key in ("edges", "levels", "usual")}} for g in record.pop("gauges")]
        rules = [RuleGauge(**rule) for rule in record.pop("rules")]
        return cls(**record, gauges=tuple(Gauge(**gauge) for gauge in gauges), rules=tuple(rules))


def make_plan(
    version: int, window_us: int, min_rows: int, blocks: Sequence[Block], rules: Sequence[tuple[str, str, int]]
) -> Plan | None:
    """What to count of a version's answers, from healthy windows; None where there are too few.

    Parameters
    ----------
    rules
        Name, predicate and voted class of each.
    """
    if len(blocks) < HEALTHY:
        return None
    names = list(blocks[0].columns)
    gauges = [_gauge(name, [block.columns[name] for block in blocks]) for name in names]
    k = blocks[0].proba.shape[1]
    # Of two classes one says all.
    gauges += [_gauge(f"probability of class {j}", [b.proba[:, j] for b in blocks]) for j in range(1, k)]
    rule_gauges = tuple(_rule(*rule, [(b.fired[:, j], b.proba) for b in blocks]) for j, rule in enumerate(rules))
    return Plan(version, window_us, min_rows, sum(len(b.proba) for b in blocks), tuple(gauges), rule_gauges)


def _gauge(name: str, parts: Sequence[NDArray[Any]]) -> Gauge:
    pool = np.concatenate(parts)
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    if pool.dtype == object:
        values, counts = np.unique([v for v in pool.tolist() if v is not None], return_counts=True)
        levels = tuple(str(level) for level in values[np.argsort(-counts, kind="stable")][:LEVELS])
    else:
        known = pool[np.isfinite(pool)]
        steps = np.linspace(0.0, 1.0, BINS + 1)
        edges = tuple(np.unique(np.quantile(known, steps)).tolist()) if len(known) else ()
    plain = Gauge(name, edges, levels, (), 0.0)
    counted = [plain.counts(part) for part in parts]
    whole: NDArray[np.int64] = np.sum(counted, axis=0)
    natural = 0.0
    for part, own in zip(parts, counted, strict=True):
        others = _shares(whole - own)
        for share in BEGINNINGS:
            begun = plain.counts(part[: max(1, int(share * len(part)))])
            natural = max(natural, float(np.abs(_shares(begun) - others).max()))
    return Gauge(name, edges, levels, tuple(_shares(whole).tolist()), natural)


def _shares(counts: NDArray[np.int64]) -> Floats:
    return np.cumsum(counts) / max(int(counts.sum()), 1)


def _rule(name: str, when: str, vote: int, parts: Sequence[tuple[NDArray[np.bool_], Floats]]) -> RuleGauge:
    fired = np.concatenate([part for part, _ in parts])
    against = np.concatenate([proba.argmax(axis=1) != vote for _, proba in parts]) & fired
    rate, conflict = float(fired.mean()), float(against.sum() / fired.sum()) if fired.sum() >= VOTES else math.nan
    rates, conflicts = [0.0], [0.0]
    for part, proba in parts:
        for share in BEGINNINGS:
            begun = part[: max(1, int(share * len(part)))]
            rates.append(abs(float(begun.mean()) - rate))
            if begun.sum() >= VOTES:
                clashes = proba[: len(begun)].argmax(axis=1)[begun] != vote
                conflicts.append(abs(float(clashes.mean()) - conflict))
    return RuleGauge(name, when, vote, rate, max(rates), conflict, max(conflicts))


class Tally:
    """What was counted of an open window.

    Attributes
    ----------
    rows
        Rows counted.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.rows = plan, 0
        self._counts = [np.zeros(len(gauge.usual), dtype=np.int64) for gauge in plan.gauges]
        self._voted = 0
        self._fired = np.zeros(len(plan.rules), dtype=np.int64)
        self._against = np.zeros(len(plan.rules), dtype=np.int64)

    def add(self, columns: Mapping[str, NDArray[Any]], proba: Floats) -> None:
        """Count rows: columns in model units, and the answered probabilities float64 [n, k]."""
        self.rows += len(proba)
        k = proba.shape[1]
        values = [*(columns[gauge.name] for gauge in self.plan.gauges[: 1 - k]), *proba.T[1:]]
        for gauge, counts, seen in zip(self.plan.gauges, self._counts, values, strict=True):
            counts += gauge.counts(seen)

    def add_votes(self, fired: NDArray[np.bool_], proba: Floats) -> None:
        """Count where each rule fired, bool [n, m], and where the answer was another."""
        votes = np.array([rule.vote for rule in self.plan.rules])
        self._voted += len(fired)
        self._fired += fired.sum(axis=0)
        self._against += (fired & (proba.argmax(axis=1)[:, None] != votes[None, :])).sum(axis=0)

    def worst(self) -> tuple[float, str]:
        """What lies farthest from the usual over its bound, and in words; above 1 an early look is asked for."""
        deviations = [*self._of_columns(), *self._of_rules()]
        value, words = max(deviations, key=lambda each: each[0], default=(0.0, "nothing is watched"))
        return value, f"{words}: {value:.2f} of its natural bound after {self.rows} rows"

    def _of_columns(self) -> list[tuple[float, str]]:
        if not self.rows:
            return []
        noise = math.sqrt(math.log(2 * len(self.plan.gauges) / CHANCE) / 2 * (1 / self.rows + 1 / self.plan.rows))
        return [
            (
                float(np.abs(_shares(counts) - gauge.usual).max()) / max(MARGIN * gauge.natural, noise),
                f"data: {gauge.name}",
            )
            for gauge, counts in zip(self.plan.gauges, self._counts, strict=True)
        ]

    def _of_rules(self) -> list[tuple[float, str]]:
        deviations = []
        for rule, fired, against in zip(self.plan.rules, self._fired.tolist(), self._against.tolist(), strict=True):
            if self._voted:
                ratio = self._step(fired / self._voted, rule.rate, self._voted, rule.rate_natural)
                deviations.append((ratio, f"rules: firing rate of {rule.name}"))
            if fired >= VOTES and math.isfinite(rule.conflict):
                ratio = self._step(against / fired, rule.conflict, fired, rule.conflict_natural)
                deviations.append((ratio, f"rules: conflict with {rule.name}"))
        return deviations

    def _step(self, now: float, usual: float, n: int, natural: float) -> float:
        chance = RULE_Z * math.sqrt(max(usual * (1 - usual), 1 / n) * (1 / n + 1 / self.plan.rows))
        return abs(now - usual) / max(chance, MARGIN * natural)
