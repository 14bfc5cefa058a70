"""A fire drill: faults injected into rows of a user's own reference, before the user trusts the loop with the model.

The older half of the reference stays the reference. A seed chooses an onset in the newer half: the window lies there,
the rows before it are the recent healthy windows, and the rows after it are scored, broken alike. All in time order, as
a stream would be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pandas as pd

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.board.synthetic import AUDIT, KEEP, PROMOTE, REFUSE, right
from selfheal.board.trial import Right, Scenario, Trial
from selfheal.board.worlds import in_words
from selfheal.drift.stats import ks
from selfheal.drill.recognised import QUANTITIES, measurable
from selfheal.errors import InputError
from selfheal.model import MonitoredModel
from selfheal.policy.units import TEMPERATURES, clear_unit, quantity, words

LEAST = 600
"""Rows that a reference must have: half stay the reference, and a window and what is scored are a sixth each."""

WINDOW, RECENT = 1000, 6
"""Rows of a window at most, where the policy's are not counted in rows; windows before it that are taken as healthy."""

MOST_COLUMNS = 4
"""Columns that are broken, those that the model leans on most first."""

CLEAN = "clean"
"""The scenario in which nothing happens."""

CELSIUS = "°F → °C"
UNITS = {"× 1000": (1000.0, 0.0), "÷ 10": (0.1, 0.0), CELSIUS: (1 / 1.8, -32 / 1.8)}
SHARES = {"halved": 0.5, "doubled": 2.0}

Change = Callable[[pd.DataFrame, int], pd.DataFrame]


