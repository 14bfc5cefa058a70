"""The classes come in other shares, each looking as it did: a logit offset in closed form."""

from __future__ import annotations

from selfheal.adapter import Adapter
from selfheal.healing.case import Case
from selfheal.healing.fits.fair import cut_at_decision
from selfheal.healing.fits.shares import believed, estimate, offset, pool_weights
from selfheal.healing.mechanism import Mechanism
from selfheal.healing.outcome import Finding


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
    failed += [f"the reweighted pool leaves {name} at {ratio:.2f} of its bound"] if ratio > 1.0 else []
    adapter = Adapter(logit_offset=offset(case, shift))
    return Finding(
        "prior", "prior", not failed, "reweighted " + name, ratio, 1.0,
        f"class shares {before} → {after}" + "".join(f"; {why}" for why in failed),
        adapter=adapter, teacher=case.base.with_adapter(adapter).proba_of_units(case.raw),
        refit=lambda rows: Adapter(logit_offset=offset(case, estimate(case, case.raw.iloc[rows]))),
    )  # fmt: skip


MECHANISM = Mechanism("prior", rank=70, explain=explain, foretold=True)
