"""A micro-audit without its surroundings: which rows a person is asked about, and what the answers decide.

The data cannot tell a sensor that moved from a population that did (docs/notes.md); some ten answers can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.drift.stats import Floats
from selfheal.healing.evidence import dearer
from selfheal.healing.hygiene import usable
from selfheal.healing.sequential import Audit, audit
from selfheal.model import MonitoredModel
from selfheal.policy import Policy

ROWS = 20
"""Rows that are asked about at most: a lead of four is reached within 20 answers in 97 of 100 audits, and whatever is
not by then makes too little difference to be worth a person's time."""

Ruling = Literal["passed", "refused", "open"]


@dataclass(frozen=True)
class Asked:
    """Rows on which a candidate and what serves differ, and the answers so far.

    Attributes
    ----------
    classes
        What an answer may be.
    rows : DataFrame [m, d]
        Raw features, in the order in which they are asked about; the index is what answers name.
    said : class labels [m, 2]
        What the candidate and what serves say there: not shown to whoever answers.
    answers
        Index of a row → class.
    """

    classes: tuple[Any, ...]
    rows: pd.DataFrame
    said: tuple[tuple[Any, Any], ...]
    answers: Mapping[Any, Any] = field(default_factory=dict)

    @property
    def open_rows(self) -> pd.DataFrame:
        """Rows without an answer."""
        return self.rows[~self.rows.index.isin(list(self.answers))]

    @property
    def answered(self) -> list[tuple[Any, Any, Any]]:
        """(true class, what the candidate says, what serves says) of the answered rows, in the order of the rows."""
        pairs = zip(self.rows.index, self.said, strict=True)
        return [(self.answers[key], *said) for key, said in pairs if key in self.answers]

    @property
    def wald(self) -> Audit:
        """What the answers say so far, read in the order in which the rows are asked about."""
        return audit(
            [int(truth == candidate) - int(truth == incumbent) for truth, candidate, incumbent in self.answered]
        )

    def ruling(self, policy: Policy | None = None) -> tuple[Ruling, str]:
        """What the answers decide, and why.

        Parameters
        ----------
        policy
            Where it declares costs, a candidate that is right more often must also cost less.
        """
        trial, left = self.wald, len(self.open_rows)
        if trial.says == "better":
            dear = self._dearer(policy) if policy is not None else ""
            return ("refused", f"{trial.reason}; {dear}") if dear else ("passed", trial.reason)
        if trial.says == "worse":
            return "refused", trial.reason
        if not left:
            return "refused", f"{trial.reason}; not shown to be better with all {len(self.rows)} rows"
        return "open", f"{trial.reason}; {left} rows are left"

    def _dearer(self, policy: Policy) -> str:
        index = {label: i for i, label in enumerate(self.classes)}
        truth, candidate, incumbent = np.array([[index[label] for label in row] for row in self.answered]).T
        return dearer(policy, np.eye(len(index))[truth], incumbent, candidate)


def ask(serving: MonitoredModel, candidate: MonitoredModel, frame: pd.DataFrame, seed: int) -> Asked:
    """Choose the rows to ask about.

    Parameters
    ----------
    frame : DataFrame [n, >= d]
        Raw rows without labels; those with numbers that the model can't read are left out.
    seed
        Of the order of rows that are equally telling.
    """
    rows = usable(serving, frame)
    theirs, ours = candidate.predict_proba(rows), serving.predict_proba(rows)
    decided = candidate.decide(theirs), serving.decide(ours)
    chosen = telling(theirs, ours, decided[0] != decided[1], seed)
    labels = tuple(serving.classes_.tolist())
    return Asked(labels, rows.iloc[chosen], tuple((labels[decided[0][i]], labels[decided[1][i]]) for i in chosen))


def telling(
    candidate: Floats, incumbent: Floats, differ: NDArray[np.bool_], seed: int, rows: int = ROWS
) -> NDArray[np.int64]:
    """Positions of the rows to ask about: where decisions differ, those first on which both are sure.

    Parameters
    ----------
    candidate, incumbent : float [n, k]
        Probabilities.
    differ : bool [n]
        Where their decisions do.
    """
    apart = np.abs(candidate - incumbent).sum(axis=1) / 2
    # In tenths: among rows that tell about as much, chance chooses, so that they are not all of one kind.
    order = np.lexsort((np.random.default_rng(seed).random(len(apart)), -np.round(apart, 1)))
    return np.asarray(order[differ[order]][:rows])
