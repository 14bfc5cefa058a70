"""Any folder of Parquet files as streams: rows of one's own kind, on which nothing here was built or tuned.

A file has a column ``target``, and ``time`` where its rows are not in order. The base model is trained on the first
quarter. At twelve onsets in the rest a column changes its unit, the schema breaks, or nothing happens, and the healer
goes by its default policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.board.streams import FAULTS, ONSETS, RECENT, Maps, Place, Set, case, fault, natural, read, stream
from selfheal.board.synthetic import PROMOTE, right
from selfheal.board.trial import Scenario, Trial
from selfheal.errors import InputError

GROUP = "tables"

UNITS: tuple[tuple[str, float], ...] = (
    ("in → mm", 25.4), ("mm → in", 1 / 25.4), ("miles → km", 1.609344), ("km → miles", 1 / 1.609344),
    ("kg → lb", 1 / 0.45359237), ("lb → kg", 0.45359237), ("x 1000", 1000.0), ("x 0.001", 0.001), ("x 100", 100.0),
    ("x 0.01", 0.01), ("hours → minutes", 60.0), ("m/s → mph", 1 / 0.44704),
)  # fmt: skip
"""Factors that a column is multiplied by; one an onset, drawn."""

LONG, SHORT = 1000, 400
"""Rows of a window; the short one where the file has no room for long ones."""

DISTINCT = 20
"""Fewer values are codes, which have no unit."""


def scenarios(folder: Path) -> list[Scenario]:
    """Every case of the files in a folder.

    Raises
    ------
    InputError
        There is none, or one is no table that a model can be trained on.
    """
    files = sorted(folder.glob("*.parquet"))
    if not files:
        raise InputError(f"{folder} holds no Parquet file; give a folder of tables with a column 'target'")
    return [scenario for path in files for scenario in _cases(path)]


def unit(seed: int, place: Place) -> Trial:
    """A column of the file in another unit, from the onset on."""
    source = stream(place.path, place.of.begin, seed)
    rng = np.random.default_rng([97, seed, place.number])
    features = list(source.model.features)
    able = [c for c in features if _has_unit(source.rows[c])]
    if not able:
        raise InputError(f"{place.path.name}: no column has {DISTINCT} different numbers, so none has a unit")
    column = str(rng.choice(able))
    _, factor = UNITS[int(rng.integers(len(UNITS)))]
    maps: Maps = {column: (factor, 0.0)}
    exact = Adapter(InputMap({column: ColumnMap(1 / factor)}))
    return case(seed, place, right(PROMOTE, "sensor", "sensor"), partial(_written, maps=maps, rows=source.rows), exact)


def _has_unit(values: pd.Series) -> bool:
    return values.dtype.kind in "fi" and values.nunique() >= DISTINCT and not bool((values == 0).mean() > 0.5)


def _written(frame: pd.DataFrame, maps: Maps, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with columns converted, and written with as many digits as before: recorders round."""
    changed = {}
    for column, (factor, _) in maps.items():
        digits = 4 - int(np.floor(np.log10(max(float(rows[column].std()) * factor, 1e-12))))
        changed[column] = (frame[column].astype(float) * factor).round(digits)
    return frame.assign(**changed)


def _cases(path: Path) -> Iterator[Scenario]:
    rows = len(read(path))
    room = rows - rows // 4
    n = next((n for n in (LONG, SHORT) if room >= (RECENT + ONSETS) * n), None)
    if n is None:
        raise InputError(
            f"{path.name} has {rows} rows; the base model takes a quarter, and {ONSETS} onsets with {RECENT} windows "
            f"of {SHORT} rows before them need {(RECENT + ONSETS) * SHORT} more"
        )
    of = Set(path.stem, path.name, (n,), {})
    for i in range(ONSETS):
        place = Place(path, of, i, n)
        kind = FAULTS[i % len(FAULTS)]
        for what, build in (
            ("unit", partial(unit, place=place)),
            ("natural", partial(natural, place=place)),
            ("fault", partial(fault, place=place, kind=kind)),
        ):
            facts = {"rows": n, "onset": i}
            yield Scenario(f"{of.name} {what} {i:02d}", GROUP, what, build, what, facts)
