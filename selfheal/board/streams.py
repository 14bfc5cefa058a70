"""Data sets as streams: real rows in time order, with faults injected at many onsets, and left as they are.

The base model is trained on the first quarter. A case is one window at an onset; ``recent`` are the six windows before
it, and the window after it is scored: rows that the healer never saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from selfheal.adapter import Adapter
from selfheal.board.random_drifts import apply, undo
from selfheal.board.synthetic import AUDIT, KEEP, PROMOTE, REFUSE, right
from selfheal.board.trial import Right, Scenario, Trial
from selfheal.board.worlds import trained
from selfheal.errors import InputError
from selfheal.model import MonitoredModel

RECENT = 6
"""Healthy windows before the onset."""

ONSETS = 12
"""Places where a case begins, evenly spread over what the model was not trained on."""

TRAIN_ROWS, REFERENCE_ROWS = 12_000, 6_000
"""The first quarter is thinned, evenly, to so many rows."""

Maps = dict[str, tuple[float, float]]

MILES, KNOTS, MPH, HPA = 1.609344, 0.514444, 0.44704, 33.86389


@dataclass(frozen=True)
class Set:
    """One data set.

    Attributes
    ----------
    file
        Its name in the data folder.
    begin
        First row that is used: before it three of elec's columns are constant.
    windows
        Rows of a window: of the main cases, and of those with few rows.
    units
        Faults by name: columns that arrive as ``scale · x + offset``.
    labels
        How many of a window's rows get a label where labels come in time.
    watched
        Rows of a window where only the triggers are looked at; 0 for the main length. A whole year, a whole week.
    """

    name: str
    file: str
    windows: tuple[int, ...]
    units: dict[str, Maps]
    begin: int = 0
    labels: tuple[int, ...] = ()
    watched: int = 0


TEMPERATURES = ("temperature", "dew_point", "maximum_temperature", "minimum_temperature")
CELSIUS = (1 / 1.8, -32 / 1.8)
SETS: tuple[Set, ...] = (
    Set(
        "weather", "weather_nebraska.parquet", (730, 400),
        {
            "°F → °C": {c: CELSIUS for c in TEMPERATURES},
            "hPa → inHg": {"sea_level_pressure": (1 / HPA, 0.0)},
            "knots → m/s": {c: (KNOTS, 0.0) for c in ("average_wind_speed", "max_sustained_wind_speed")},
            "miles → km": {"visibility": (MILES, 0.0)},
            "°F → K": {c: (1 / 1.8, 273.15 - 32 / 1.8) for c in TEMPERATURES},
        },
        watched=365,
    ),
    Set(
        "elec", "elec.parquet", (1000, 400),
        {
            "demand × 100": {"nswdemand": (100.0, 0.0)},
            "price × 1000": {"nswprice": (1000.0, 0.0)},
            "day in hours": {"period": (24.0, 0.0)},
            "both prices ÷ 10": {"nswprice": (0.1, 0.0), "vicprice": (0.1, 0.0)},
            "both demands × 10": {"nswdemand": (10.0, 0.0), "vicdemand": (10.0, 0.0)},
        },
        begin=17_760, labels=(50, 100), watched=672,
    ),
    Set(
        "nycflights", "nycflights_delay.parquet", (1000, 400),
        {
            "°F → °C": {c: CELSIUS for c in ("temp", "dewp")},
            "miles → km": {"distance": (MILES, 0.0)},
            "mph → m/s": {"wind_speed": (MPH, 0.0)},
            "hPa → inHg": {"pressure": (1 / HPA, 0.0)},
            "hours → minutes": {"sched_hour": (60.0, 0.0)},
        },
        labels=(50, 100),
    ),
    Set(
        "employment", "employment_ma_acs.parquet", (1000, 400),
        {"years → months": {"AGEP": (12.0, 0.0)}, "sex from 0": {"SEX": (1.0, -1.0)}},
    ),
)  # fmt: skip
TWIN = Set("weather rotated", "weather_nebraska_rotated_from_12000.parquet", (730, 365), {})
ROTATED_FROM = 12_000


@dataclass(frozen=True, eq=False)
class Stream:
    """A loaded set: its base model, and the rows from which the stream begins."""

    model: MonitoredModel
    rows: pd.DataFrame
    start: int


@lru_cache(maxsize=2)
def stream(path: Path, begin: int, seed: int) -> Stream:
    """The model of a set, trained on three of every four blocks of its first quarter; the fourth is the reference."""
    rows = read(path).iloc[begin:].reset_index(drop=True)
    cut = len(rows) // 4
    first = rows.iloc[:cut]
    kept = np.arange(cut) // 365 % 4 == 3
    train, reference = _thin(first[~kept], TRAIN_ROWS), _thin(first[kept], REFERENCE_ROWS)
    model = trained(train, reference, "target", seed, preprocess=_preprocess(train))
    return Stream(model, rows, cut)


def read(path: Path) -> pd.DataFrame:
    """The rows of a file in time order, without their times.

    Raises
    ------
    InputError
        It has no column ``target``.
    """
    rows = pd.read_parquet(path)
    if "target" not in rows:
        raise InputError(f"{path.name} has no column 'target' (columns: {', '.join(map(str, rows.columns[:12]))})")
    return rows.sort_values("time", kind="stable").drop(columns="time") if "time" in rows else rows


def _thin(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    return rows.iloc[:: max(1, -(-len(rows) // most))]


def _preprocess(train: pd.DataFrame) -> Any:
    features = train.drop(columns="target")
    text = [c for c in features if features[c].dtype.kind not in "fiub"]
    numbers = [c for c in features if c not in text]
    filled = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    kinds = OneHotEncoder(handle_unknown="ignore", sparse_output=False, min_frequency=50)
    return ColumnTransformer([("numbers", filled, numbers), ("kinds", kinds, text)])


# ------------------------------------------------------------------ one case


@dataclass(frozen=True)
class Place:
    """Where a case lies: the set's file, the onset's number, the window's rows."""

    path: Path
    of: Set
    number: int
    rows: int

    def onset(self, source: Stream, later: int = 0) -> int:
        """The window's first row, with room for ``later`` windows between it and the one that is scored."""
        first, last = source.start + RECENT * self.rows, len(source.rows) - (2 + later) * self.rows
        return first + (last - first) * self.number // max(ONSETS - 1, 1)


