"""What else a heal may be given: other policies, labels, memory, and windows as real logs deliver them.

A twist takes the arguments of :func:`selfheal.heal`, the trial that they are from and a seeded generator, and returns
the arguments changed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from selfheal import Adapter
from tests.sample.worlds import Trial

Arguments = dict[str, Any]
Twist = Callable[[Arguments, Trial, np.random.Generator], Arguments]


def policy(asked: Arguments, trial: Trial, rng: np.random.Generator, **sections: Any) -> Arguments:
    """Other sections in the policy."""
    told = trial.model.policy.model_dump(exclude_defaults=True)
    return asked | {"model": trial.model.with_policy({**told, **sections})}


# ------------------------------------------------------------------ labels and memory


def _some(frame: pd.DataFrame, truth: Any, count: int, rng: np.random.Generator) -> pd.Series:
    rows = np.sort(rng.choice(len(frame), min(count, len(frame)), replace=False))
    return pd.Series(np.asarray(truth)[rows], frame.index[rows])


def labels(asked: Arguments, trial: Trial, rng: np.random.Generator, count: int, against: bool = False) -> Arguments:
    """Labels of some of the window's rows; ``against`` a heal: they say that what is answered now is right."""
    truth = trial.model.predict(trial.window) if against else trial.truth
    return asked | {"labels": _some(trial.window, truth, count, rng)}


def earlier(asked: Arguments, trial: Trial, rng: np.random.Generator, count: int = 60) -> Arguments:
    """Labels of five windows before, which had drifted too, and of this one."""
    n = min(len(trial.window), len(trial.unseen) // 5)
    parts = [slice(i * n, (i + 1) * n) for i in range(5)]
    before = [(trial.unseen.iloc[p], _some(trial.unseen.iloc[p], trial.unseen_truth[p], count, rng)) for p in parts]
    return labels(asked, trial, rng, count) | {"earlier": before}


def memory(asked: Arguments, trial: Trial, rng: np.random.Generator, samples: bool = True) -> Arguments:
    """Version 2 was made for what comes now."""
    n = len(trial.window)
    kept = (trial.undrifted.iloc[:n], trial.unseen.iloc[:n]) if samples else (None, None)
    return asked | {"memory": [(1, Adapter(), kept[0]), (2, trial.oracle, kept[1])]}


def healed(asked: Arguments, trial: Trial, rng: np.random.Generator) -> Arguments:
    """What undoes the drift serves already."""
    return asked | {"model": trial.model.with_adapter(trial.oracle)}


def turned_back(asked: Arguments, trial: Trial, rng: np.random.Generator) -> Arguments:
    """What undoes the drift serves, and the drift is gone."""
    window = trial.undrifted.iloc[: len(trial.window)]
    return healed(memory(asked, trial, rng), trial, rng) | {"window": window}


# ------------------------------------------------------------------ the window


def began(asked: Arguments, trial: Trial, rng: np.random.Generator, share: float) -> Arguments:
    """The drift began after this share of the window."""
    n = len(trial.window)
    start = int(share * n)
    return asked | {"window": pd.concat([trial.undrifted.iloc[:start], trial.unseen.iloc[start:n]])}


def senders(asked: Arguments, trial: Trial, rng: np.random.Generator, share: float) -> Arguments:
    """Only some rows have drifted, all over the window."""
    n = len(trial.window)
    hit = rng.random(n) < share
    parts = trial.undrifted.iloc[:n][~hit], trial.unseen.iloc[:n][hit]
    return asked | {"window": pd.concat(parts).sort_index()}


def spoiled(
    asked: Arguments, trial: Trial, rng: np.random.Generator, share: float, value: Any, column: int = 0
) -> Arguments:
    """A column holds something else in a share of the rows."""
    window = trial.window.copy()
    name = window.columns[column]
    hit = rng.random(len(window)) < share
    window[name] = window[name].astype(object).where(~hit, value)
    return asked | {"window": window if isinstance(value, str) else window.astype({name: float})}


def frame(
    asked: Arguments, trial: Trial, rng: np.random.Generator, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> Arguments:
    """The window's frame, changed as a whole."""
    return asked | {"window": change(asked["window"])}


def longer(asked: Arguments, trial: Trial, rng: np.random.Generator) -> Arguments:
    """A window beyond what is looked at row by row."""
    return asked | {"window": pd.concat([trial.window, trial.unseen], ignore_index=True)}


def recent(asked: Arguments, trial: Trial, rng: np.random.Generator, windows: int, one: bool = False) -> Arguments:
    """Healthy windows before, a list or one frame."""
    n = min(len(trial.window), len(trial.undrifted) // (windows + 1))
    parts = [trial.undrifted.iloc[i * n : (i + 1) * n] for i in range(windows)]
    return asked | {"recent": pd.concat(parts) if one else parts}


def _replayed(window: pd.DataFrame, share: float) -> pd.DataFrame:
    kept = int(len(window) * (1 - share))
    return pd.concat([window.iloc[:kept], *[window.iloc[:1]] * (len(window) - kept)])


TWISTS: dict[str, Twist] = {
    "": lambda asked, trial, rng: asked,
    "at most 5 % changed": partial(policy, heal={"max_changed": 0.05}),
    "costs 1 : 5": partial(policy, cost={"false_positive": 1, "false_negative": 5}),
    "costs 5 : 1": partial(policy, cost={"false_positive": 5, "false_negative": 1}),
    "ambiguous: promote": partial(policy, release={"ambiguous": "promote"}),
    "ambiguous: refuse": partial(policy, release={"ambiguous": "refuse"}),
    "60 labels": partial(labels, count=60),
    "15 labels": partial(labels, count=15),
    "300 labels against it": partial(labels, count=300, against=True),
    "labels before": earlier,
    "memory": memory,
    "memory without samples": partial(memory, samples=False),
    "healed": healed,
    "turned back": turned_back,
    "began at 40 %": partial(began, share=0.4),
    "began at 90 %": partial(began, share=0.9),
    "a quarter of the rows": partial(senders, share=0.25),
    "a tenth missing": partial(spoiled, share=0.1, value=np.nan),
    "half missing": partial(spoiled, share=0.5, value=np.nan),
    "a tenth infinite": partial(spoiled, share=0.1, value=np.inf),
    "words in a number": partial(spoiled, share=0.4, value="n/a"),
    "a tenth is -999": partial(spoiled, share=0.1, value=-999.0),
    "a column is away": partial(frame, change=lambda f: f.iloc[:, 1:]),
    "columns in another order": partial(frame, change=lambda f: f.iloc[:, ::-1].assign(other=1)),
    "a third replayed": partial(frame, change=partial(_replayed, share=1 / 3)),
    "60 rows": partial(frame, change=lambda f: f.iloc[:60]),
    "150 rows": partial(frame, change=lambda f: f.iloc[:150]),
    "6000 rows": longer,
    "4 healthy windows": partial(recent, windows=4),
    "3 healthy windows in one": partial(recent, windows=3, one=True),
}
"""By name; a case without a twist is the board's own."""
