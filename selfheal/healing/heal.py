"""heal(): which mechanism explains this window, and is undoing it worth it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata
from threadpoolctl import threadpool_limits

from selfheal.drift.yardstick import Yardstick, windows
from selfheal.errors import InputError
from selfheal.healing.case import Case, Memory
from selfheal.healing.estimate import noted
from selfheal.healing.facts import Fact, next_question
from selfheal.healing.gate import CANDIDATE_COLUMNS, Verdict, candidates_table, gate
from selfheal.healing.given import in_numpy, lenient, refuse_unlike, spread
from selfheal.healing.hygiene import MIN_ROWS, Cleaned, clean
from selfheal.healing.labels.rows import Earlier, class_index
from selfheal.healing.mechanisms import every
from selfheal.healing.mechanisms.misplaced import misplaced
from selfheal.healing.mechanisms.segment import converted
from selfheal.healing.outcome import Diagnosis, Finding, Outcome
from selfheal.healing.segments import FEWEST
from selfheal.healing.unexplained import describe, lost_rules
from selfheal.healing.weights import fair_draw
from selfheal.model import MonitoredModel
from selfheal.parts.columns import numpy_only

MIN_SINCE = 200
"""A change that began mid-window is looked for in at least this many rows."""

SINCE_LEFT = 0.3
"""The beginning was chosen to fit, so the explanation must leave less: at 0.5 a day's trading once passed for miles."""


def heal(
    model: MonitoredModel,
    window: pd.DataFrame,
    recent: pd.DataFrame | Sequence[pd.DataFrame] | None = None,
    labels: pd.Series | None = None,
    memory: Memory = (),
    seed: int = 0,
    *,
    earlier: Earlier = (),
    weights: pd.Series | None = None,
    unsampled: Earlier = (),
    facts: Sequence[Fact] = (),
    times: pd.Series | None = None,
    first_seen: datetime | None = None,
) -> Outcome:
    """Ask which mechanism explains a window, and build the adapter that undoes it. Nothing is changed in place.

    Parameters
    ----------
    model
        As it serves now.
    window : DataFrame [n, >= d]
        The feature columns in raw units, in time order; other columns are ignored.
    recent
        The last healthy windows in model units, oldest first: a list, or one frame that is cut into the window's
        length from its end. Without it the reference in blocks of that length is the yardstick.
    labels
        Late labels on the window's index, NaN where unknown.
    memory
        Earlier versions: (version, adapter, the raw window it was made for or None).
    seed
        Of every random choice: the same inputs give the same outcome.
    earlier
        Windows before whose labels have come, oldest first: (raw rows, labels on their index). With those of this
        window they give a patch where the data alone lead nowhere. It is promoted where patches from the windows before
        foretold the next ones' labels better than what serves; else it goes to audit, for later labels to decide.
    weights
        On the window's index, where the log samples: how many served rows each logged one stands for, above zero. The
        window is then a fair draw of its rows, and no row counts for more than 1 % of it.
    unsampled
        Further labelled rows of this very window, if ``window`` is a sample of it.
    facts
        What its owner has answered: of :attr:`Outcome.answers` those that were given.
    times
        Event times on the window's index, for questions that say when; a DatetimeIndex says it by itself.
    first_seen
        For the same, when windows before this one showed the change already: the first one's time.

    Returns
    -------
    Outcome
        With the decision, the diagnosis and every reason. Refusing is an answer, not an error.

    Raises
    ------
    InputError
        If labels or weights are not on the window's index, labels name an unknown class, weights are not above zero; if
        the window is no frame, a recent one lacks a feature, or a fact is none.
    """
    window, recent = spread(model, window), spread(model, recent)
    earlier = [(spread(model, rows), known) for rows, known in earlier]
    refuse_unlike(model, window, recent, facts)
    model = lenient(model)
    window, recent = numpy_only(window, model.features), in_numpy(model, recent)
    truth = _label_indices(model, window, labels)
    if weights is not None:
        window = window.iloc[fair_draw(window, weights, seed)]
        labels = None if labels is None else labels[labels.index.isin(window.index)]
        truth = None if truth is None else truth[truth.index.isin(window.index)]
    cleaned = clean(model, window, windows(recent, len(window)), seed)
    broken = _unusable(cleaned, len(window))
    if broken is not None:
        return broken
    known = None if truth is None else truth.reindex(cleaned.rows.index).to_numpy(dtype=np.float64)
    own = [*unsampled, *([(window, labels)] if labels is not None else [])]
    whole = [(pd.concat([rows for rows, _ in own]), pd.concat([known for _, known in own]))] if own else []
    # Small matrices: BLAS threads gain nothing, and on a busy host their spinning once cost minutes.
    with threadpool_limits(1):
        stick = Yardstick(model, recent, len(cleaned.rows), seed, model.model_units(cleaned.rows))
        case = Case(
            model, cleaned.rows, stick, tuple(memory), seed, (*earlier, *whole), tuple(facts), times, cleaned.wild,
            first_seen,
        )  # fmt: skip
        asked = _ask(case)
        asked = asked if asked.winner else _since(case, recent) or asked
        asked = _not_for_copies(asked, cleaned.sent_again)
        return _beside(case, cleaned, by_last_resort(case, _concluded(asked, known), known))