LATER = 2
"""Windows after the heal whose labels may prove what waits or take back what serves; they and the next are scored."""

BEFORE = 5
"""Windows before the heal's own that have labels: as many as the loop gives a heal."""


def case(
    seed: int, place: Place, answer: Right, change: Callable[[pd.DataFrame], pd.DataFrame], exact: Adapter,
    labels: int = 0, at: int | None = None,
) -> Trial:  # fmt: skip
    """The trial at a place: the window and the one that is scored, changed alike.

    Parameters
    ----------
    labels
        Rows with a label in the window, in the :data:`BEFORE` ones before it, and in the :data:`LATER` ones after it.
        With labels all windows after the heal are scored as they are served; without them the next one.
    """
    source = stream(place.path, place.of.begin, seed)
    n = place.rows
    later = LATER if labels else 0
    onset = place.onset(source, later) if at is None else at
    features = list(source.model.features)

    def rows(number: int, windows: int = 1) -> pd.DataFrame:
        return source.rows.iloc[onset + number * n : onset + (number + windows) * n]

    def known(number: int) -> tuple[pd.DataFrame, pd.Series]:
        chosen = np.sort(np.random.default_rng([seed, place.number, number + 9]).choice(n, labels, replace=False))
        return change(rows(number)[features].iloc[chosen]), rows(number)["target"].iloc[chosen].astype(float)

    window, unseen = rows(0), rows(1, later + 1)
    return Trial(
        source.model, change(window[features]), window["target"].to_numpy(), change(unseen[features]),
        unseen["target"].to_numpy(), answer, recent=source.rows[features].iloc[onset - RECENT * n : onset],
        labels=known(0)[1] if labels else None, oracle=exact, undrifted=unseen[features],
        labelled_before=tuple(known(-i) for i in range(BEFORE, 0, -1)) if labels else (),
        later=tuple(known(i + 1) for i in range(later)), declared=f"{labels} labels a window" if labels else "",
    )  # fmt: skip


