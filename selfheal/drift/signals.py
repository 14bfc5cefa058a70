"""The two signals that regulate healing: what the data says, and what the rules say.

Either, confirmed over several windows, asks for a heal; neither can promote one. Both are ratios to a natural bound:
1 is the edge of what this model's own healthy windows do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import binom
from threadpoolctl import threadpool_limits

from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import Yardstick, cut, thinned
from selfheal.model import MonitoredModel, softmax
from selfheal.rules import ABSTAIN, conflict, coverage, votes

WATCHED = ("score", "joint", "outside", "auc", "share")
"""What raises the data alarm: the model's score, the joint distribution, values never seen, a classifier, and the
classes' expected shares. Single columns say where, not whether: drift of a column that informs nothing would alarm at
every window."""

OF_A_PART = WATCHED[:-1]
"""What is watched of a part of the rows: the reference's class shares are those of all."""

SHARE_Z = 3.5
"""Standard errors by which an expected share may leave what is known: .02 % of calm windows by the normal law."""

RULE_MARGIN = 1.6
"""A rule may step this much farther than the largest natural step before it alarms. Several rules are watched, each
with two figures, on few windows: at 1.3 eight of 37 natural years of weather alarmed, at 1.6 five, and none twice in
a row, which is what patience asks for."""

CHANCE_STEPS = 2.0
"""Mean square of a few steps between windows, over what it is expected to be, that chance alone hardly exceeds: five
steps do in 8 %, eleven in 3 % (chi-squared)."""

LAG = 3
"""Natural steps that may lie between a window and the levels that are known."""

SIGNAL_ROWS = 20_000
"""A larger window is thinned to this, evenly: chance then moves a share by less than a percent, and what is natural
between windows is far more than that."""

CONFLICT_VOTES = 10
"""Fewer votes in a window make no share of conflict."""

NEW_RULE_P = 1e-4
"""Binomial tail below which a rule about a new pattern fires too often for chance (docs/notes.md)."""


@dataclass(frozen=True)
class Signal:
    """One signal on one window.

    Attributes
    ----------
    name
        ``"data"`` or ``"rules"``.
    alarm
        Whether ``value`` exceeds ``bound``.
    measure
        What was largest, such as ``"joint distribution"`` or ``"firing rate of deep_v14"``.
    value, bound
        Ratio to the natural bound, and 1.
    reason
        One line for people.
    details
        Every ratio that went into it, by name.
    """

    name: str
    alarm: bool
    measure: str
    value: float
    bound: float
    reason: str
    details: dict[str, float] = field(default_factory=dict)


JOINT = "the joint distribution"
"""What a signal calls the measure whose bound falls with the rows, and not with their root."""

_WORDS = {
    "score": "the model's score",
    "joint": JOINT,
    "outside": "values never seen before",
    "auc": "a classifier between window and pool",
    "share": "the expected class shares",
    "marginal": "single columns",
    "residual": "columns given the others",
}


def signals(
    model: MonitoredModel,
    frame: pd.DataFrame,
    recent: Sequence[pd.DataFrame] | pd.DataFrame | None = None,
    yardstick: Yardstick | None = None,
) -> tuple[Signal, Signal]:
    """The data signal and the rules signal of one window.

    Parameters
    ----------
    model
        As it serves: its input map turns ``frame`` into model units.
    frame : DataFrame [n, d], raw.
    recent
        Healthy windows in model units, oldest first; without them the reference in blocks of n rows.
    yardstick
        A ready one for ``recent``, to save making it again.
    """
    units = model.model_units(thinned(frame, SIGNAL_ROWS))
    # Small matrices: BLAS threads gain nothing, and on a busy host their spinning once cost minutes.
    with threadpool_limits(1):
        stick = yardstick or Yardstick(model, recent, len(units), window=units)
        return data_signal(stick, units), rules_signal(stick, units)


def data_signal(stick: Yardstick, units: pd.DataFrame, watched: Sequence[str] = WATCHED) -> Signal:
    """Inputs and scores against the natural spread of healthy windows."""
    judged = stick.judge(units)
    ratios = judged.ratios | ({"share": share_ratio(stick, units)} if "share" in watched else {})
    name = max(watched, key=lambda k: ratios[k])
    value = float(ratios[name])
    moved = judged.moved()
    where = f"; columns: {', '.join(f'{c} {judged.columns[c]:.1f}' for c in moved[:6])}" if moved else ""
    reason = f"{_WORDS[name]}: {value:.2f} of the natural bound{where}"
    details = {f"{k}_ratio": float(v) for k, v in ratios.items()}
    return Signal("data", value > 1.0, _WORDS[name], value, 1.0, reason, details)


