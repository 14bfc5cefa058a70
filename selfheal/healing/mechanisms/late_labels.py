"""Labels have come: a small patch of the logits is fitted to them, and later ones prove it.

Cross-validation on the same labels is not enough (HEALING): the days of a stream differ, and what was right on three
of them is wrong on the fourth. So every window is foretold by a patch that was fitted to the windows before it alone,
and the gains are bet on, window by window (:mod:`selfheal.healing.sequential`). What wins the bet at once is promoted,
fitted to all labels; else it waits in Staging, and the bet goes on with the labels of the windows that follow.

Two patches are tried, one within the other. A full one, ``a·z + b + W·h``, where decisions become so much better that
the concept must have changed; it is never promoted at once. Else the scale alone, which makes the probabilities more
honest and leaves the most probable class as it is.
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
from selfheal.healing.labelled import Labelled, decision_losses, log_losses
from selfheal.healing.outcome import Finding, Outcome
from selfheal.healing.patch import Patch, Scaling, carried, fit, fit_scale
from selfheal.healing.sequential import trial
from selfheal.model import MonitoredModel

MIN_LABELS = 20
"""Fewer say nothing that a ridge of 4 pseudo-rows lets through."""

PARTS = 4
"""Contiguous parts that stand for windows where the labels come from one window only. They propose, and prove nothing:
parts of one day are alike."""

TESTED = 3
"""Windows, the newest, that are foretold by patches from the windows before them."""

FEWEST = 5
"""Labels below which a window is not foretold by itself."""

DECISIONS = 0.1
"""Loss of decisions that foretold labels must see gone before more than the scale is patched. The regimes of elec come
and go within two windows, and a patch that won 5 to 8 % of decisions lost them on the next ones: of 60 cases (100 and
200 labels, seeds 0 and 1) 8 were harmed at .05, 4 at .08, none at .10."""

POWER = 0.6
"""How much of the fitted scale is taken, on a log scale, for what was fitted to some days is too much for the next.
All of it gains a tenth more and costs over .02 nats in 14 % of windows of elec and flights, .8 in 9 %, .6 in 3 %."""

REFERENCE_ROWS = 2000
"""Reference rows that scale the hidden states, and that a head which is not linear is taught on."""


@dataclass(frozen=True)
class _Tried:
    """What foretold labels say of one kind of patch: gains [n] in nats and in loss of decisions, row by row."""

    full: bool
    nats: Floats
    decisions: Floats

    @property
    def changed(self) -> bool:
        """Whether decisions become so much better that the concept must have changed."""
        return bool(len(self.nats) and self.nats.mean() > 0 and self.decisions.mean() > DECISIONS)


@dataclass(frozen=True)
class _Known:
    """Labelled rows: what is served for them, and as the model that is patched sees them."""

    model: MonitoredModel
    served: Floats
    logits: Floats
    hidden: Floats
    truth: NDArray[np.int64]
    window: NDArray[np.int64]
    scaling: Scaling

    def patch(self, rows: NDArray[np.bool_], full: bool) -> Patch:
        """Fitted to some of the rows."""
        logits, hidden, truth = self.logits[rows], self.hidden[rows], self.truth[rows]
        if full:
            return fit(logits, hidden, truth, self.scaling)
        return fit_scale(logits, truth, hidden.shape[1], POWER)


def start_of(model: MonitoredModel) -> Adapter:
    """What a patch is put on: what serves, but for a ReflexiveLayer and the offset that came with it.

    An input map or a prior's offset is a mechanism that explained; a layer was learned, and patches are never chained.
    """
    serving = model.adapter
    return serving if serving.reflexive is None else replace(serving, reflexive=None, logit_offset=None)


def explain(model: MonitoredModel, known: Labelled, seed: int = 0) -> tuple[Finding, float] | None:
    """Whether labels say that a patch helps, and the e-value for it so far; None where there are too few to ask."""
    if len(known) < MIN_LABELS:
        return None
    start = start_of(model)
    bare = model.with_adapter(start)
    reference = bare.hidden_of_units(thinned(model.reference, REFERENCE_ROWS))
    hidden = bare.hidden_of_units(bare.model_units(known.rows))
    scaling = Scaling.of(reference.double().numpy())
    logits = bare.logits_of_hidden(hidden)
    rows = _Known(
        bare, model.predict_proba(known.rows), logits, hidden.double().numpy(), known.truth, known.window, scaling
    )  # fmt: skip
    apart = _windows(known.window)
    tried = _foretold(rows, apart, full=True)
    if not tried.changed:
        tried = _foretold(rows, apart, full=False)
    patch = rows.patch(np.ones(len(known), dtype=bool), tried.full)
    what = "scale, offset and hidden state" if tried.full else "the scale alone"
    told = trial(tried.nats, tried.decisions)
    # A full patch begins its trial anew: it has to prove itself on windows that it has not seen.
    foretold = apart is known.window and not tried.full
    held, proven = told.nats.better if foretold else 1.0, foretold and told.says == "better"
    reason = (
        f"{len(known)} labels: a patch of the logits ({what}; scale {patch.scale:.2f}) gains {told.nats.gain:+.3f} "
        f"nats and {told.decisions.gain:+.3f} of decisions a row on labels it had not seen, e-value {held:.3g}"
    )
    helps = told.nats.gain > 0
    adapter = carried(bare, start, patch, torch.cat([reference, hidden]), seed) if helps else None
    finding = Finding(
        "late_labels", "concept", helps, "nats lost on labels it had not seen", -told.nats.gain, 0.0, reason,
        decision="promote" if proven else "audit", adapter=adapter, trusted=proven,
    )  # fmt: skip
    return finding, held


def _windows(window: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which window each row counts to: as given, or parts of the one that there is."""
    if len(np.unique(window)) > 1:
        return window
    return np.asarray(np.arange(len(window)) * PARTS // len(window), dtype=np.int64)


def _foretold(rows: _Known, window: NDArray[np.int64], full: bool) -> _Tried:
    """Gains on the newest windows, each under the patch that was fitted to all windows before it."""
    nats, decisions = [np.empty(0)], [np.empty(0)]
    names, counts = np.unique(window, return_counts=True)
    for name in names[1:][counts[1:] >= FEWEST][-TESTED:]:
        patch, out = rows.patch(window < name, full), window == name
        truth = rows.truth[out]
        was, now = rows.served[out], patch.apply(rows.logits[out], rows.hidden[out])
        nats.append(log_losses(was, truth) - log_losses(now, truth))
        decisions.append(decision_losses(rows.model, was, truth) - decision_losses(rows.model, now, truth))
    return _Tried(full, np.concatenate(nats), np.concatenate(decisions))


def instead(model: MonitoredModel, outcome: Outcome, known: Labelled, seed: int = 0) -> Outcome:
    """The outcome with a patch, proven or to be tried, where the data alone led nowhere and labels say that one helps.

    A heal that was promoted, recalled or sent to audit stands; broken data are not learned from.
    """
    if outcome.decision not in ("keep", "refuse") or outcome.diagnosis == "data_fault":
        return outcome
    asked = explain(model, known, seed)
    if asked is None:
        return outcome
    finding, held = asked
    row = {
        "name": finding.name, "kind": "mechanism", "explained": finding.explained, "measure": finding.measure,
        "value": finding.value, "bound": finding.bound, "changed_share": 0.0, "reason": finding.reason,
    }  # fmt: skip
    table = pd.DataFrame([row]) if outcome.candidates.empty else pd.concat(
        [outcome.candidates, pd.DataFrame([row])], ignore_index=True
    )  # fmt: skip
    if not finding.explained:
        return replace(outcome, candidates=table, reasons=[*outcome.reasons, f"late_labels: {finding.reason}"])
    proven = finding.decision == "promote"
    waits = () if proven else ("it waits for labels of the next windows, which decide",)
    reasons = [f"late_labels: {finding.reason}", *waits, *outcome.reasons]
    numbers = {**outcome.numbers, "labels_fitted": float(len(known)), "labels_held": held}
    return Outcome(
        "promote" if proven else "audit", finding.diagnosis, reasons, table, finding.adapter, numbers=numbers
    )