@dataclass(frozen=True)
class _Asked:
    """What the mechanisms said of a case, and the one that explains it, if any does; all of it, or beside a fault."""

    case: Case
    findings: list[Finding]
    winner: Finding | None
    beside_fault: bool = False


def _since(case: Case, recent: pd.DataFrame | Sequence[pd.DataFrame] | None) -> _Asked | None:
    """What explains the window from some row on, when the rows before it look as always: it began mid-window."""
    start = onset(case)
    if len(case.raw) - start < MIN_SINCE or start < MIN_SINCE // 2:
        return None
    if not Yardstick(case.model, recent, start, case.seed, case.units).judge(case.units.iloc[:start]).explained:
        return None
    rows = case.raw.iloc[start:]
    asked = _ask(replace(case, raw=rows, stick=Yardstick(case.model, recent, len(rows), case.seed, case.units)))
    winner = asked.winner
    if winner is None or not winner.trusted or winner.decision != "promote" or winner.value > SINCE_LEFT:
        return None
    reason = f"since row {start} of {len(case.raw)} (the rows before it look as always): {winner.reason}"
    return replace(asked, winner=replace(winner, reason=reason))


def onset(case: Case) -> int:
    """The row from which one column changed its place or its spread, by itself or beside the others.

    Where the running sum of ranks departs farthest from a steady climb (Pettitt 1979); of the ranks' distance from
    their middle too, for a factor changes the spread of a column around zero and not its place.
    """
    x, scale = case.stick.encode(case.units), case.stick.scale
    ranks = rankdata(np.concatenate([x, scale.residuals(scale.z(x))], axis=1), axis=0) - (len(x) + 1) / 2
    both = np.concatenate([ranks, np.abs(ranks)], axis=1)
    steps = both - both.mean(axis=0)
    walks = np.abs(np.cumsum(steps, axis=0)) / np.maximum(steps.std(axis=0), 1e-9)
    return int(walks[:, walks.max(axis=0).argmax()].argmax()) + 1


