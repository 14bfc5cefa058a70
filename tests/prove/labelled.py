"""Streams with labels, at onsets and seeds that nothing was set on: a concept that turned, one that merely ages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import selfheal
from selfheal.board.course import SHIPPED
from selfheal.board.score import HARM
from selfheal.board.streams import ONSETS, RECENT, SETS, Stream, read, stream
from selfheal.board.tables import LONG, SHORT
from selfheal.board.worlds import trained
from selfheal.healing.labels.rows import log_losses

SEED = 720
"""Of the base models, and of which rows are labelled."""

BEFORE = 4
"""Windows before the newest that have labels too, where some have."""

LOST = 0.1
"""Accuracy lost against the reference from which a refit is worth its labels."""

Change = Callable[[pd.DataFrame], pd.DataFrame]
Choose = Callable[[pd.DataFrame, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Place:
    """A window at an onset of a stream, the next one that is scored, and the ones before it."""

    path: Path
    number: int

    @cached_property
    def held(self) -> Stream:
        begin = next((of.begin for of in SETS if of.file == self.path.name), 0)
        return stream(self.path, begin, SEED)

    @cached_property
    def model(self) -> selfheal.MonitoredModel:
        return self.held.model.with_policy({})

    @cached_property
    def length(self) -> int:
        room = len(self.held.rows) - self.held.start
        return LONG if room >= (RECENT + ONSETS) * LONG else SHORT

    def rows(self, window: int) -> pd.DataFrame:
        """Of a window, counted from the newest."""
        n, held = self.length, self.held
        first, last = held.start + RECENT * n, len(held.rows) - 2 * n
        onset = first + (last - first) * self.number // (ONSETS - 1)
        return held.rows.iloc[onset + window * n : onset + (window + 1) * n].reset_index(drop=True)

    @property
    def features(self) -> list[str]:
        return list(self.model.features)

    @cached_property
    def recent(self) -> list[pd.DataFrame]:
        return [self.rows(-i)[self.features] for i in range(RECENT, 0, -1)]

    @cached_property
    def usual(self) -> float:
        """Accuracy on the reference."""
        return figures(self.model, self.model.reference, self.model.reference_labels.to_numpy())[0]

    def rng(self, kind: str) -> np.random.Generator:
        return np.random.default_rng([SEED, self.number, len(kind), *map(ord, self.path.stem)])


def places(folders: list[Path], onsets: Sequence[int] = range(ONSETS)) -> Iterator[Place]:
    """Every onset of every table in the folders; of the shipped weather where none is given."""
    files = [path for folder in folders or [SHIPPED] for path in sorted(folder.glob("*.parquet"))]
    for path in files:
        if "rotated" not in path.name and "target" in read(path):
            for number in onsets:
                yield Place(path, number)


def figures(model: selfheal.MonitoredModel, rows: pd.DataFrame, truth: np.ndarray) -> tuple[float, float]:
    """Accuracy and log-loss."""
    at, proba = np.searchsorted(model.classes_, truth), model.predict_proba(rows[list(model.features)])
    return float((proba.argmax(axis=1) == at).mean()), float(log_losses(proba, at).mean())


# ------------------------------------------------------------------ what happens to the concept


def as_it_is(rows: pd.DataFrame) -> pd.DataFrame:
    return rows


def turned(place: Place) -> Change:
    """Every label is the next class's."""
    following = dict(zip(place.model.classes_, np.roll(place.model.classes_, -1), strict=True))
    return lambda rows: rows.assign(target=rows["target"].map(following))


def half_turned(place: Place) -> Change:
    """The same for the rows on one side of a column's middle; the column is drawn."""
    numbers = [c for c in place.features if place.held.rows[c].dtype.kind in "fi" and place.held.rows[c].nunique() > 9]
    column = str(place.rng("half").choice(numbers))
    middle, whole = float(place.rows(0)[column].median()), turned(place)
    return lambda rows: rows.where(rows[column] <= middle, whole(rows)).astype(rows.dtypes.to_dict())


# ------------------------------------------------------------------ whose labels come


def fair(k: int) -> Choose:
    return lambda rows, rng: rng.permutation(len(rows)) < k


def by_class(first: float, last: float) -> Choose:
    """Share of the rows of the last class that are labelled, and of the others."""
    return lambda rows, rng: rng.random(len(rows)) < np.where(rows["target"] == rows["target"].max(), last, first)


