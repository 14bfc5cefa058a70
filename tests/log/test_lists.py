"""An embedding as one column of lists: every place of rows is read as one with a column for each of its numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sqlalchemy as sa
from click.testing import CliRunner, Result
from mlflow.exceptions import MlflowException

import selfheal
from selfheal.adapter import Adapter
from selfheal.cli import main
from selfheal.errors import InputError
from selfheal.log.foreign import Foreign, Keeper
from selfheal.log.opening import open_log
from selfheal.loop import monitor
from selfheal.policy import Log, WindowSpec
from selfheal.registry.adoption import adopt_model
from selfheal.steering.models import serving_pointer
from selfheal.table import InferenceTable
from tests.core.lists import NAMES, WIDTH, apart, model, put, rows
from tests.log.given import csv, delta, jsonl, parquet, said
from tests.steering.conftest import closed, copied
from tests.steering.given import START, workspace_at

pytestmark = pytest.mark.xdist_group("loop")  # one home, adopted once; Evidently and the fork server are loaded once

NAME, N, HEALTHY = "embedded", 200, 1
END = START + timedelta(seconds=N * (HEALTHY + 1))
LOG = {"columns": {"prediction_id": "id", "event_time": "ts", "order": "number"}, "rename": {"vector": "embedding"}}
POLICY = {
    "model": NAME,
    "declare": {"measurement": NAMES},
    "monitor": {"window": f"{N} rows", "min_rows": 100, "lateness": "0s"},
    "heal": {"patience": [1, 1], "cooldown": "1m", "max_changed": 0.9},
    "release": {"ambiguous": "promote"},
}


def logged(frame: pd.DataFrame, first: int = 0) -> pd.DataFrame:
    """As its owner's service logs it."""
    numbers = range(first, first + len(frame))
    times = pd.to_datetime([START + timedelta(seconds=k) for k in numbers], utc=True)
    held = frame.drop(columns="y").assign(id=[f"r{k}" for k in numbers], ts=times, number=numbers)
    return held.rename(columns={"embedding": "vector"})


def as_lists(frame: pd.DataFrame, name: str = "vector") -> pd.DataFrame:
    return frame.assign(**{name: frame[name].map(lambda v: v.tolist() if isinstance(v, np.ndarray) else v)})


def fixed(frame: pd.DataFrame, folder: Path, name: str) -> None:
    folder.mkdir(parents=True)
    made = pl.from_pandas(frame).with_columns(pl.col("vector").list.to_array(WIDTH))
    made.write_parquet(folder / f"{name}.parquet")


def merged(frame: pd.DataFrame, folder: Path, name: str) -> None:
    """A table whose later rows have a column for each number: its schema has both."""
    late = apart(frame[5:].rename(columns={"vector": "embedding"}))
    both = pd.concat([as_lists(frame[:5]), late]).astype({"vector": object})
    delta(both.assign(vector=both["vector"].where(both["vector"].notna(), None)), folder, name)


@pytest.fixture(scope="module")
def held():
    return model(name=NAME)


@pytest.fixture
def opened(tmp_path: Path, held):
    """Opens a log, and gives its one window with what was refused."""
    table = InferenceTable(f"sqlite:///{tmp_path}/state.db")
    table.create(NAME, held.dtypes, [0, 1])

    def found(**keys: Any) -> tuple[pd.DataFrame, dict[tuple[str, str], int]]:
        keeper = Keeper(lambda: ((0, 1),), lambda version, frame: held.predict_proba(frame), print, print)
        log = Log.model_validate({"from": str(tmp_path / "log"), **LOG} | keys)
        source: Foreign = open_log(log, table, held, NAME, keeper, END)
        (ref,) = source.closed_windows(
            WindowSpec.parse("1h"), until=END + timedelta(hours=2), lateness=timedelta(0), min_rows=1
        )
        return source.read(ref).frame, {(r.reason, r.column): r.rows for r in source.tally(ref).refused}

    yield found
    table.close()