def _not_for_copies(asked: _Asked, sent_again: NDArray[np.bool_]) -> _Asked:
    """The answer, if it is the same without rows that were sent again; else none.

    Of such a row one copy is left. But who sends again what was declined may have sent it for no other reason.
    """
    case, winner = asked.case, asked.winner
    if winner is None or winner.adapter is None or len(sent_again) != len(case.raw) or not sent_again.any():
        return asked
    rest = case.raw[~sent_again]
    if len(rest) < max(MIN_ROWS, len(case.raw) // 2):
        return asked
    again = _ask(replace(case, raw=rest)).winner
    if again is not None and again.name == winner.name:
        return asked
    why = f"{winner.reason}; but not without the {sent_again.sum()} rows that were sent again"
    unlike = [replace(f, explained=False, reason=why) if f is winner else f for f in asked.findings]
    return _Asked(case, unlike, None)


def _ask(case: Case) -> _Asked:
    """Every mechanism in order, until one explains the window and can be trusted to.

    One that could as well be another mechanism is taken only when none is left that could not.
    """
    findings: list[Finding] = []
    for mechanism in every():
        finding = None if mechanism.last_resort else mechanism.ask(case)
        if finding is not None:
            findings.append(finding)
            if finding.explained and finding.trusted:
                return _beside_fault(case, findings, finding) or _Asked(case, findings, finding)
    return _Asked(case, findings, next((f for f in findings if f.explained), None))


def _beside_fault(case: Case, findings: list[Finding], fault: Finding) -> _Asked | None:
    """What happened to the columns that a fault has left whole, plainly or as a question; the fault is told with it."""
    rest = replace(case, stick=case.stick.without(fault.faulty)) if fault.faulty else case
    if rest is case or rest.judged_raw.explained:
        return None
    asked = [(of, m.ask(of)) for of in (case, rest) for m in every() if m.beside_faults]
    maps = [
        (of, f)
        for of, f in asked
        if f and f.explained and f.adapter and not fault.faulty & {*f.adapter.input_map.columns}
    ]
    for of, finding in [(of, f) for of, f in maps if f.trusted] or maps:
        healed = replace(finding, reason=f"{finding.reason}; not healed, beside it: {fault.reason}")
        return _Asked(of, [*findings, healed], healed, beside_fault=True)
    return None


def _concluded(asked: _Asked, labels: NDArray[np.float64] | None) -> Outcome:
    """What the gate makes of the finding that explains the window; without one, why none does."""
    case, findings, winner = asked.case, asked.findings, asked.winner
    table = candidates_table(case, findings, winner.teacher if winner else None)
    if winner is None:
        tried = [f"{f.name}: {f.reason}" for f in findings if f.decision != "keep"]
        decided, unnamed, why = describe(case, tried)
        return Outcome(decided, unnamed, why, table)
    verdict = gate(case, winner, None if labels is None else labels[-len(case.raw) :])
    reasons = [f"{winner.name}: {winner.reason}", *verdict.reasons]
    reasons += lost_rules(case) if verdict.decision != winner.decision else []
    adapter = winner.adapter if verdict.decision in ("promote", "audit") else None
    recall = winner.recall if verdict.decision == "recall" else None
    diagnosis: Diagnosis = "benign" if verdict.decision == "keep" != winner.decision else winner.diagnosis
    outcome = Outcome(verdict.decision, diagnosis, reasons, table, adapter, recall, verdict.numbers)
    outcome = _asking(case, winner, verdict, outcome)
    return outcome if asked.beside_fault else noted(case, winner, outcome)


def _asking(case: Case, winner: Finding, verdict: Verdict, outcome: Outcome) -> Outcome:
    """The outcome with what must be answered first, where it is an audit."""
    if verdict.decision == "promote" and winner.on_trial:
        asked = winner.question
        return replace(outcome, question=asked.text, options=asked.options, asks=asked.asks, on_trial=winner.on_trial)
    if verdict.decision != "audit":
        return outcome
    asked = next_question(winner.question, case.facts, case.model.classes_.tolist())
    return replace(outcome, question=asked.text, options=asked.options, asks=asked.asks, answers=asked.answers)


def by_last_resort(case: Case, outcome: Outcome, labels: NDArray[np.float64] | None) -> Outcome:
    """The outcome with what a mechanism of last resort builds, where the others led nowhere.

    A heal that was promoted, recalled or sent to audit stands; broken data are not learned from.
    """
    if outcome.decision not in ("keep", "refuse") or outcome.diagnosis == "data_fault":
        return outcome
    findings: list[Finding] = []
    words = list(outcome.reasons)
    # They all learn from the same labels: what the gate stops of one says nothing of the next.
    for finding in (f for m in every() if m.last_resort and (f := m.ask(case))):
        findings.append(finding)
        verdict = gate(case, finding, labels) if finding.explained else Verdict("keep", [])
        reasons = [f"{finding.name}: {finding.reason}", *verdict.reasons]
        if verdict.decision not in ("keep", "refuse"):
            table = _with(outcome, case, findings)
            adapter, numbers = finding.adapter, verdict.numbers
            resort = Outcome(verdict.decision, finding.diagnosis, [*reasons, *words], table, adapter, None, numbers)
            return _asking(case, finding, verdict, resort)
        words += reasons
    return replace(outcome, candidates=_with(outcome, case, findings), reasons=words) if findings else outcome


def _with(outcome: Outcome, case: Case, findings: list[Finding]) -> pd.DataFrame:
    return pd.concat([outcome.candidates, candidates_table(case, findings, None)], ignore_index=True)


def _beside(case: Case, cleaned: Cleaned, outcome: Outcome) -> Outcome:
    """The outcome with what was left out: rows that cannot be read are evidence, and a fault where the rest is fine."""
    outcome = replace(outcome, reasons=[*outcome.reasons, *([cleaned.unread] if cleaned.unread else [])])
    if cleaned.put_in and outcome.decision == "keep":
        return replace(outcome, decision="refuse", diagnosis="data_fault", reasons=[*cleaned.put_in, *outcome.reasons])
    part = _of_a_part(case) if outcome.decision == "keep" and len(cleaned.wild) >= FEWEST else ""
    if part:
        return replace(outcome, decision="refuse", diagnosis="data_fault", reasons=[part, *outcome.reasons])
    if not cleaned.parts:
        return outcome
    if outcome.decision == "keep" and not cleaned.nonsense:
        return replace(outcome, decision="refuse", diagnosis="data_fault", reasons=[*cleaned.parts, *outcome.reasons])
    return replace(outcome, reasons=[*outcome.reasons, *(f"left out: {part}" for part in cleaned.parts)])


def _of_a_part(case: Case) -> str:
    """What happened to a part of the rows that hygiene left out, in words; else empty."""
    unit, places = converted(case), misplaced(case)
    return str(unit) if unit else places[1] if places else ""


def _unusable(cleaned: Cleaned, n: int) -> Outcome | None:
    """The outcome of a window that cannot be asked anything, or None."""
    table = pd.DataFrame(columns=CANDIDATE_COLUMNS)
    if cleaned.faults:
        return Outcome("refuse", "data_fault", cleaned.faults, table)
    if cleaned.dropped > 0.5:
        reason = f"{cleaned.dropped:.0%} of {n} rows are broken or replayed (bound 50 %): a fault upstream"
        return Outcome("refuse", "data_fault", [reason], table)
    if len(cleaned.rows) < MIN_ROWS:
        reason = (
            f"{len(cleaned.rows)} usable rows say too little (at least {MIN_ROWS}); wait for more, or widen the window"
        )
        return Outcome("refuse", "unknown", [reason], table)
    return None


def _label_indices(model: MonitoredModel, window: pd.DataFrame, labels: pd.Series | None) -> pd.Series | None:
    """Class index per known label, on the window's index."""
    if labels is None:
        return None
    if not isinstance(labels, pd.Series):
        raise InputError(f"labels are of type {type(labels).__name__}; give a Series on the window's index")
    stray = labels.index.difference(window.index)
    if len(stray):
        raise InputError(f"labels: {stray[0]!r} is no row of the window; labels must be on the window's index")
    known = labels.dropna()
    return pd.Series(class_index(model, known), known.index, dtype=np.float64)
