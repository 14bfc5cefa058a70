"""One class still looks as it did, and its owner says so: the rest is whatever the window holds beside it.

With π the class's share, ``p(class | x) = π · p(x | class) / p_window(x)``: the ratio of two densities, which a
logistic regression between the class's reference rows and the window gives. Believed only when declared: data
cannot tell it (docs/notes.md: guessed, it once took .925 to .418).
"""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import PolynomialFeatures

from selfheal.adapter import Adapter
from selfheal.drift.stats import Floats
from selfheal.healing.case import Case
from selfheal.healing.fits.reflex import teach, with_share
from selfheal.healing.mechanism import STABLE_CLASS, UNUSUAL_AS_SERVED, Mechanism
from selfheal.healing.outcome import Finding

OVERFULL = 0.1
"""Share of rows whose probability would exceed 1: more means that the class does not look as declared."""


SURE = 0.005
"""Nats that the columns must still tell of the class where every row would be called alike: an end at the constant
needs evidence, not a tie. The published case has .011; a wrong declaration that cost five points had none."""


def explain(case: Case) -> Finding | None:
    """The posterior that the declaration implies, if it is one."""
    declared = case.model.policy.declare.stable_class
    index = int(np.flatnonzero(case.model.classes_ == declared)[0])
    share = float(case.prior[index])
    if share == 0.0:
        return None  # the reference has no row of it
    implied = share * density_ratio(case, index)
    overfull = float((implied > 1.0).mean())
    reason = f"declared: class {declared!r} (share {share:.3f}) looks as it did; {overfull:.1%} of rows would exceed 1"
    explained = overfull <= OVERFULL
    teacher = _teacher(case, index)
    doubt = _empty(case, teacher)
    return Finding(
        "stable_class", "concept", explained, "rows over 1", overfull, OVERFULL, reason + doubt,
        trusted=not doubt, adapter=_learn(case, index) if explained else None, teacher=teacher,
        refit=lambda rows: _learn(case.part(rows), index),
    )  # fmt: skip


def _empty(case: Case, teacher: Floats) -> str:
    """Whether the posterior [n, k] calls every row alike and tells nothing; empty where it does not."""
    nats = float((teacher * np.log(teacher / teacher.mean(axis=0))).sum(axis=1).mean())
    if np.ptp(case.model.decide(teacher)) or nats >= SURE:
        return ""
    return f"; every row would be called alike, and the columns tell {nats:.4f} nats of the class (at least {SURE:g})"


def _learn(case: Case, index: int) -> Adapter:
    teacher = _teacher(case, index)
    hidden = case.base.hidden_of_units(case.raw)
    return Adapter(reflexive=teach(case.base, hidden, teacher, np.ones(len(teacher)), case.seed))


def _teacher(case: Case, index: int) -> Floats:
    """The posterior [n, k] that the declaration implies; the other classes share the rest as the frozen model does."""
    posterior = np.clip(case.prior[index] * density_ratio(case, index), 1e-4, 1 - 1e-4)
    return with_share(case.base.proba_of_units(case.raw), index, posterior)


def density_ratio(case: Case, index: int) -> Floats:
    """``p(x | class) / p_window(x)`` at the window's rows, float [n]."""
    scale = case.stick.scale
    odd = [j for j, c in enumerate(case.model.features) if case.judged_raw.columns[c] > 1.0]
    columns = odd or list(range(len(case.model.features)))
    window = scale.z(case.stick.encode(case.raw))[:, columns]
    member = scale.z(case.stick.encode(case.reference[case.truth == index]))[:, columns]
    features = PolynomialFeatures(2, include_bias=False, interaction_only=False).fit(window[:1])
    x = features.transform(np.concatenate([member, window]))
    side = np.r_[np.ones(len(member)), np.zeros(len(window))]
    fitted = LogisticRegression(C=1.0, max_iter=500).fit(x, side)
    odds = fitted.decision_function(features.transform(window))
    return np.asarray(np.exp(np.clip(odds, -12, 12)) * len(window) / len(member))


MECHANISM = Mechanism("stable_class", rank=90, explain=explain, needs=(STABLE_CLASS, UNUSUAL_AS_SERVED))
