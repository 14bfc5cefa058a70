"""A folder of the reader's own tables as streams, and questions that the truth answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfheal.adapter import Adapter, ColumnMap, InputMap
from selfheal.board import owner, tables
from selfheal.board.score import run
from selfheal.board.streams import stream
from selfheal.board.trial import Right, Trial
from selfheal.errors import InputError
from selfheal.healing.facts import about_units
from selfheal.healing.outcome import Outcome

ROWS = 10_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One table, its rows not in order of time."""
    place = tmp_path_factory.mktemp("tables")
    rng = np.random.default_rng(0)
    size, load = rng.gamma(4, 20, ROWS).round(1), rng.normal(60, 9, ROWS).round(1)
    y = (size / 80 + (load - 60) / 9 + rng.normal(0, 0.7, ROWS) > 1).astype(int)
    rows = pd.DataFrame({"time": pd.date_range("2026-01-01", periods=ROWS, freq="min"), "size": size, "load": load})
    rows.assign(code=rng.integers(1, 4, ROWS), target=y).sample(frac=1, random_state=1).to_parquet(
        place / "own.parquet"
    )
    return place


def test_every_file_gives_units_faults_and_natural_windows(folder: Path) -> None:
    found = tables.scenarios(folder)
    assert {s.kind for s in found} == {"unit", "natural", "fault"} and len(found) == 36
    assert stream(folder / "own.parquet", 0, 0).rows.equals(
        pd.read_parquet(folder / "own.parquet").sort_values("time").drop(columns="time").reset_index(drop=True)
    )
    trial = next(s for s in found if s.kind == "unit").build(3)
    assert isinstance(trial.oracle, Adapter) and trial.undrifted is not None
    (column,) = trial.oracle.input_map.columns
    assert column != "code", "codes have no unit"
    back = trial.oracle.input_map.apply(trial.unseen)[column]
    assert np.abs(back - trial.undrifted[column]).max() < 1e-3 * trial.undrifted[column].std()


@pytest.mark.usefixtures("alone")
def test_a_unit_is_healed_by_the_default_policy(folder: Path) -> None:
    row = run(next(s for s in tables.scenarios(folder) if s.name == "own unit 03"), 0)
    assert row["acted"] and row["named"] and not row["harmful"] and row["questions"] == 0, row["reason"]


@pytest.mark.parametrize(
    ("file", "words"), [(None, "holds no Parquet file"), ("target", "no column 'target'"), ("rows", "120 rows")]
)
def test_what_is_no_table_is_refused(tmp_path: Path, file: str | None, words: str) -> None:
    if file:
        column = "y" if file == "target" else "target"
        pd.DataFrame({"x": range(120), column: 0}).to_parquet(tmp_path / "odd.parquet")
    with pytest.raises(InputError, match=words):
        tables.scenarios(tmp_path)


def asked(columns: dict[str, ColumnMap], *others: ColumnMap) -> Outcome:
    question = about_units(columns, dict.fromkeys(columns, others), "today")
    return Outcome("audit", "sensor", [], pd.DataFrame(), question=question.text, asks="fact", answers=question.answers)


def told(oracle: Adapter | None) -> Trial:
    window = pd.DataFrame({"x": np.linspace(1.0, 9.0, 50)})
    return Trial(None, window, np.zeros(50), window, np.zeros(50), Right(frozenset()), oracle=oracle)  # type: ignore[arg-type]


def test_the_owner_says_what_is_so() -> None:
    inch = ColumnMap(25.4, 0.0, "inches → millimetres")
    true = told(Adapter(InputMap({"x": inch})))
    assert owner.truth_of(true, asked({"x": inch})) == "yes"
    assert owner.truth_of(true, asked({"x": ColumnMap(25.1, 0.9)})) == "yes", "a line that is as good as it"
    assert owner.truth_of(true, asked({"x": ColumnMap(10.0)})) == "no"
    assert owner.truth_of(true, asked({"x": ColumnMap(10.0)}, inch)) == "inches → millimetres"
    assert owner.truth_of(told(None), asked({"x": inch})) == "no", "nothing changed"
    assert owner.truth_of(true, asked({"x": inch, "y": inch})) == "no", "one of them did not"


def test_a_healer_that_asks_for_ever_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    always = asked({"x": ColumnMap(10.0)})
    last, questions = owner.answered(told(None), always, lambda facts: always)
    assert (last, questions) == (always, owner.MOST)
