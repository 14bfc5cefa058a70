"""What a heal decides: values, never exceptions. A refused candidate is as much an answer as a promoted one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.adapter import Adapter
from selfheal.drift.stats import Floats
from selfheal.healing.evidence import Evidence
from selfheal.healing.facts import NOTHING, Asks, Fact, Question

Decision = Literal["promote", "recall", "audit", "keep", "refuse"]
Refit = Callable[[NDArray[np.int64]], Adapter | None]
Diagnosis = Literal["stable", "benign", "data_fault", "sensor", "population", "prior", "concept", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What one mechanism says of the window.

    Attributes
    ----------
    name
        The mechanism.
    diagnosis
        What it would mean if it is the explanation.
    explained
        Whether it explains the window.
    measure, value, bound
        The figure that tells most, and its limit. What else the window was held to is in ``reason``, so a value within
        its bound need not mean explained.
    reason
        One line for people.
    decision
        What follows when it explains the window: for ``"promote"`` the gate still has its say.
    adapter
        The adapter that undoes it, if there is one.
    teacher
        float [n, k]: class probabilities of the window's rows under this explanation; the gate measures by them.
    trusted
        Whether data and declarations identify the mechanism. If not, a few labels must decide (audit).
    proven
        Whether the values themselves prove the mechanism, whatever the distribution: nothing was estimated.
    recall
        A version of memory, for ``"recall"``; ``adapter`` is that version's.
    refit
        Makes the adapter anew from some of the rows that it was fitted to (their positions); None where nothing was
        estimated.
    labels
        What labels say of it, where it was fitted to labels and not to the window; the gate then measures by them.
    question
        What to ask of whom, should it need an answer.
    answered
        Whether it rests on what the owner of the data has said.
    on_trial
        New rules that it rests on and that no label has confirmed yet, where their owner asks for that.
    faulty
        Columns that are broken by themselves, where it says so; the others may have been through something else.
    """

    name: str
    diagnosis: Diagnosis
    explained: bool
    measure: str
    value: float
    bound: float
    reason: str
    decision: Decision = "promote"
    adapter: Adapter | None = None
    teacher: Floats | None = None
    trusted: bool = True
    proven: bool = False
    recall: int | None = None
    refit: Refit | None = None
    labels: ByLabels | None = None
    question: Question = NOTHING
    answered: bool = False
    on_trial: tuple[str, ...] = ()
    faulty: frozenset[str] = frozenset()


@dataclass(frozen=True)
class ByLabels:
    """What labels say of an adapter that was fitted to labels.

    Attributes
    ----------
    fitted
        Labels that it was fitted to.
    foretold
        Labelled rows, each under a patch that was fitted to rows before it alone.
    proof
        Whether these are windows foretold by the windows before them. If not, they propose it and later labels decide.
    """

    fitted: int
    foretold: Evidence
    proof: bool


@dataclass(frozen=True)
class Outcome:
    """The result of :func:`selfheal.heal`.

    Attributes
    ----------
    decision
        ``"promote"``, ``"recall"``, ``"audit"`` (a few labels decide), ``"keep"`` (what serves is fine) or
        ``"refuse"`` (something is wrong that cannot be healed from here).
    diagnosis
        What happened, in one word; ``"unknown"`` when nothing explains the window.
    reasons
        Measure, value and bound of everything that decided, for people.
    candidates
        A row per mechanism and rival: name, kind, explained, measure, value, bound, changed_share, reason.
    adapter
        For promote and audit, else None.
    recall
        A version of memory for recall, else None.
    numbers
        Figures for the run's record: gain, changed share, expected log-loss of candidate, incumbent and constant.
    question
        For audit, and for a promote that rests on a rule on trial: what to ask, in one line; else empty.
    options
        The answers there are; ``"unknown"`` is always one.
    asks
        ``"fact"`` (the owner of the data can answer), ``"labels"``, ``"approval"``, or empty.
    answers
        Of a fact: what each option says of the columns, to be handed to the next heal as ``facts``.
    on_trial
        New rules that a promoted heal rests on and that labels must confirm (``until_confirmed``).
    """

    decision: Decision
    diagnosis: Diagnosis
    reasons: list[str]
    candidates: pd.DataFrame
    adapter: Adapter | None = None
    recall: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    question: str = ""
    options: tuple[str, ...] = ()
    asks: Asks = ""
    answers: Mapping[str, tuple[Fact, ...]] = field(default_factory=dict)
    on_trial: tuple[str, ...] = ()

    @property
    def changed_part(self) -> str:
        """The part of the adapter that would change: see :attr:`selfheal.Adapter.changed_part`."""
        return "none" if self.adapter is None else self.adapter.changed_part