class Halves:
    """The model with the older half of its reference, and the newer half as rows that the healer never saw.

    Raises
    ------
    InputError
        If the reference has fewer than :data:`LEAST` rows.
    """

    def __init__(self, model: MonitoredModel) -> None:
        n = len(model.reference)
        if n < LEAST:
            raise InputError(
                f"the reference has {n} rows; a drill needs {LEAST}: half stay the reference, a sixth is the window "
                "and a sixth is scored. Adopt the model with a longer reference"
            )
        self.rows = model.reference.assign(**{model.target: model.reference_labels})
        self.half = n // 2
        self.size = min(model.policy.monitor.window.rows or WINDOW, n // 6)
        self.model = MonitoredModel(
            model.backbone, model.head, self.rows.iloc[: self.half], target=model.target,
            preprocess=model.preprocess, policy=model.policy, name=model.name, classes=model.classes_, as_stored=True,
        )  # fmt: skip

    @property
    def unseen(self) -> pd.DataFrame:
        """The newer half."""
        return self.rows.iloc[self.half :]

    def leaning(self) -> list[str]:
        """Numeric columns by how many answers change when the column is shuffled, most first."""
        rng = np.random.default_rng(0)
        features = list(self.model.features)
        before = self.model.proba_of_units(self.unseen[features])
        moved = {}
        for column in features:
            if self.model.dtypes[column] in ("float", "int") and self.unseen[column].nunique() > 2:
                shuffled = self.unseen[features].assign(**{column: rng.permutation(self.unseen[column].to_numpy())})
                moved[column] = float(np.abs(self.model.proba_of_units(shuffled) - before).sum())
        return sorted(moved, key=lambda c: -moved[c])

    def trial(self, seed: int, answer: Right, change: Change, exact: Adapter | None) -> Trial:
        """The window at the seed's onset and the rows after it, changed alike."""
        n, size = len(self.rows), self.size
        onset = int(np.random.default_rng(seed).integers(self.half, n - 2 * size + 1))
        before = self.rows.iloc[max(0, onset - RECENT * size) : onset]
        window, unseen = self.rows.iloc[onset : onset + size], self.rows.iloc[onset + size : onset + 2 * size]
        target, features = self.model.target, list(self.model.features)
        broken, scored = change(window, seed), change(unseen, seed + 1)
        same = len(scored) == len(unseen) and scored.index.equals(unseen.index)
        return Trial(
            self.model, broken[features], broken[target].to_numpy(), scored[features], scored[target].to_numpy(),
            answer, recent=before[features], oracle=exact, undrifted=unseen[features] if same else None,
            declared=in_words(self.model.policy.declare.model_dump(exclude_defaults=True)),
        )  # fmt: skip


def scenarios(model: MonitoredModel) -> list[Scenario]:
    """Every scenario that applies to the model's columns and classes."""
    halves = Halves(model)
    return [Scenario(name, "own", about, build) for name, about, build in _applicable(halves)]


Entry = tuple[str, str, Callable[[int], Trial]]


def _applicable(halves: Halves) -> Iterator[Entry]:
    yield CLEAN, "rows as they are", partial(halves.trial, answer=right(KEEP), change=_same, exact=Adapter())
    leaning = halves.leaning()
    columns, measured = leaning[:MOST_COLUMNS], [c for c in leaning if measurable(halves.rows[c])][:MOST_COLUMNS]
    for i, column in enumerate(measured):
        name = _unit(halves, column, i)
        scale, step = UNITS[name]
        # Whether it goes out at once is the policy's max_changed and ambiguous; both answers are right.
        yield f"unit: {column} {name}", "a listed conversion", _affine(halves, column, scale, step, PROMOTE | AUDIT)
    for column in measured[:2]:
        declared = column in halves.model.measured
        step = 2 * float(halves.rows[column].std())
        decisions = PROMOTE | AUDIT if declared else AUDIT | REFUSE | KEEP
        words = "2 sd too high" + (", declared" if declared else ", undeclared")
        yield f"offset: {column}", words, _affine(halves, column, 1.0, step, decisions)
    if len(columns) >= 2:
        # The least alike of the others: where two columns look and mean the same, a swap is no fault that shows.
        first, second = (
            columns[0],
            max(columns[1:], key=lambda c: ks(*(halves.rows[x].to_numpy() for x in (columns[0], c)))),
        )
        yield "swapped columns", f"{first} and {second}", _fault(halves, partial(_swapped, columns=[first, second]))
    if columns:
        yield "stuck sensor", f"{columns[0]} is constant", _fault(halves, partial(_stuck, column=columns[0]))
        yield "missing column", f"{columns[0]} is empty", _fault(halves, partial(_empty, column=columns[0]))
        yield "poison", "a fifth of the window is nonsense", _poison(halves, columns)
    for name, factor in SHARES.items():
        answer = right(PROMOTE | AUDIT | KEEP | REFUSE, "", "prior", known=False)
        change = partial(_thinned, target=halves.model.target, last=halves.model.classes_[-1], factor=factor)
        about = f"the share of class {halves.model.classes_[-1]!r} {name}"
        yield f"prior: {name}", about, partial(halves.trial, answer=answer, change=change, exact=None)


def _unit(halves: Halves, column: str, turn: int) -> str:
    """A conversion that may happen to a column: the turn's, but degrees only where it may be a temperature."""
    said, called = quantity(clear_unit(column)), set(words(column))
    if said == "temperature" or TEMPERATURES & called:
        return CELSIUS
    open_ = halves.model.dtypes[column] == "float" and not said and not QUANTITIES & called
    others = [name for name in UNITS if open_ or name != CELSIUS]
    return others[turn % len(others)]


def _affine(
    halves: Halves, column: str, scale: float, step: float, decisions: frozenset[str]
) -> Callable[[int], Trial]:
    exact = Adapter(InputMap({column: ColumnMap(1 / scale, -step / scale)}))
    answer = right(decisions, "", "sensor", known="promote" in decisions)
    return partial(
        halves.trial, answer=answer, change=lambda f, seed: f.assign(**{column: f[column] * scale + step}), exact=exact
    )


def _fault(halves: Halves, change: Change) -> Callable[[int], Trial]:
    return partial(halves.trial, answer=right(REFUSE, "data_fault", "fault"), change=change, exact=None)


def _poison(halves: Halves, columns: list[str]) -> Callable[[int], Trial]:
    def build(seed: int) -> Trial:
        trial = halves.trial(seed, right(KEEP | REFUSE), _same, Adapter())
        rng = np.random.default_rng(seed)
        hit = rng.random(len(trial.window)) < 0.2
        window = trial.window.astype({c: float for c in columns})
        window.loc[hit, columns] = rng.normal(size=(int(hit.sum()), len(columns))) * 1e9
        return Trial(**{**vars(trial), "window": window})

    return build


def _same(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    return frame


def _swapped(frame: pd.DataFrame, seed: int, columns: list[str]) -> pd.DataFrame:
    first, second = columns
    return frame.assign(**{first: frame[second], second: frame[first]})


def _stuck(frame: pd.DataFrame, seed: int, column: str) -> pd.DataFrame:
    return frame.assign(**{column: frame[column].iloc[0]})


def _empty(frame: pd.DataFrame, seed: int, column: str) -> pd.DataFrame:
    return frame.assign(**{column: np.nan})


def _thinned(frame: pd.DataFrame, seed: int, target: str, last: object, factor: float) -> pd.DataFrame:
    """Rows left out at random so that the class's share is multiplied (to 90 % at most); none is drawn twice."""
    mine = (frame[target] == last).to_numpy()
    share = float(mine.mean())
    wanted = min(factor * share, 0.9)
    if not 0 < share < 1:
        return frame
    # Keep all of the side that becomes more common, and as many of the other as the new share leaves room for.
    odds = (wanted / (1 - wanted)) / (share / (1 - share))
    keep = np.where(mine, min(odds, 1.0), min(1 / odds, 1.0))
    return frame[np.random.default_rng(seed).random(len(frame)) < keep]
