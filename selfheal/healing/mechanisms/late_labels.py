"""Labels have come: a small patch of the logits is fitted to them, and later ones prove it.

Cross-validation on the same labels is not enough (docs/notes.md): the days of a stream differ, and what was right on
three of them is wrong on the fourth. So every window is foretold by a patch that was fitted to the windows before it
alone, and the gains are bet on, window by window (:mod:`selfheal.healing.sequential`). The patch that is fitted to all
labels goes to the gate, with what was foretold as its evidence: what wins the bet at once, at less cost and within the
cap, is promoted; else it waits in Staging, and the bet goes on with the labels of the windows that follow.

Two patches are tried, one within the other. A full one, ``a·z + b + W·h``, where decisions become so much better that
the concept must have changed; it is never promoted at once. Else the scale alone, which makes the probabilities more
honest and leaves the most probable class as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from selfheal.adapter import Adapter
from selfheal.drift.stats import Floats
from selfheal.drift.yardstick import thinned
from selfheal.healing.case import Case
from selfheal.healing.evidence import Evidence
from selfheal.healing.fits.patch import Patch, Scaling, carried, fit, fit_scale
from selfheal.healing.labels.fair import selected
from selfheal.healing.mechanism import LABELS, Mechanism
from selfheal.healing.outcome import ByLabels, Finding
from selfheal.model import MonitoredModel

PARTS = 4
"""Contiguous parts that stand for windows where the labels come from one window only. They propose, and prove nothing:
parts of one day are alike."""

FOLDS = 5
"""Contiguous folds of one window's labels. What they bet on decisions with e >= 20 was right on the next stretch in
70 of 71 promotions on ten streams with 50 to 200 labels; weaker evidence waits for the next windows."""

LOUD = 40
"""Labels of one window from which it may speak for itself."""

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
class _Known:
    """Labelled rows: what is served for them, and as the model that is patched sees them."""

    served: Floats
    logits: Floats
    hidden: Floats
    truth: NDArray[np.int64]
    scaling: Scaling

    def patch(self, rows: NDArray[np.int64], full: bool) -> Patch:
        """Fitted to some of the rows (their positions)."""
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


def explain(case: Case) -> Finding:
    """Whether labels say that a patch helps."""
    model, known = case.model, case.labelled
    start = start_of(model)
    bare = model.with_adapter(start)
    reference = bare.hidden_of_units(thinned(model.reference, REFERENCE_ROWS))
    hidden = bare.hidden_of_units(bare.model_units(known.rows))
    rows = _Known(
        model.predict_proba(known.rows), bare.logits_of_hidden(hidden), hidden.double().numpy(), known.truth,
        Scaling.of(reference.double().numpy()),
    )  # fmt: skip
    windows, everything = _windows(known.window), np.arange(len(known))
    newest = np.flatnonzero(known.window == known.window[-1])
    loud = _across(rows, newest)
    full, foretold, proof = True, loud, True
    if not _proven(model, loud):
        # A full patch begins its trial anew: it has to prove itself on windows that it has not seen.
        foretold, proof = _foretold(rows, windows, full=True), False
        if not _concept_changed(model, foretold):
            full, foretold, proof = False, _foretold(rows, windows, full=False), windows is known.window
    else:
        everything = newest  # what the concept was before is no guide
    told = foretold.trial(model)
    unfair = selected(model, case.labelled_windows)
    helps = told.nats.gain > 0 and not unfair

    def made(fitted: NDArray[np.int64]) -> Adapter:
        return carried(bare, start, rows.patch(everything[fitted], full), torch.cat([reference, hidden]), case.seed)

    adapter = made(np.arange(len(everything))) if helps else None
    what = "scale, offset and hidden state" if full else "the scale alone"
    reason = (
        (f"{unfair}; " if unfair else "")
        + f"{len(everything)} labels: a patch of the logits ({what}; scale {rows.patch(everything, full).scale:.2f}) "
        f"gains {told.nats.gain:+.3f} nats and {told.decisions.gain:+.3f} of decisions a row on labels it had not "
        f"seen, e-value {told.nats.better if proof else 1.0:.3g}"
    )
    return Finding(
        "late_labels", "concept", helps, "nats lost on labels it had not seen", -told.nats.gain, 0.0, reason,
        adapter=adapter, teacher=None if adapter is None else model.with_adapter(adapter).predict_proba(case.raw),
        refit=made, labels=ByLabels(len(everything), foretold, proof),
    )  # fmt: skip


def _proven(model: MonitoredModel, foretold: Evidence) -> bool:
    """Whether one window's labels alone prove better decisions, and lose no nats."""
    told = foretold.trial(model)
    return bool(len(foretold.truth) and told.nats.gain > 0 and told.decisions.says == "better")


def _across(rows: _Known, newest: NDArray[np.int64]) -> Evidence:
    """The newest window's labelled rows, each under a full patch fitted to the other contiguous fifths of them."""
    k = rows.served.shape[1]
    if len(newest) < LOUD:
        return Evidence(*(np.empty((0, k)) for _ in range(3)))
    fold, candidate = np.arange(len(newest)) * FOLDS // len(newest), np.empty((len(newest), k))
    for one in range(FOLDS):
        patch, out = rows.patch(newest[fold != one], full=True), newest[fold == one]
        candidate[fold == one] = patch.apply(rows.logits[out], rows.hidden[out])
    return Evidence(np.eye(k)[rows.truth[newest]], rows.served[newest], candidate)


def _concept_changed(model: MonitoredModel, foretold: Evidence) -> bool:
    """Whether decisions become so much better that the concept must have changed."""
    nats, decisions = foretold.gains(model)
    return bool(len(nats) and nats.mean() > 0 and decisions.mean() > DECISIONS)


def _windows(window: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which window each row counts to: as given, or parts of the one that there is."""
    if len(np.unique(window)) > 1:
        return window
    return np.asarray(np.arange(len(window)) * PARTS // len(window), dtype=np.int64)


def _foretold(rows: _Known, window: NDArray[np.int64], full: bool) -> Evidence:
    """The rows of the newest windows, each under the patch that was fitted to all windows before it."""
    k = rows.served.shape[1]
    truth, served, candidate = ([np.empty((0, k))] for _ in range(3))
    names, counts = np.unique(window, return_counts=True)
    for name in names[1:][counts[1:] >= FEWEST][-TESTED:]:
        patch, out = rows.patch(np.flatnonzero(window < name), full), window == name
        truth.append(np.eye(k)[rows.truth[out]])
        served.append(rows.served[out])
        candidate.append(patch.apply(rows.logits[out], rows.hidden[out]))
    return Evidence(np.concatenate(truth), np.concatenate(served), np.concatenate(candidate))


MECHANISM = Mechanism("late_labels", rank=110, explain=explain, needs=(LABELS,), last_resort=True)