def by_score(model: selfheal.MonitoredModel, *, sure: bool) -> Choose:
    """Mostly the fifth with the highest score of the last class; or the fifth that the model is surest of."""

    def choose(rows: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
        proba = model.predict_proba(rows[list(model.features)])
        score = proba.max(axis=1) if sure else proba[:, -1]
        return rng.random(len(rows)) < np.where(score >= np.quantile(score, 0.8), 0.4, 0.02)

    return choose


def unfair(place: Place) -> dict[str, Choose]:
    """Labels that are no fair draw."""
    return {
        "positives late": by_class(0.5, 0.05),
        "no positive yet": by_class(0.3, 0.0),
        "mostly complaints": by_class(0.05, 0.8),
        "complaints only": by_class(0.0, 0.8),
        "by score": by_score(place.model, sure=False),
        "the surest": by_score(place.model, sure=True),
    }


# ------------------------------------------------------------------ a case


def case(
    place: Place, kind: str, change: Change, choose: Choose, *, before: int = 0, refits: bool = False
) -> dict[str, Any]:
    """Heal a window by its labels, and score what serves then on the next one, which the healer never saw.

    Returns
    -------
    dict
        ``decision``, ``diagnosis``, ``labels``; ``before``, ``after``, ``refit``: (accuracy, log-loss); ``lost``:
        accuracy that the frozen model lost against the reference; ``harmful``, and ``beyond`` two standard errors.
    """
    model, features, rng = place.model, place.features, place.rng(kind)

    def told(window: int) -> tuple[pd.DataFrame, pd.Series]:
        rows = change(place.rows(window))
        return rows[features], rows["target"].astype(float).where(choose(rows, rng))

    window, labels = told(0)
    earlier = [told(-i) for i in range(before, 0, -1)]
    outcome = selfheal.heal(model, window, recent=place.recent, labels=labels, earlier=earlier, seed=place.number)
    unseen = change(place.rows(1))
    truth = unseen["target"].to_numpy()
    acted = outcome.decision == "promote" and outcome.adapter is not None
    serves = model.with_adapter(outcome.adapter) if acted else model
    was, now = figures(model, unseen, truth), figures(serves, unseen, truth)
    found = {
        "decision": outcome.decision, "diagnosis": outcome.diagnosis, "acted": acted, "reason": outcome.reasons[0],
        "labels": int(labels.notna().sum()), "before": was, "after": now, "lost": place.usual - was[0],
        **harm(model, serves, unseen, truth, was, now),
    }  # fmt: skip
    model.check_unchanged()
    if refits:
        found["refit"] = refit(place, change(place.rows(0)), unseen)
    return found


def harm(
    model: selfheal.MonitoredModel, serves: selfheal.MonitoredModel, rows: pd.DataFrame, truth: np.ndarray,
    was: tuple[float, float], now: tuple[float, float],
) -> dict[str, bool]:  # fmt: skip
    """Whether what serves is worse than no healing by the board's measure, and by two standard errors more."""
    lost, worse = was[0] - now[0], now[1] - was[1]
    harmful = lost > HARM["accuracy"] or worse > HARM["log_loss"]
    at = np.searchsorted(model.classes_, truth)
    two = [m.predict_proba(rows[list(m.features)]) for m in (model, serves)]
    right = [(p.argmax(axis=1) == at).astype(float) for p in two]
    nats = [log_losses(p, at) for p in two]
    errors = [float((b - a).std() / np.sqrt(len(at))) for a, b in (right, nats)]
    beyond = lost > HARM["accuracy"] + 2 * errors[0] or worse > HARM["log_loss"] + 2 * errors[1]
    return {"harmful": bool(harmful), "beyond": bool(beyond)}


def refit(place: Place, window: pd.DataFrame, unseen: pd.DataFrame) -> float:
    """Accuracy on the next window of the better of two refits on *all* labels of this one: a rival with more labels."""
    model, truth = place.model, unseen["target"].to_numpy()
    hidden = [model.hidden_of_units(model.model_units(rows[place.features])).numpy() for rows in (window, unseen)]
    head = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)).fit(hidden[0], window["target"])
    reference = model.reference.assign(target=model.reference_labels)
    anew = trained(window, reference, "target", SEED, preprocess=clone(place.held.model.preprocess), steps=60)
    said = head.predict(hidden[1]), anew.classes_[anew.predict_proba(unseen[place.features]).argmax(axis=1)]
    return float(max((each == truth).mean() for each in said))
