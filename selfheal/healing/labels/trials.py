"""What labels that come after a heal decide: whether what waits goes out, and whether what serves comes back.

Both may be asked again whenever labels come (:mod:`selfheal.healing.sequential`), each time with all labels so far.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from selfheal.healing.evidence import Evidence, barred, held_against
from selfheal.healing.labels.fair import compared, selected
from selfheal.healing.labels.rows import Earlier
from selfheal.healing.labels.shares import no_more
from selfheal.healing.sequential import Says
from selfheal.model import MonitoredModel

LEAST = 30
"""Labelled rows below which nothing is taken back."""


def let_out(
    serving: MonitoredModel,
    candidate: MonitoredModel,
    windows: Earlier,
    sample: Callable[[], pd.DataFrame],
    e_value: float = 1.0,
    whole: Callable[[], Earlier] | None = None,
) -> tuple[Says, str]:
    """What labels say of a version that waits beside what serves: ``better`` lets it out. And why.

    Parameters
    ----------
    windows
        Labelled rows that it was not fitted to, under the policy of record as both models have it.
    sample
        Gives raw rows [n, >= d] of the window that it was made for, of which the share of changed predictions is
        counted; asked where the labels say ``better`` alone.
    e_value
        E-value for a better log-loss from labels before these.
    whole
        Gives the same windows with their rows that have no label, by which it is seen whether the labels are a fair
        draw; asked where nothing else stops it. By default ``windows`` have them.
    """
    evidence = held_against(serving, candidate, windows)
    trial = evidence.trial(serving, e_value)
    but = ""
    if trial.says == "better":
        but = barred(serving, candidate, sample(), evidence, trial) or _unheard(
            serving, evidence, (lambda: windows) if whole is None else whole
        )
    return ("undecided", f"{trial.reason}; {but}") if but else (trial.says, trial.reason)


def taken_back(before: MonitoredModel, serving: MonitoredModel, windows: Earlier) -> tuple[Says, str]:
    """What labels say of a version that serves beside the one before: ``worse`` takes it back. And why, empty for few.

    Decisions come first: worse probabilities alone take back only what has not made decisions better.
    """
    if sum(int(labels.notna().sum()) for _, labels in windows) < LEAST:
        return "undecided", ""
    trial = held_against(before, serving, windows).trial(before)
    return trial.nats.says if trial.decisions.says == "undecided" else trial.decisions.says, trial.reason


def _unheard(serving: MonitoredModel, evidence: Evidence, whole: Callable[[], Earlier]) -> str:
    """Why labels are not believed that found a candidate better; empty where they are."""
    windows = whole()
    return selected(serving, windows) or no_more(serving, evidence, compared(serving, windows))
