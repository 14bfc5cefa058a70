"""A scenario is a named value; a trial one seeded instance: what the healer gets, and what only the score knows.

The healer sees ``model``, ``window``, ``recent``, ``labels`` and ``memory``. Everything else is truth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.adapter import Adapter
from selfheal.healing.case import Memory
from selfheal.model import MonitoredModel

Floats = NDArray[np.float64]
Mechanism = Literal["none", "sensor", "prior", "combined", "new rule", "concept", "population", "fault", "recurring"]
Labelled = tuple[tuple[pd.DataFrame, pd.Series], ...]
HELD_BACK = frozenset({"keep", "refuse", "audit"})
"""Decisions that change nothing by themselves."""


@dataclass(frozen=True)
class Right:
    """What a good healer does here.

    Attributes
    ----------
    decisions
        Any of these is right.
    diagnoses
        Any of these; empty where the name does not matter.
    mechanism
        What really happened.
    identifiable
        Whether p(x) and the declarations given determine what happened. Only then is a cure owed; harm never is.
    """

    decisions: frozenset[str]
    diagnoses: frozenset[str] = frozenset()
    mechanism: Mechanism = "none"
    identifiable: bool = True

    def judges(self, decision: str, diagnosis: str) -> bool:
        """Whether an outcome is right."""
        return decision in self.decisions and (not self.diagnoses or diagnosis in self.diagnoses)


@dataclass(frozen=True)
class Trial:
    """One instance.

    Attributes
    ----------
    model, window, recent, labels, memory, labelled_before
        The arguments of :func:`selfheal.heal`; ``window`` holds the features alone.
    later
        Labelled rows of windows after the heal: (features, labels on their index). ``unseen`` then holds those windows
        and one more, of equal length: each is served by what the loop's own tests make of the labels that came before.
    truth
        True labels of the window [n]; rivals that need labels get them.
    unseen, unseen_truth
        Rows [m] of the same drifted world that nobody fits on, and their labels.
    right
        What a good healer does.
    oracle
        The adapter that undoes the drift exactly where it is known, else labelled drifted rows (features and target)
        that the oracle is trained on, or ``"undrifted"``: the frozen model on the rows as they were. None: no oracle.
    undrifted
        The unseen rows as they were before the drift, where each has a counterpart: what was lost, and whether a map
        is exact.
    declared
        What the owner told, in words.
    """

    model: MonitoredModel
    window: pd.DataFrame
    truth: NDArray[np.generic]
    unseen: pd.DataFrame
    unseen_truth: NDArray[np.generic]
    right: Right
    recent: pd.DataFrame | None = None
    labels: pd.Series | None = None
    memory: Memory = ()
    oracle: Adapter | pd.DataFrame | Literal["undrifted"] | None = None
    undrifted: pd.DataFrame | None = None
    declared: str = ""
    labelled_before: Labelled = ()
    later: Labelled = ()


@dataclass(frozen=True)
class Scenario:
    """A named source of trials; ``build(seed)`` gives the same trial for the same seed.

    Attributes
    ----------
    group
        ``synthetic``, ``random``, ``mixed``, ``digits``, ``breast cancer``, ``twins``, ``own`` or a stream's name.
    kind
        Within a stream: ``unit``, ``natural``, ``fault`` or ``labels``; else empty.
    facts
        Anything a target asks for, such as the window's rows.
    """

    name: str
    group: str
    about: str
    build: Callable[[int], Trial]
    kind: str = ""
    facts: Mapping[str, float] = field(default_factory=dict)


def without(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """The features alone."""
    return frame.drop(columns=target)
