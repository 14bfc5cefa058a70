"""Is it a step away from healthy behaviour, or the way back to it?

``max_changed`` limits what traffic alone can steer. Where what serves lies outside its natural bounds in its inputs,
its scores and its decisions, nothing worth protecting serves; an identified change of the instrument that brings all
three back may go out however many predictions it turns. A free fit may not: a moved population's twin is restored by
one too.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import MARGIN, Judgement
from selfheal.healing.case import Case
from selfheal.healing.fits.maps import DOMINANT, PROVEN, far
from selfheal.healing.fits.matching import NEARLY
from selfheal.healing.outcome import Finding

SHARE_Z = 3.5
"""Standard errors by which a share of decisions may leave those of healthy windows, as in the share signal."""

FEWEST = 400
"""Rows below which nothing is waived: in windows of 200 an unlisted line of 1.4 passed for °F → °C."""

INPUTS = ("marginal", "residual", "outside", "joint", "auc")


def restores(case: Case, finding: Finding) -> bool:
    """Whether an identified change of the instrument is undone that had put everything out of its natural bounds."""
    adapter = finding.adapter
    if finding.diagnosis != "sensor" or not finding.trusted or adapter is None or adapter.changed_part != "input map":
        return False
    if len(case.raw) < FEWEST:
        return False
    after = case.stick.judge(adapter.input_map.apply(case.raw))
    before = (_inputs(case.judged), case.judged.ratios["score"], decisions(case, case.units))
    back = (_inputs(after), after.ratios["score"], decisions(case, adapter.input_map.apply(case.raw)))
    # What drifts beside a conversion by a factor that nothing else could have made was there without it.
    rest = DOMINANT if all(far(m) for m in adapter.input_map.columns.values()) else 0.0
    return _nothing_worth_protecting(finding, before) and all(
        now <= max(NEARLY, rest * then) for then, now in zip(before, back, strict=True)
    )


def _nothing_worth_protecting(finding: Finding, before: tuple[float, float, float]) -> bool:
    """Whether inputs, score and decisions lie outside, or what was sent is plainly in another unit.

    Decisions may swing so much from window to window that nonsense lies within their bounds.
    """
    maps = finding.adapter.input_map.columns.values() if finding.adapter else ()
    known = finding.answered or all(m.words for m in maps)
    return min(before) > 1.0 or (known and before[0] > PROVEN)


def _inputs(judged: Judgement) -> float:
    return max(judged.ratios[measure] for measure in INPUTS)


def decisions(case: Case, units: pd.DataFrame) -> float:
    """How far the shares of the base model's decisions on rows in model units lie from healthy ones, over the bound."""
    usual = np.array([_shares(case, block) for block in case.stick.blocks])
    middle, now = usual.mean(axis=0), _shares(case, units)
    noise = SHARE_Z * np.sqrt(np.maximum(middle * (1 - middle), 1.0 / len(units)) / len(units))
    spread = MARGIN * np.abs(usual - middle).max(axis=0)
    return float((np.abs(now - middle) / np.maximum(noise, spread)).max())


def _shares(case: Case, units: pd.DataFrame) -> Floats:
    decided = case.base.decide(case.base.proba_of_units(units))
    return np.bincount(decided, minlength=case.classes) / max(len(decided), 1)