def unit(seed: int, place: Place, maps: Maps) -> Trial:
    """Listed conversions hit columns, undeclared."""
    return case(seed, place, right(PROMOTE, "sensor", "sensor"), partial(apply, maps), undo(maps))


def natural(seed: int, place: Place, labelled: int = 0) -> Trial:
    """Nothing is done to the rows; with labels a heal may be earned, without them none is."""
    held_back = right(KEEP | REFUSE | AUDIT, "", "population", known=False)
    with_labels = right(PROMOTE | KEEP | REFUSE | AUDIT, "", "population", known=False)
    return case(seed, place, with_labels if labelled else held_back, lambda f: f, Adapter(), labelled)


def fault(seed: int, place: Place, kind: str) -> Trial:
    """The schema breaks: a data fault, to be named and never healed."""
    return case(seed, place, right(REFUSE, "data_fault", "fault"), partial(_broken, kind=kind), Adapter())


def twin(seed: int, place: Place) -> Trial:
    """The first full window after the rotation of the standardised weather's columns."""
    return case(seed, place, right(REFUSE, "data_fault", "fault"), lambda f: f, Adapter(), at=ROTATED_FROM)


FAULTS = ("rotated", "swapped", "constant", "missing")


def _broken(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    numeric = [str(c) for c in frame if frame[c].dtype.kind in "fi" and frame[c].nunique() > 10]
    values = frame[numeric].astype(float)
    if kind == "rotated":
        return frame.assign(**dict(zip(numeric, np.roll(values.to_numpy(), 1, axis=1).T, strict=True)))
    first, second = numeric[0], numeric[len(numeric) // 2]
    if kind == "swapped":
        return frame.assign(**{first: values[second], second: values[first]})
    if kind == "constant":
        return frame.assign(**{first: float(values[first].median())})
    return frame.assign(**{first: np.nan})


# ------------------------------------------------------------------ all cases of a folder


def scenarios(folders: tuple[Path, ...]) -> tuple[list[Scenario], list[str]]:
    """Every case of the sets found in the folders, and a line for each set that is absent."""
    cases, absent = [], []
    for of in (*SETS, TWIN):
        path = next((f / of.file for f in folders if (f / of.file).is_file()), None)
        if path is None:
            absent.append(f"{of.name}: skipped, no {of.file} in {', '.join(map(str, folders)) or 'any folder given'}")
        elif of is TWIN:
            cases += [
                Scenario(f"{of.name}, {n} rows", of.name, "columns rotated", partial(twin, place=Place(path, of, 0, n)),
                         "fault", {"rows": n})
                for n in of.windows
            ]  # fmt: skip
        else:
            cases += list(_cases(path, of))
    return cases, absent


def _cases(path: Path, of: Set) -> Iterator[Scenario]:
    main, few = of.windows
    names = list(of.units)
    for i in range(ONSETS):
        place, small = Place(path, of, i, main), Place(path, of, i, few)
        # The first unit at every onset, the others in turn.
        for unit_name in dict.fromkeys((names[0], names[1 + i % (len(names) - 1)])):
            build = partial(unit, place=place, maps=of.units[unit_name])
            yield _scenario(f"{of.name} {unit_name} {i:02d}", place, build, "unit")
        build = partial(unit, place=small, maps=of.units[names[i % len(names)]])
        yield _scenario(f"{of.name} {names[i % len(names)]} {few} rows {i:02d}", small, build, "unit")
        yield _scenario(f"{of.name} natural {i:02d}", place, partial(natural, place=place), "natural")
        kind = FAULTS[i % len(FAULTS)]
        yield _scenario(f"{of.name} {kind} {i:02d}", place, partial(fault, place=place, kind=kind), "fault")
        for labelled in of.labels:
            build = partial(natural, place=place, labelled=labelled)
            yield _scenario(f"{of.name} {labelled} labels {i:02d}", place, build, "labels", labels=labelled)


def _scenario(name: str, place: Place, build: Callable[[int], Trial], kind: str, **facts: float) -> Scenario:
    return Scenario(name, place.of.name, kind, build, kind, {"rows": place.rows, "onset": place.number, **facts})
