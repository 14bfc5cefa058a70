"""The classes come in other shares, each looking as it did: a logit offset in closed form."""

from __future__ import annotations

import numpy as np

from selfheal.adapter import Adapter
from selfheal.healing.case import Case
from selfheal.healing.fits import atoms
from selfheal.healing.fits.fair import cut_at_decision
from selfheal.healing.fits.one_column import rival
from selfheal.healing.fits.shares import Shift, believed, estimate, lone, offset, pool_weights
from selfheal.healing.mechanism import STABLE_CLASS, Mechanism
from selfheal.healing.outcome import Finding

MOVED = 0.25
"""Log odds by which the share of a class that is declared stable may move: a quarter more or less of it."""


FEWEST = 300
"""Rows below which a shift is asked about: at 200 a factor of 1.8 to 2.2 on one column passed for one in 5 of 28 worlds
and cost four to ten points, at 350 in none."""


def explain(case: Case) -> Finding | None:
    """Whether the pool under another prior explains the window."""
    if not case.prior.all():
        return None  # a class of which the reference has no row looks like nothing: its share cannot be told
    shift = estimate(case, case.raw)
    before, after = (", ".join(f"{v:.3f}" for v in shares) for shares in (shift.pool, shift.window))
    weights = pool_weights(case, shift)
    judged = case.stick.judge(case.raw, weights).ratios
    name = max(judged, key=lambda k: judged[k])
    ratio = judged[name]
    failed = believed(case, shift, case.raw)
    decided = case.base.decide(case.base.proba_of_units(case.raw))
    cut = cut_at_decision(case.calibrated(case.raw), case.healthy_posterior, decided, case.healthy_decisions)
    failed += [cut] if cut else []
    failed += [why for c in case.numeric if (why := atoms.beyond_shares(case, c, weights))][:1]
    failed += [f"the reweighted pool leaves {name} at {ratio:.2f} of its bound"] if ratio > 1.0 else []
    doubt = _against_declaration(case, shift) + _too_few(case)
    if not failed:
        doubt += [other] if (other := lone(case, weights) or rival(case, shift, weights)) else []
    adapter = Adapter(logit_offset=offset(case, shift))
    return Finding(
        "prior", "prior", not failed, "reweighted " + name, ratio, 1.0,
        f"class shares {before} → {after}" + "".join(f"; {why}" for why in [*failed, *doubt]),
        adapter=adapter, trusted=not doubt, teacher=case.base.with_adapter(adapter).proba_of_units(case.raw),
        refit=lambda rows: Adapter(logit_offset=offset(case, estimate(case, case.raw.iloc[rows]))),
    )  # fmt: skip


def _against_declaration(case: Case, shift: Shift) -> list[str]:
    """A class that is declared to stay as it was, and the rest not, speaks against a shift that moves its share.

    Who evades a model leaves its class, and that looks like fewer of it.
    """
    declared = case.model.policy.declare.stable_class
    if declared is None:
        return []
    index = int(np.flatnonzero(case.model.classes_ == declared)[0])
    before, after = (float(np.clip(shares[index], 1e-6, 1 - 1e-6)) for shares in (shift.pool, shift.window))
    moved = abs(np.log(after / (1 - after)) - np.log(before / (1 - before)))
    if moved <= MOVED:
        return []
    return [
        f"declared: class {declared!r} stayed as it was and the rest did not, but its share would go from {before:.3f} "
        f"to {after:.3f}"
    ]


def _too_few(case: Case) -> list[str]:
    """Whether the rows are too few to see that a class looks different."""
    n = len(case.raw)
    return [f"{n} rows are too few to tell it from a column that moved (at least {FEWEST})"] if n < FEWEST else []


MECHANISM = Mechanism("prior", rank=70, explain=explain, heeds=(STABLE_CLASS,), foretold=True)
