"""Before a model is adopted: can it be, would its healthy windows alarm, and what could be healed? Nothing is kept."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from selfheal.adapter import Adapter
from selfheal.board.course import Board, Options, Say
from selfheal.board.score import Row
from selfheal.board.synthetic import KEEP, right
from selfheal.board.trial import Trial
from selfheal.board.triggers import WARM, Watched, watch
from selfheal.drill.course import fire_drill
from selfheal.drill.own import CLEAN, LEAST, WINDOW, Halves
from selfheal.healing.heal import heal
from selfheal.healing.outcome import Outcome
from selfheal.model import MonitoredModel

WINDOWS = 10
"""Healthy windows that are watched."""

SMALL = 400
"""Rows of a window under which prior shifts and rule heals are missed (docs/notes.md)."""

SLIGHT = 0.01
"""Accuracy that a change may cost without being worth a heal."""

CLAIMS = {"promote": "healed", "recall": "healed", "audit": "asked about"}
"""Decisions of a heal that say that something happened."""

SHOWN = 150
"""Letters of a reason on a terminal; ``--json`` has all of them."""

ONSETS = 5
"""Windows of the reference, as they are and in time order, of which the healer is asked what happened to them."""

MOVED = 3.0
"""Standard errors by which a class's share must differ for it to have moved."""

KINDS = {
    "false": "said of rows to which nothing had happened",
    "moves": "what your reference does by itself: the shares of its classes move, and a heal follows them",
    "heals": "undone without asking",
    "asks": "found, and you are asked before anything changes",
    "names": "named as a fault of the data; nothing is healed on it",
    "leaves": "left alone: no more than a point of accuracy is known to be lost",
    "misses": "not healed",
    "harms": "made worse by the heal",
}
"""What may become of a fault, best first; before them what is claimed where there is none."""


