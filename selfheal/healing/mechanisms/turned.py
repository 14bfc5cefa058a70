"""The concept turned for a part of the rows, and labels say which: what a class stood for is another one there.

A patch of the logits turns all rows alike (:mod:`selfheal.healing.fits.patch`); where the part that turned is told by
one column, two halves of the labels give different patches, and the gate refuses them. Here each side of a value of
that column has its own table of which class stands for which (:mod:`selfheal.healing.fits.turned`). It is proposed
where one window's labels, cross-fitted, prove its decisions, twice as loudly as a patch must for it is the second that
is tried, and where it foretells them as well as the patch does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from selfheal.adapter import Adapter
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import thinned
from selfheal.healing.case import Case
from selfheal.healing.fits.loud import LOUD, across, newest, patched_across, read
from selfheal.healing.fits.reflex import teach
from selfheal.healing.fits.turned import Cut, Turned, cuts_of, fit_turned, sides_of
from selfheal.healing.labels.fair import selected
from selfheal.healing.labels.shares import lopsided
from selfheal.healing.mechanism import LABELS, Mechanism
from selfheal.healing.outcome import ByLabels, Finding
from selfheal.healing.sequential import LEVEL
from selfheal.model import MonitoredModel

TRIED = 2
"""Kinds of patches that one window's labels are asked about: the e-value that proves is as many times as large."""

TIE = 0.05
"""Nats a row within which tables, of which two halves of the labels agree sooner, go before a patch."""

MOST = 500
"""Labels that are fitted to: the newest window's, spread evenly."""

TAUGHT = 1000
"""Rows of the window, of the healthy ones and of the reference each, that the layer is taught on."""

ASTRAY = 0.2
"""Decisions that the taught layer may give otherwise than the tables, as a share of those that change. The hidden
states of a model that never needed the column hardly know on which side a row lies: at .33 a cut at the very value that
it was cost five points on the next window, whose rows lay elsewhere; six that gained had .04 to .15."""


@dataclass(frozen=True)
class _Known:
    """The newest window's labelled rows, as served and as the model that is patched sees them."""

    served: Floats
    proba: Floats
    units: pd.DataFrame
    truth: NDArray[np.int64]
    cuts: list[Cut]
    sides: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.truth)

    def fitted(self, rows: NDArray[np.int64]) -> Turned:
        """To some of the rows (their positions)."""
        return fit_turned(self.proba[rows], self.truth[rows], self.sides[:, rows], self.cuts)

    def answered(self, fitted: NDArray[np.int64], out: NDArray[np.int64]) -> Floats:
        """Of some rows, by tables that were fitted to others."""
        return self.fitted(fitted).apply(self.proba[out], self.units.iloc[out])

    def by(self, cuts: tuple[Cut, ...]) -> _Known:
        """The same, told apart by these alone."""
        return replace(self, cuts=list(cuts), sides=self.sides[[self.cuts.index(cut) for cut in cuts]])


def explain(case: Case) -> Finding | None:
    """Whether labels of this window prove that its classes stand for others, by a column or everywhere."""
    known = _newest(case)
    if known is None:
        return None
    model, bare = case.model, read(case).bare
    foretold = across(known.truth, known.served, known.answered)
    trial = foretold.trial(model)
    patch = patched_across(case).trial(model)
    needed = TRIED / LEVEL
    ahead = trial.nats.gain > patch.nats.gain - TIE or trial.decisions.gain > patch.decisions.gain
    if not ahead or trial.nats.gain <= 0 or trial.decisions.better < needed:
        return None
    unfair = selected(model, case.labelled_windows) or lopsided(model, foretold)
    everything, units = np.arange(len(known)), _taught_on(case)
    # Where rows are told apart has been proven across the folds; what is learnt there two halves must agree on.
    known = known.by(known.fitted(everything).cuts)
    turned = known.fitted(everything)
    teacher = turned.apply(bare.proba_of_units(case.units), case.units)

    def made(rows: NDArray[np.int64]) -> Adapter:
        return _carried(bare, known.fitted(rows), units, case.seed)

    adapter = None if unfair else made(everything)
    astray = 0.0 if adapter is None else _astray(case, teacher, model.with_adapter(adapter).predict_proba(case.raw))
    reason = (
        (f"{unfair}; " if unfair else "")
        + f"{len(known)} labels: other classes stand for what they were{_where(turned)}; {trial.nats.gain:+.3f} nats "
        f"(a patch of the logits {patch.nats.gain:+.3f}) and {trial.decisions.gain:+.3f} of decisions "
        f"({patch.decisions.gain:+.3f}) a row on labels it had not seen, e-value {trial.decisions.better:.3g} (bound "
        f"{needed:g})"
    )
    if astray > ASTRAY:
        reason += (
            f"; the model's hidden states do not tell these rows: {astray:.0%} as many decisions would go astray as"
            f" are to change (bound {ASTRAY:.0%})"
        )
        adapter = None
    return Finding(
        "turned", "concept", adapter is not None, "nats lost on labels it had not seen", -trial.nats.gain, 0.0, reason,
        adapter=adapter, teacher=None if adapter is None else teacher, refit=made,
        labels=ByLabels(len(known), foretold, True),
    )  # fmt: skip


def _newest(case: Case) -> _Known | None:
    """The labelled rows of the newest window, where they are enough to speak for themselves."""
    model, known, own = case.model, case.labelled, newest(case)
    if len(own) < LOUD:
        return None
    own = own[:: -(-len(own) // MOST)]
    rows, bare = known.rows.iloc[own], read(case).bare
    units = model.model_units(rows)
    measured = [c for c in case.numeric if c not in case.code_columns]
    cuts = cuts_of(case.units[list(model.features)], measured)
    return _Known(
        model.predict_proba(rows), bare.proba_of_units(units), units, known.truth[own], cuts, sides_of(units, cuts)
    )


def _taught_on(case: Case) -> pd.DataFrame:
    """Rows in model units that the layer learns from: the window's, the healthy windows' and the reference's."""
    columns = list(case.model.features)
    frames = (case.model.reference, case.stick.pool_frame, case.units)
    return pd.concat([thinned(frame, TAUGHT)[columns] for frame in frames], ignore_index=True)


def _carried(bare: MonitoredModel, turned: Turned, units: pd.DataFrame, seed: int) -> Adapter:
    """What the model with an input map alone answers, turned, as a ReflexiveLayer."""
    base, wanted = bare.with_adapter(Adapter()), turned.apply(bare.proba_of_units(units), units)
    hidden: torch.Tensor = base.hidden_of_units(units)
    return replace(
        bare.adapter, reflexive=teach(base, hidden, wanted, np.ones(len(wanted)), seed), logit_offset=None
    )  # fmt: skip


def _astray(case: Case, wanted: Floats, made: Floats) -> float:
    """Of the window's rows those that are not decided as wanted, over those whose decision was to change."""
    was, then, now = (case.model.decide(proba) for proba in (case.served, wanted, made))
    return float((now != then).sum() / max((then != was).sum(), 1))


def _where(turned: Turned) -> str:
    """By which cut, in words; empty where no one of them is likelier than not."""
    if not len(turned.weights) or turned.weights[0] < 0.5:
        return ""
    return f", otherwise where {turned.cuts[0]} than elsewhere"


MECHANISM = Mechanism("turned", rank=105, explain=explain, needs=(LABELS,), last_resort=True)