def share_ratio(stick: Yardstick, units: pd.DataFrame) -> float:
    """How far the classes' mean probabilities lie beyond every known level, over what is natural.

    A mean sees a prior shift that a Kolmogorov-Smirnov distance misses. And what is known is no rolling pool: it is
    the reference's level, so a slow walk adds up instead of being absorbed step by step, and that of healthy windows
    beyond it, which were cleared after an alarm or came before the watch.
    """
    reference = softmax(stick.model.logits_of_base(stick.reference))
    now = _shares(stick, units)
    blocks = np.array([block.mean() for block in cut(pd.DataFrame(reference), stick.n)])
    recent = np.array([] if stick.from_reference else [_shares(stick, block) for block in stick.blocks])
    # What is natural is what steps between neighbours have beyond chance.
    chance = reference.var(axis=0) / len(units)
    natural = [np.zeros_like(chance), *(_steps(m) - CHANCE_STEPS * chance for m in (blocks, recent) if len(m) > 2)]
    bound = SHARE_Z * np.sqrt(chance + LAG * np.maximum.reduce(natural))
    low = high = reference.mean(axis=0)
    for level in recent:
        if (np.maximum(low - level, level - high) > bound).any():
            low, high = np.minimum(low, level), np.maximum(high, level)
    return float((np.maximum(low - now, now - high) / bound).max())


def _shares(stick: Yardstick, units: pd.DataFrame) -> Floats:
    """Mean probability of every class [k] under the frozen model."""
    return np.asarray(softmax(stick.model.logits_of_base(units)).mean(axis=0))


def _steps(means: Floats) -> Floats:
    """Variance [k] of windows around their neighbours, from their means [b, k]: half the mean squared step."""
    return np.asarray(0.5 * (np.diff(means, axis=0) ** 2).mean(axis=0))


def rules_signal(stick: Yardstick, units: pd.DataFrame) -> Signal:
    """Firing rate of, and conflict with, every rule against the same of healthy windows."""
    rules = stick.model.policy.rule_set
    if not rules:
        return Signal("rules", False, "no rules", 0.0, 1.0, "the policy has no rules")
    details: dict[str, float] = {}
    now, pool, *blocks = (_voted(stick.model, frame) for frame in (units, stick.pool_frame, *stick.blocks))
    for j, rule in enumerate(rules):
        count, fired = int(now.counts[j]), [float(b.rates[j]) for b in blocks]
        if rule.knowledge == "new":
            ratio = new_rule_excess(count, len(units), float(np.mean(fired)), stick)
        else:
            ratio = _ratio(float(now.rates[j]), fired, len(units), float(pool.rates[j]))
        details[f"firing rate of {rule.name}"] = ratio
        if rule.knowledge == "record":
            against = [float(b.conflicts[j]) for b in blocks if b.counts[j]]
            enough = count >= CONFLICT_VOTES and against
            ratio = _ratio(float(now.conflicts[j]), against, count, float(pool.conflicts[j])) if enough else 0.0
            details[f"conflict with {rule.name}"] = ratio
    name = max(details, key=lambda k: details[k])
    value = details[name]
    return Signal("rules", value > 1.0, name, value, 1.0, f"{name}: {value:.2f} of the natural bound", details)


@dataclass(frozen=True)
class _Voted:
    """What the rules say of some rows, and the model of them, per rule [m]."""

    counts: NDArray[np.int64]
    rates: NDArray[np.float64]
    conflicts: NDArray[np.float64]


def _voted(model: MonitoredModel, units: pd.DataFrame) -> _Voted:
    matrix = votes(model.policy.rule_set, units, model.classes_.tolist())
    conflicts = conflict(matrix, model.proba_of_units(units).argmax(axis=1))
    return _Voted((matrix != ABSTAIN).sum(axis=0), coverage(matrix), conflicts)


def new_rule_excess(count: int, n: int, rate: float, stick: Yardstick) -> float:
    """How far ``count`` of ``n`` exceeds what a rate (never below one row of the healthy windows) gives by chance."""
    floor = 1.0 / sum(len(block) for block in stick.blocks)
    limit = float(binom.isf(NEW_RULE_P, n, min(max(rate, floor), 1.0)))
    return count / max(limit, 1.0)


def _ratio(now: float, before: list[float], n: int, expected: float) -> float:
    """|now − expected| over the larger of sampling noise and the natural steps from window to window."""
    centre = expected if np.isfinite(expected) else float(np.mean(before))
    # 3.5 standard errors of a share of n against a share of 2n rows; never below one row's worth.
    noise = 3.5 * np.sqrt(max(centre * (1 - centre), 1 / n) * 1.5 / n)
    steps = [abs(b - a) for a, b in itertools.pairwise(before)]
    return float(abs(now - centre) / max(noise, RULE_MARGIN * max(steps, default=0.0)))