WRITERS: dict[str, Callable[[pd.DataFrame, Path, str], None]] = {
    "a Parquet file of lists": parquet,
    "a Parquet file of lists of fixed size": fixed,
    "JSON lines": lambda frame, folder, name: jsonl(as_lists(frame), folder, name),
    "JSON lines of words": lambda frame, folder, name: jsonl(
        frame.assign(vector=frame["vector"].map(lambda v: [str(x) for x in v.tolist()])), folder, name
    ),
    "a Delta table": lambda frame, folder, name: delta(as_lists(frame), folder, name),
    "a Delta table whose later rows have columns": merged,
    "columns": lambda frame, folder, name: parquet(apart(frame.rename(columns={"vector": "embedding"})), folder, name),
}


@pytest.mark.parametrize("what", WRITERS)
def test_lists_in_a_log_are_read_as_columns(what: str, opened, tmp_path, held) -> None:
    frame = rows(12, 3)
    WRITERS[what](logged(frame), tmp_path / "log", "a")
    found, refused = opened()
    expected = held.check_rows(frame).astype({"code": float}).set_index(found.index)
    pd.testing.assert_frame_equal(found.astype({"code": float}), expected, check_exact=True)
    assert refused == {}


@pytest.mark.prove
def test_arrays_of_postgresql_are_read_as_columns(postgres, opened, tmp_path, held) -> None:
    frame = as_lists(logged(rows(12, 3)))
    frame.to_sql("arrays", postgres, index=False, if_exists="replace", dtype={"vector": sa.ARRAY(sa.Float(53))})
    where = postgres.url.render_as_string(hide_password=False)
    found, refused = opened(**{"from": where, "table": "arrays"})
    pd.testing.assert_frame_equal(found[NAMES], held.check_rows(rows(12, 3))[NAMES].set_index(found.index))
    assert refused == {}


def test_a_row_whose_list_is_none_costs_itself_and_is_counted(opened, tmp_path) -> None:
    bad = rows(12, 3)
    for row, value in enumerate(([0.5] * 15, None, [*[0.5] * 15, None], [*[0.5] * 15, float("inf")], [])):
        bad = put(bad, row, value)
    parquet(logged(bad), tmp_path / "log", "a")
    found, refused = opened()
    assert found.index.tolist() == [f"r{k}" for k in range(5, 12)]
    of_list = {("wrong length", "embedding"): 2, ("null", "embedding"): 1}
    assert refused == of_list | {("null", "embedding_15"): 1, ("not finite", "embedding_15"): 1}


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda frame, at: csv(as_lists(frame), at, "a"), ("not a list", "embedding")),
        (lambda frame, at: parquet(frame.drop(columns="vector"), at, "a"), ("missing column", "embedding")),
        (lambda frame, at: parquet(frame.assign(vector=1.5), at, "a"), ("not a list", "embedding")),
        (lambda frame, at: parquet(frame.assign(vector=None), at, "a"), ("null", "embedding")),
        (lambda frame, at: parquet(frame.assign(vector=[["a"] * 16] * 12), at, "a"), ("not a number", "embedding_0")),
    ],
)
def test_a_log_without_lists_is_a_fault_of_that_column(write, reason, opened, tmp_path) -> None:
    write(logged(rows(12, 3)), tmp_path / "log")
    found, refused = opened()
    assert found.empty and refused == {reason: 12}


