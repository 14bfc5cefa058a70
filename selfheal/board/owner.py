"""Facts with a simulated owner of the data: where the healer asks whether a column changed, the truth answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from selfheal.adapter import Adapter, ColumnMap
from selfheal.board.trial import Trial
from selfheal.healing.facts import NO, Fact
from selfheal.healing.outcome import Outcome

MOST = 3
"""Questions that are answered of one change; a healer that asks more is left where it stands."""

ALIKE = 0.1
"""Share of a column's spread within which an owner calls a line the one that it was."""


def answered(
    trial: Trial, outcome: Outcome | None, ask: Callable[[Sequence[Fact]], Outcome | None]
) -> tuple[Outcome | None, int]:
    """What the healer ends with once its questions are answered truthfully, and how many it put.

    Parameters
    ----------
    ask
        Puts the window to the healer again, with these facts.
    """
    facts: list[Fact] = []
    questions = 0
    while outcome is not None and outcome.asks == "fact" and questions < MOST:
        facts += outcome.answers[truth_of(trial, outcome)]
        questions += 1
        outcome = ask(facts)
    return outcome, questions


def truth_of(trial: Trial, outcome: Outcome) -> str:
    """The option that is so; ``no`` where none of them is."""
    for option, facts in outcome.answers.items():
        maps = {column: one for fact in facts if fact.holds for column, one in fact.columns.items()}
        if maps and all(_is_so(trial, column, one) for column, one in maps.items()):
            return option
    return NO


def _is_so(trial: Trial, column: str, one: ColumnMap) -> bool:
    oracle = trial.oracle
    if not isinstance(oracle, Adapter) or column not in oracle.input_map.columns:
        return False
    raw = trial.window[column].to_numpy(dtype=np.float64)
    truth = oracle.input_map.columns[column].apply(raw)
    low, high = np.nanquantile(truth, [0.01, 0.99])
    apart = np.abs(one.apply(raw) - truth)[(truth >= low) & (truth <= high)]
    return bool(np.max(apart, initial=0.0) <= ALIKE * max(float(np.nanstd(truth)), 1e-12))
