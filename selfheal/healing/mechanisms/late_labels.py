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

import numpy as np
from numpy.typing import NDArray

from selfheal.adapter import Adapter
from selfheal.healing.case import Case
from selfheal.healing.evidence import Evidence
from selfheal.healing.fits.loud import Known, newest, patched_across, read
from selfheal.healing.fits.patch import carried
from selfheal.healing.labels.fair import selected
from selfheal.healing.mechanism import LABELS, Mechanism
from selfheal.healing.outcome import ByLabels, Finding
from selfheal.model import MonitoredModel

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


def explain(case: Case) -> Finding:
    """Whether labels say that a patch helps."""
    model, known, told_of = case.model, case.labelled, read(case)
    bare, rows = told_of.bare, told_of.rows
    windows, everything = _windows(known.window), np.arange(len(known))
    loud = patched_across(case)
    full, foretold, proof = True, loud, True
    if not _proven(model, loud):
        # A full patch begins its trial anew: it has to prove itself on windows that it has not seen.
        foretold, proof = _foretold(rows, windows, full=True), False
        if not _concept_changed(model, foretold):
            full, foretold, proof = False, _foretold(rows, windows, full=False), windows is known.window
    else:
        everything = newest(case)  # what the concept was before is no guide
    trial = foretold.trial(model)
    unfair = selected(model, case.labelled_windows)
    helps = trial.nats.gain > 0 and not unfair

    def made(fitted: NDArray[np.int64]) -> Adapter:
        return carried(bare, bare.adapter, rows.patch(everything[fitted], full), told_of.hidden, case.seed)

    adapter = made(np.arange(len(everything))) if helps else None
    what = "scale, offset and hidden state" if full else "the scale alone"
    reason = (
        (f"{unfair}; " if unfair else "")
        + f"{len(everything)} labels: a patch of the logits ({what}; scale {rows.patch(everything, full).scale:.2f}) "
        f"gains {trial.nats.gain:+.3f} nats and {trial.decisions.gain:+.3f} of decisions a row on labels it had not "
        f"seen, e-value {trial.nats.better if proof else 1.0:.3g}"
    )
    return Finding(
        "late_labels", "concept", helps, "nats lost on labels it had not seen", -trial.nats.gain, 0.0, reason,
        adapter=adapter, teacher=None if adapter is None else model.with_adapter(adapter).predict_proba(case.raw),
        refit=made, labels=ByLabels(len(everything), foretold, proof),
    )  # fmt: skip


def _proven(model: MonitoredModel, foretold: Evidence) -> bool:
    """Whether one window's labels alone prove better decisions, and lose no nats."""
    trial = foretold.trial(model)
    return bool(len(foretold.truth) and trial.nats.gain > 0 and trial.decisions.says == "better")


def _concept_changed(model: MonitoredModel, foretold: Evidence) -> bool:
    """Whether decisions become so much better that the concept must have changed."""
    nats, decisions = foretold.gains(model)
    return bool(len(nats) and nats.mean() > 0 and decisions.mean() > DECISIONS)


def _windows(window: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which window each row counts to: as given, or parts of the one that there is."""
    if len(np.unique(window)) > 1:
        return window
    return np.asarray(np.arange(len(window)) * PARTS // len(window), dtype=np.int64)


def _foretold(rows: Known, window: NDArray[np.int64], full: bool) -> Evidence:
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
