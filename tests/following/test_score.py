"""``selfheal score`` on real files: every value stays, rows get probabilities, and bad input changes nothing."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from selfheal.cli import main
from selfheal.following import batch
from selfheal.following.batch import score_file
from tests.serving.conftest import payments_model
from tests.steering.given import NAME, rows

pytestmark = pytest.mark.xdist_group("loop")  # one home, adopted once


def score(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["score", *map(str, arguments)])


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    elif path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    return path


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_json(path, lines=True)


@pytest.fixture
def frame() -> pd.DataFrame:
    return rows(250, 5).assign(note=[f'n,"{k}"\n' for k in range(250)], code=[f"{k:03d}" for k in range(250)])


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".jsonl"])
def test_every_format_keeps_its_columns_and_gains_the_models(
    ws, here: Path, tmp_path: Path, frame, ending, monkeypatch
) -> None:
    monkeypatch.setattr(batch, "PIECE", 100)
    source, target = write(frame, tmp_path / f"in{ending}"), tmp_path / f"out{ending}"
    done = score(NAME, source, target, "--json", tmp_path / "done.json")
    assert done.exit_code == 0, done.output
    assert "250 rows scored by toy version 1" in done.output
    told = json.loads((tmp_path / "done.json").read_text())
    assert (told["model"], told["version"], told["rows"]) == (NAME, 1, 250)
    assert told["columns"] == ["p_0", "p_1", "model_version"]
    found = read(target)
    assert list(found) == [*frame, "p_0", "p_1", "model_version"]
    expected = ws.registry.load(NAME).predict_proba(frame)
    np.testing.assert_allclose(found[["p_0", "p_1"]], expected, atol=1e-9)
    assert set(found.model_version) == {1} and found.note.tolist() == frame.note.tolist()
    if ending == ".csv":
        kept = pd.read_csv(target, dtype=str)[list(frame)]
        pd.testing.assert_frame_equal(kept, pd.read_csv(source, dtype=str))

    again = score(NAME, source, target)
    assert again.exit_code == 1 and "--force replaces it" in again.output
    assert score(NAME, target, source.with_name(f"twice{ending}")).exit_code == 2, "columns that are there already"
    other = score(NAME, source, target, "--force", "--version", 2)
    assert other.exit_code == 0, other.output
    assert set(read(target).model_version) == {2}
    assert np.abs(read(target).p_1 - expected[:, 1]).max() > 0.1
    assert {p.name for p in tmp_path.iterdir()} >= {source.name, target.name}
    assert not list(tmp_path.glob(".*.part"))


def wet(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(dew=frame.dew.astype(object).where(frame.index != 120, "wet"))


BAD = [
    (lambda f: f.drop(columns="dew"), ".csv", "column 'dew' is missing"),
    (wet, ".csv", "rows from 100 on: column 'dew', row 20: 'wet' is not a number"),
    (lambda f: f.assign(dew=f.dew.where(f.index != 3)), ".jsonl", "column 'dew', row 3: nan is not a finite number"),
    (lambda f: f.assign(dew=math.inf), ".parquet", "inf is not a finite number"),
    (lambda f: f.assign(dew=pd.Timestamp("2026-03-01")), ".parquet", "column 'dew', row 0: .* is not a number"),
]


def test_what_cannot_be_scored_is_named_and_nothing_is_written(
    ws, here: Path, tmp_path: Path, frame, monkeypatch
) -> None:
    monkeypatch.setattr(batch, "PIECE", 100)
    model = ws.registry.load(NAME)
    for spoil, ending, words in BAD:
        source = write(spoil(frame), tmp_path / f"in{ending}")
        with pytest.raises(ValueError, match=words):
            score_file(model, 1, source, tmp_path / f"out{ending}")
    (tmp_path / "ragged.csv").write_text("temperature,dew,wind\n1,2,3\n1,2\n")
    (tmp_path / "list.jsonl").write_text("[1, 2]\n")
    (tmp_path / "half.jsonl").write_text('{"temperature": 1, "de')
    (tmp_path / "latin.csv").write_bytes("temperature,dew,wind\n1,2,\xe9\n".encode("latin-1"))
    (tmp_path / "empty.csv").touch()
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "in.parquet").read_bytes()[:200])
    for name, code, words in [
        ("ragged.csv", 2, "line 3: 2 values under 3 names"),
        ("list.jsonl", 2, "line 1 is no JSON object"),
        ("half.jsonl", 2, "half.jsonl, line 1"),
        ("latin.csv", 2, "is not UTF-8"),
        ("empty.csv", 2, "has no header"),
        ("torn.parquet", 1, "is it whole"),
    ]:
        done = score(NAME, tmp_path / name, tmp_path / f"out{Path(name).suffix}")
        assert (done.exit_code, done.output.count("Traceback")) == (code, 0), done.output
        assert words in done.output.replace("\n", " ")
    for arguments, words in [
        ((NAME, tmp_path / "in.csv", tmp_path / "out.parquet"), "let its name end in .csv"),
        ((NAME, tmp_path / "in.csv", tmp_path / "out"), "of no format that is read"),
        ((NAME, tmp_path / "in.csv", tmp_path / "no" / "out.csv"), "does not exist; create it"),
        (("tony", tmp_path / "in.csv", tmp_path / "out.csv"), "no model 'tony'"),
        ((NAME, tmp_path / "in.csv", tmp_path / "out.csv", "--version", 9), "has no version 9"),
        ((NAME, tmp_path / "nowhere.csv", tmp_path / "out.csv"), "does not exist"),
    ]:
        done = score(*arguments)
        assert done.exit_code == 2 and words in done.output, done.output
    assert not list(tmp_path.glob("out*")) + list(tmp_path.glob(".*"))


def test_memory_does_not_grow_with_the_file(ws, here: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(batch, "PIECE", 2_000)
    table = pa.Table.from_pandas(rows(40_000, 5))
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=2_000)
    held: list[int] = []
    score_file(
        ws.registry.load(NAME), 1, tmp_path / "in.parquet", tmp_path / "out.parquet",
        tell=lambda done, total: held.append(pa.total_allocated_bytes()),
    )  # fmt: skip
    assert len(held) == 20 and held[-1] - held[1] < table.nbytes / 4


def test_text_gaps_truth_and_no_rows_at_all(tmp_path: Path) -> None:
    model = payments_model()
    rows_ = model.reference.iloc[:40].assign(kind=lambda f: f.kind.where(f.index != 3, "new, word"))
    for ending in (".parquet", ".csv", ".jsonl"):
        source, target = write(rows_, tmp_path / f"in{ending}"), tmp_path / f"out{ending}"
        done = score_file(model, 7, source, target)
        assert done.columns == ["p_maybe", "p_no", "p_yes", "model_version"]
        found = read(target)
        np.testing.assert_allclose(found[done.columns[:-1]], model.predict_proba(rows_), atol=1e-6)
    for ending in (".parquet", ".csv"):
        none, target = write(rows_.iloc[:0], tmp_path / f"none{ending}"), tmp_path / f"none-out{ending}"
        assert score_file(model, 7, none, target).rows == 0
        assert list(read(target)) == [*rows_, *done.columns]