@pytest.fixture(scope="module")
def adopted_home(template: Path, held, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the model is adopted beside another one, with a log of windows, the last in thousandths."""
    ws = workspace_at(copied(template, tmp_path_factory.mktemp("adopted") / "home"))
    adopt_model(NAME, held.with_policy(POLICY), ws.registry, ws.table)
    return closed(ws)


def test_a_name_for_lists_that_the_model_has_not_is_refused(tmp_path) -> None:
    plain = model(apart(rows(300, 1)), in_memory=True)
    keeper = Keeper(lambda: ((0, 1),), lambda version, frame: plain.predict_proba(frame), print, print)
    log = Log.model_validate({"from": str(tmp_path), **LOG})
    plain.with_policy({"log": log.model_dump(mode="json", by_alias=True)})
    table = InferenceTable(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(InputError, match=r"calls 'vector' by 'embedding', and .* such as embedding_0"):
        open_log(log, table, plain, NAME, keeper, END)
    table.close()


def test_a_gain_of_the_block_is_healed_alike_and_everyone_answers_by_it(
    adopted_home: Path, tmp_path: Path, held, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = [*(rows(N, 100 + k) for k in range(HEALTHY)), rows(N, 206, gain=0.001)]
    every = pd.concat([logged(frame, k * N) for k, frame in enumerate(frames)], ignore_index=True)
    answers = []
    for name, frame in (("columns", apart(every.rename(columns={"vector": "embedding"}))), ("lists", every)):
        parquet(frame, tmp_path / name, "a")
        ws = workspace_at(copied(adopted_home, tmp_path / f"{name}-home"))
        content = POLICY | {"log": {"from": str(tmp_path / name), **LOG}}
        (ws.settings.rules / f"{NAME}.yaml").write_text(json.dumps(content))
        answers.append((said(monitor(ws, NAME, END)), serving_pointer(ws, NAME).adapter))
        ws.table.close()
    assert answers[0] == answers[1]
    *_, last = answers[0][0]
    assert (
        last[4] == "heal" and last[6][:2] == ("promote", "sensor") and {*last[6][3]} == {f"{n}: ×1000" for n in NAMES}
    )

    unseen = rows(300, 7, gain=0.001)
    healed = held.with_adapter(Adapter.from_bytes(answers[0][1]))
    lost, back = (float((m.predict(unseen) == unseen["y"]).mean()) for m in (held, healed))
    assert lost < 0.6 and back > 0.9, (lost, back)

    expected = healed.predict_proba(unseen)
    with selfheal.follow(NAME, log=True, settings=ws.settings) as follower:
        for frame in (unseen, apart(unseen), pl.from_pandas(unseen)):
            np.testing.assert_allclose(follower.predict_proba(frame), expected, atol=1e-6)
        with pytest.raises(InputError, match="column 'embedding', row 3: a list of 15, and"):
            follower.predict_proba(put(unseen, 3, [0.5] * 15))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ws.settings.tracking_uri)
    served = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    whole = put(unseen, 3, [0] * WIDTH)  # of whole numbers alone, which MLflow takes for no fractions
    for frame in (each.drop(columns="y") for each in (unseen, as_lists(unseen, "embedding"), whole)):
        np.testing.assert_allclose(served.predict(frame).to_numpy(), healed.predict_proba(frame))
    with pytest.raises(MlflowException, match=r"missing inputs \['embedding'\]"):
        served.predict(apart(unseen).drop(columns="y"))
    with pytest.raises(InputError, match="column 'embedding', row 3: a list of 15"):
        served.predict(put(unseen, 3, [0.5] * 15).drop(columns="y"))


@pytest.mark.parametrize("ending", [".parquet", ".jsonl", ".csv"])
def test_a_file_with_lists_is_scored(adopted_home: Path, tmp_path: Path, held, ending: str, monkeypatch) -> None:
    monkeypatch.setenv("SELFHEAL_HOME", str(copied(adopted_home, tmp_path / "home")))
    write = {
        ".parquet": lambda frame, path: frame.to_parquet(path),
        ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True),
        ".csv": lambda frame, path: frame.to_csv(path, index=False),
    }[ending]
    frame, source, target = rows(30, 3), tmp_path / f"in{ending}", tmp_path / f"out{ending}"

    def score(given: pd.DataFrame) -> Result:
        write(given, source)
        return CliRunner().invoke(main, ["score", NAME, str(source), str(target), "--force"])

    if ending == ".csv":
        done = score(as_lists(frame, "embedding"))
        assert done.exit_code == 2 and "or the columns embedding_0 to embedding_15: give the latter" in done.output
        assert score(apart(frame)).exit_code == 0
        return
    assert (done := score(frame)).exit_code == 0, done.output
    found = pd.read_parquet(target) if ending == ".parquet" else pd.read_json(target, lines=True)
    np.testing.assert_allclose(found[["p_0", "p_1"]], held.predict_proba(frame), atol=1e-6)
    assert np.stack(found["embedding"]).shape == (30, WIDTH) and len(found.columns) == len(frame.columns) + 3
    kept = target.read_bytes()
    done = score(put(frame, 3, [0.5] * 15))
    assert done.exit_code == 2 and "column 'embedding', row 3: a list of 15, and a list of 16" in done.output
    assert target.read_bytes() == kept