@dataclass(frozen=True)
class Fate:
    """What became of one fault in the drill.

    Attributes
    ----------
    kind
        A key of :data:`KINDS`.
    fault
        What happened to the rows.
    words
        In one line: accuracy, and why.
    """

    kind: str
    fault: str
    words: str


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes
    ----------
    rows, features, classes
        The reference, and how many columns and classes it has.
    window
        Rows of a healthy window; there were :data:`WINDOWS`.
    accuracy, constant
        Of the model, and of its most frequent answer, on the reference.
    alarms, confirmed
        Healthy windows that alarmed, and that patience would have confirmed.
    measures
        What alarmed.
    fates
        What became of each fault; empty where there are too few rows for a drill.
    harmful
        Promotions that made it worse, but for a fault that pushed the model to a luckier answer.
    notes
        What to know, and what would make it better.
    """

    rows: int
    features: int
    classes: int
    window: int
    accuracy: float
    constant: float
    alarms: int
    confirmed: int
    measures: tuple[str, ...]
    fates: tuple[Fate, ...]
    harmful: int
    notes: tuple[str, ...]

    @property
    def fit(self) -> bool:
        """Whether the loop can be trusted with it: of no healthy window anything is claimed, and no heal harms."""
        return not self.confirmed and not self.harmful and not any(f.kind == "false" for f in self.fates)


def check(model: MonitoredModel, say: Say = lambda _: None, seed: int = 0) -> Check:
    """Watch healthy windows of a model's own reference, and break it in every way that its columns allow.

    Parameters
    ----------
    say
        Is told of each fault, in a line.
    seed
        Of what is drawn.
    """
    base = model.with_adapter(Adapter())
    with threadpool_limits(1):
        window, seen = calm(base, seed)
        claimed = list(claims(base, seed))
    board = fire_drill(base, Options(seeds=(seed,), quick=True), say) if len(base.reference) >= LEAST else None
    broken = [] if board is None else [fate(row) for row in board.rows if row["scenario"] != CLEAN]
    fates = (*claimed, *broken)
    labels = base.reference_labels
    accuracy = float((base.predict(base.reference) == labels.to_numpy()).mean())
    constant = float(labels.value_counts(normalize=True).iloc[0])
    return Check(
        rows=len(base.reference),
        features=len(base.features),
        classes=len(base.classes_),
        window=window,
        accuracy=accuracy,
        constant=constant,
        alarms=sum(seen.alarms),
        confirmed=sum(seen.confirmed),
        measures=tuple(sorted({m for m, alarm in zip(seen.measures, seen.alarms, strict=True) if alarm})),
        fates=fates,
        harmful=_harmful(board),
        notes=tuple(_notes(base, window, fates, accuracy - constant)),
    )


def claims(model: MonitoredModel, seed: int = 0) -> Iterator[Fate]:
    """What the healer says of :data:`ONSETS` windows of the reference's newer half to which nothing was done.

    The loop would ask it only about those that alarm; a person may ask about any.
    """
    if len(model.reference) < LEAST:
        return
    halves = Halves(model)
    for each in range(seed, seed + ONSETS):
        trial = halves.trial(each, right(KEEP), lambda frame, _: frame, Adapter())
        outcome = heal(trial.model, trial.window, recent=trial.recent, seed=each)
        what = "named as a fault of the data" if outcome.diagnosis == "data_fault" else CLAIMS.get(outcome.decision)
        if what:
            first, last = trial.window.index[[0, -1]]
            moved = _moved(halves, trial, outcome)
            words = f"{what}; {moved or outcome.reasons[0]}"
            yield Fate("moves" if moved else "false", f"rows {first} to {last} of the reference", words)


def _moved(halves: Halves, trial: Trial, outcome: Outcome) -> str:
    """How class shares moved by the labels themselves, where a heal of them came closer to these; empty where not."""
    if outcome.diagnosis != "prior" or outcome.adapter is None or trial.recent is None:
        return ""
    before = halves.rows.loc[trial.recent.index, halves.model.target].to_numpy()
    classes, n, m = halves.model.classes_, len(before), len(trial.truth)
    was, now = (np.array([(labels == label).mean() for label in classes]) for labels in (before, trial.truth))
    sigmas = np.abs(now - was) / np.sqrt(np.maximum(was * (1 - was), 1 / n) * (1 / n + 1 / m))
    most = 1 if len(classes) == 2 else int(sigmas.argmax())
    healed = trial.model.with_adapter(outcome.adapter)
    if sigmas[most] < MOVED or _log_loss(healed, trial) > _log_loss(trial.model, trial):
        return ""
    return f"by its labels class {classes[most]!s} is {now[most]:.1%} of it, and {was[most]:.1%} of the {n} rows before"


def _log_loss(model: MonitoredModel, trial: Trial) -> float:
    place = np.searchsorted(model.classes_, trial.truth)
    proba = model.predict_proba(trial.window)[np.arange(len(place)), place]
    return float(-np.log(np.maximum(proba, 1e-12)).mean())


def calm(model: MonitoredModel, seed: int = 0) -> tuple[int, Watched]:
    """Rows of a window, and what is said of :data:`WINDOWS` that are drawn from the reference's newer half.

    The older half is the reference then; one that is too short for two halves is both.
    """
    if len(model.reference) >= LEAST:
        halves = Halves(model)
        judge, rows, size = halves.model, halves.unseen[list(model.features)], halves.size
    else:
        judge, rows, size = model, model.reference, min(WINDOW, max(len(model.reference) // 2, 1))
    rng = np.random.default_rng(seed)
    drawn = [_drawn(rows, size, rng) for _ in range(WARM + WINDOWS)]
    return size, watch(judge, drawn)


def _drawn(rows: pd.DataFrame, size: int, rng: np.random.Generator) -> pd.DataFrame:
    return rows.iloc[np.sort(rng.choice(len(rows), size, replace=False))]


def _harmful(board: Board | None) -> int:
    return 0 if board is None else int(max(board.summary["harmful"] - board.summary["unlucky"], 0))


def fate(row: Row) -> Fate:
    """What became of a fault, from its row of the board."""
    reason = str(row["reason"])
    lost = _accuracy(row, "undrifted") - _accuracy(row, "before")
    if row["harmful"]:
        return Fate("harms", row["scenario"], f"{_change(row)}; {reason}")
    if row["acted"]:
        return Fate("heals", row["scenario"], f"{_change(row)}; {reason}")
    if row["decision"] == "audit":
        whom = "a question of fact" if row["questions"] else "labels"
        return Fate("asks", row["scenario"], f"{whom}; {reason}")
    if row["diagnosis"] == "data_fault":
        return Fate("names", row["scenario"], reason)
    if row["mechanism"] == "none" or lost <= SLIGHT:
        return Fate("leaves", row["scenario"], reason)
    return Fate("misses", row["scenario"], f"{_change(row)}; {reason}")


def _accuracy(row: Row, at: str) -> float:
    figures: dict[str, Any] | None = row[at] or row["before"]
    return float(figures["accuracy"]) if figures else 0.0


def _change(row: Row) -> str:
    """Accuracy as it was, as it became, and as it was left."""
    if not row["before"]:
        return "no row could be scored"
    first = f"{_accuracy(row, 'undrifted'):.2f} → " if row["undrifted"] else ""
    last = f" → {_accuracy(row, 'after'):.2f}" if row["acted"] else ""
    return f"accuracy {first}{_accuracy(row, 'before'):.2f}{last}"


def _notes(model: MonitoredModel, window: int, fates: Sequence[Fate], gain: float) -> Iterator[str]:
    rows, least = len(model.reference), model.policy.monitor.min_rows
    if rows < LEAST:
        yield (
            f"the reference has {rows} rows, and a drill needs {LEAST}: nothing was broken, and the healthy windows "
            "were drawn from all of it; give a longer reference"
        )
    if any(f.kind == "false" for f in fates):
        yield (
            f"something is claimed of windows of {window} rows that nothing was done to: look at those rows, for the "
            "reference may hold a fault; if they are sound, longer windows claim less, and so does a longer reference"
        )
    if any(f.kind == "moves" for f in fates):
        yield (
            "the shares of the reference's classes move with time; heals that follow are right, and declare.prior_band "
            "says how far they may go"
        )
    if gain <= 0:
        yield "on its reference the model is no better than its most frequent answer: is it the right preprocessing?"
    if window < SMALL:
        yield f"windows of {window} rows miss other class shares and new patterns; {SMALL} rows or more tell them"
    if rows < least:
        yield (
            f"monitor.min_rows is {least}: a window of fewer rows is joined with the next, and the reference itself "
            f"has {rows}; lower it if your windows are small"
        )
    named = sorted(
        {f.fault.removeprefix("offset: ") for f in fates if f.kind == "asks" and f.fault.startswith("offset: ")}
    )
    if named:
        yield (
            f"an instrument that reads too high is a question for you, for the world may have moved; if only the "
            f"instrument of {', '.join(named)} ever does, declare measurement: [{', '.join(named)}]"
        )
    if not model.policy.rules:
        yield "there are no rules: what inputs and answers do not show is not seen; an expert's rule adds a signal"


def lines(name: str, check: Check) -> Iterator[str]:
    """The check in plain words, a line each."""
    yield (
        f"{name}: can be adopted ({check.features} columns, {check.classes} classes, {check.rows} rows of reference, "
        f"accuracy {check.accuracy:.2f}, the most frequent answer {check.constant:.2f})"
    )
    alarmed = f", by {', '.join(check.measures)}" if check.alarms else ""
    yield (
        f"  healthy   {check.alarms} of {WINDOWS} healthy windows of {check.window} rows would alarm{alarmed}, "
        f"{check.confirmed} confirmed by patience"
    )
    for kind, meaning in KINDS.items():
        mine = [f for f in check.fates if f.kind == kind]
        for place, one in enumerate(mine):
            if place == 0:
                yield f"  {kind:<8}  {meaning}:"
            yield f"              {one.fault}: {textwrap.shorten(one.words, SHOWN, placeholder=' ...')}"
    for note in check.notes:
        yield f"  note      {note}"
