"""Labels have come: a small patch of the logits is fitted to them, and waits for the next ones to prove it.

Cross-validation on the same labels is not enough (HEALING): the days of a stream differ, and what was right on three
of them is wrong on the fourth. So a patch is never promoted here. It is registered in Staging, and labels of later
windows decide by a test that may be looked at after each of them (:mod:`selfheal.healing.sequential`).

Two patches are tried, one within the other. A full one, ``a·z + b + W·h``, where left-out windows say that decisions
become better; else the scale alone, which changes no decision and can only make the probabilities more honest.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from selfheal.model import MonitoredModel

MIN_LABELS = 20
"""Fewer say nothing that a ridge of 4 pseudo-rows lets through."""

FOLDS = 3
"""Contiguous parts that are left out in turn where the labels come from one window only."""

DECISIONS = 0.02
"""Loss of decisions that left-out labels must see gone before more than the scale is patched. Tuned on the first half
of elec and flights: below it flights lost accuracy in 2 of 29 promotions, without it in 7 of 33."""

POWER = 0.8
"""How much of the fitted scale is taken. On the first half of elec and flights it gained more than all of it
(flights, 100 labels: .141 against .127 nats), for a scale fitted to three days is too much for the fourth."""

REFERENCE_ROWS = 2000
"""Reference rows that scale the hidden states, and that a head which is not linear is taught on."""


@dataclass(frozen=True)
class _Tried:
    """What left-out labels say of one kind of patch: gains a row in nats and in loss of decisions."""

    full: bool
    nats: float
    decisions: float


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


def explain(model: MonitoredModel, known: Labelled, seed: int = 0) -> Finding | None:
    """Whether left-out labels say that a patch helps; None where there are too few to ask."""
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
    tried = _left_out(rows, full=True)
    if tried.decisions <= DECISIONS or tried.nats <= 0:
        tried = _left_out(rows, full=False)
    patch = rows.patch(np.ones(len(known), dtype=bool), tried.full)
    what = "scale, offset and hidden state" if tried.full else "scale alone, no decision changes"
    reason = (
        f"{len(known)} labels: a patch of the logits ({what}; scale {patch.scale:.2f}) gains {tried.nats:+.3f} nats "
        f"and {tried.decisions:+.3f} of decisions a row on labels that were left out"
    )
    helps = tried.nats > 0
    adapter = carried(bare, start, patch, torch.cat([reference, hidden]), seed) if helps else None
    return Finding(
        "late_labels", "concept", helps, "nats lost on left-out labels", -tried.nats, 0.0, reason,
        decision="audit", adapter=adapter, trusted=False,
    )  # fmt: skip


def _left_out(rows: _Known, full: bool) -> _Tried:
    """Gains on labels that the patch was not fitted to: window by window, for windows differ more than rows do."""
    nats, decisions = [], []
    for out in _folds(rows.window):
        patch = rows.patch(~out, full)
        truth = rows.truth[out]
        was, now = rows.served[out], patch.apply(rows.logits[out], rows.hidden[out])
        nats.append(log_losses(was, truth) - log_losses(now, truth))
        decisions.append(decision_losses(rows.model, was, truth) - decision_losses(rows.model, now, truth))
    return _Tried(full, float(np.concatenate(nats).mean()), float(np.concatenate(decisions).mean()))


def _folds(window: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    names, counts = np.unique(window, return_counts=True)
    if len(names) > 1 and counts.min() >= 5:
        yield from (window == name for name in names)
        return
    parts = np.arange(len(window)) * FOLDS // len(window)
    yield from (parts == part for part in range(FOLDS))


def instead(model: MonitoredModel, outcome: Outcome, known: Labelled, seed: int = 0) -> Outcome:
    """The outcome with a patch to be tried, where the data alone led nowhere and labels say that one helps.

    A heal that was promoted, recalled or sent to audit stands; broken data are not learned from.
    """
    if outcome.decision not in ("keep", "refuse") or outcome.diagnosis == "data_fault":
        return outcome
    finding = explain(model, known, seed)
    if finding is None:
        return outcome
    row = {
        "name": finding.name, "kind": "mechanism", "explained": finding.explained, "measure": finding.measure,
        "value": finding.value, "bound": finding.bound, "changed_share": 0.0, "reason": finding.reason,
    }  # fmt: skip
    table = pd.DataFrame([row]) if outcome.candidates.empty else pd.concat(
        [outcome.candidates, pd.DataFrame([row])], ignore_index=True
    )  # fmt: skip
    if not finding.explained:
        return replace(outcome, candidates=table, reasons=[*outcome.reasons, f"late_labels: {finding.reason}"])
    reasons = [
        f"late_labels: {finding.reason}",
        "it waits for labels of the next windows, which decide",
        *outcome.reasons,
    ]
    numbers = {**outcome.numbers, "labels_fitted": float(len(known))}
    return Outcome("audit", finding.diagnosis, reasons, table, finding.adapter, numbers=numbers)
