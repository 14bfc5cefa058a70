"""Files of a log: half written, growing, strange, partitioned; they are only read."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OneHotEncoder
from torch import nn

from selfheal import MonitoredModel
from selfheal.errors import UnavailableError
from selfheal.log.files import Files
from selfheal.log.foreign import Keeper, Standing
from selfheal.log.opening import open_log
from selfheal.log.places import Disk
from selfheal.log.rows import Bounded, Part, steadily
from selfheal.policy import Log
from selfheal.table import InferenceTable
from tests.log.conftest import predict
from tests.log.given import END, MINE, closed, csv, frame, jsonl, only, parquet, told
from tests.steering.given import NAME, START, toy


def test_parquet_half_written_stops_and_is_read_when_it_is_whole(source, tmp_path) -> None:
    parquet(frame(30), tmp_path / "log", "a")
    parquet(frame(20, first=30), tmp_path / "log", "b")
    path = tmp_path / "log" / "b.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    here = source()
    with pytest.raises(UnavailableError, match=r"b.parquet.* half written"):
        closed(here)
    assert "half written" in told(here)[0] and here.table.cycles(NAME) == []
    path.write_bytes(whole)
    assert only(source())[1].used == 50


@pytest.mark.parametrize(("write", "ending"), [(csv, "csv"), (jsonl, "jsonl")])
def test_of_text_that_grows_whole_lines_are_read(write, ending: str, source, tmp_path) -> None:
    """Cut anywhere: half a line would read like a whole one."""
    write(frame(20), tmp_path / "log", "a")
    path = tmp_path / "log" / f"a.{ending}"
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == 10]
    for cut in (0, 5, ends[0] + 1, ends[4] + 1, ends[4] + 9, ends[5], len(whole) - 1):
        path.write_bytes(whole[:cut])
        lines = sum(end < cut for end in ends) - (ending == "csv")
        assert sum(ref.rows for ref in closed(source(), START)) == 0
        here = source()
        assert len(here._placed(Part())) == max(lines, 0), cut
    path.write_bytes(whole[:-1])
    os.utime(path, (0, 0))
    assert only(source())[1].used == 20, "a last line may lack its end where nothing comes any more"
    if ending == "jsonl":
        path.write_bytes(whole[:-9])
        os.utime(path, (0, 0))
        with pytest.raises(UnavailableError, match=r"a.jsonl.* half written, or damaged"):
            closed(source())


def test_what_is_not_a_log_is_left_alone(source, tmp_path) -> None:
    parquet(frame(), tmp_path / "log", "a")
    for name in ("_SUCCESS", "_temporary/x.parquet", ".b.parquet", "c.parquet.tmp", "d.csv"):
        (tmp_path / "log" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "log" / name).write_bytes(b"")
    assert only(source())[1].used == 50


def test_an_empty_folder_is_no_error_and_a_lost_one_is(source, tmp_path) -> None:
    (tmp_path / "log").mkdir()
    here = source()
    assert closed(here) == [] and told(here) == [Standing(None, 0, 0)]
    os.rmdir(tmp_path / "log")
    with pytest.raises(UnavailableError, match="is its disk mounted"):
        closed(source())


def by_nobody(act: Callable[[], str]) -> str:
    """What an act says, in a child that has no rights, where this process has all; polars does not live there."""
    if os.geteuid():
        return act()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(30)
        try:
            os.setgroups([])
            os.setegid(65534)
            os.seteuid(65534)
            os.write(writing, act().encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as said:
        return said.read()


@pytest.mark.parametrize("what", ["", "day=1", "day=1/a.csv"])
@pytest.mark.parametrize("grows", [False, True])
def test_what_this_user_may_not_read_stops_and_is_named(what: str, grows: bool, tmp_path, monkeypatch) -> None:
    """A folder that may not be listed, one below it too: its rows would be missed without a word."""
    monkeypatch.chdir(tmp_path)  # by relative paths, for nobody may come here from the root
    tmp_path.chmod(0o755)
    log, mine = Path("log"), Path("log", "_mine")
    for day in (1, 2):
        csv(frame(5, first=5 * day), log / f"day={day}", "a")
        os.utime(log / f"day={day}" / "a.csv", None if grows else (0, 0))
    csv(frame(5), mine, "a")

    def read() -> str:
        rows = Files(Disk(log))
        try:
            return str(len(steadily(rows, lambda: [*rows.scan(["temp"], Part(), Bounded())])))
        except UnavailableError as error:
            return str(error)

    mine.chmod(0o000)
    (log / what).chmod(0o000)
    try:
        said = by_nobody(read)
    finally:
        (log / what).chmod(0o755)
    assert said.startswith("the log log") and "may this user read it?" in said, said
    assert what in said and "Permission denied" in said and "half written" not in said
    assert by_nobody(lambda: str(len(Disk(log).files()))) == "2", "what is no part of the log is not looked into"
    mine.chmod(0o755)


def test_nothing_is_written_there(source, tmp_path) -> None:
    parquet(frame(), tmp_path / "log", "a")
    os.chmod(tmp_path / "log", 0o555)
    before = {p: p.stat() for p in (tmp_path / "log").iterdir()}
    only(source())
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "log").iterdir()} == {
        p: stat.st_mtime_ns for p, stat in before.items()
    }
    os.chmod(tmp_path / "log", 0o755)


def test_a_line_with_too_many_values_is_no_row(source, tmp_path) -> None:
    for name, first in (("a", 0), ("b", 50), ("c", 100)):
        csv(frame(first=first, every=10), tmp_path / "log", name)
        os.utime(tmp_path / "log" / f"{name}.csv", (0, 0))
    with (tmp_path / "log" / "b.csv").open("a") as file:
        file.write("1,2,3,r999,2026-01-01T00:10:00Z,6,7\n")
    os.utime(tmp_path / "log" / "b.csv", (0, 0))
    here = source()
    (ref,) = closed(here)
    with pytest.raises(UnavailableError, match=r"b.csv cannot be read \(found more fields than .*, or damaged"):
        here.read(ref)


def test_a_partition_may_be_a_feature(tmp_path, model) -> None:
    other = toy()
    other.dtypes = {"site": "str", "depth": "int", "dew": "float"}
    table = InferenceTable(f"sqlite:///{tmp_path}/other.db")
    table.create(NAME, other.dtypes, [0, 1])
    held = frame(4)[["request", "ts", "dew"]].assign(p=0.5)
    for site, depth, rows_ in (("007", 3, held[:2]), ("012", 12, held[2:])):
        parquet(rows_, tmp_path / "log" / f"site={site}" / f"depth={depth}", "a")
    log = Log.model_validate({"from": str(tmp_path / "log"), "columns": MINE | {"probabilities": ["p"]}})
    here = open_log(log, table, other, NAME, Keeper(lambda: ((0, 1),), predict(model), print, print), END)
    window, tally = only(here)
    assert window.frame["site"].tolist() == ["007", "007", "012", "012"]
    assert window.frame["depth"].tolist() == [3, 3, 12, 12] and tally.refused == ()
    table.close()


@pytest.mark.parametrize(("known", "new", "what"), [(["a", "b"], "new", "word"), ([3, 4], 3.5, "value")])
def test_what_the_models_encoder_refuses_is_counted_and_left_out(known, new, what, tmp_path) -> None:
    """A probability was logged for them all the same: another service answers what it does not know."""
    rows = pd.DataFrame({"site": known * 100, "dew": np.arange(200.0), "y": [0, 1] * 100})
    encoder = ColumnTransformer([("w", OneHotEncoder(sparse_output=False), ["site"]), ("n", "passthrough", ["dew"])])
    encoder.fit(rows)
    other = MonitoredModel(nn.Linear(3, 2), nn.Linear(2, 2), rows, target="y", preprocess=encoder)
    table = InferenceTable(f"sqlite:///{tmp_path}/other.db")
    table.create(NAME, other.dtypes, [0, 1])
    held = frame(5)[["request", "ts"]].assign(p=0.5, site=[known[0], new, known[1], new, known[0]], dew=1.0)
    parquet(held, tmp_path / "log", "a")
    log = Log.model_validate({"from": str(tmp_path / "log"), "columns": MINE | {"probabilities": ["p"]}})
    here = open_log(log, table, other, NAME, Keeper(lambda: ((0, 1),), predict(other), print, print), END)
    window, tally = only(here)
    assert window.frame["site"].tolist() == [known[0], known[1], known[0]]
    assert [str(r) for r in tally.refused] == [f"2 rows: a {what} that preprocessing refuses 'site'"]
    table.close()


def test_a_feature_that_only_new_files_have(source, tmp_path) -> None:
    parquet(frame(20).drop(columns="dew"), tmp_path / "log", "a")
    parquet(frame(30, first=20), tmp_path / "log", "b")
    window, tally = only(source())
    assert len(window.frame) == 30 and [str(r) for r in tally.refused] == ["20 rows: missing column 'dew'"]


def test_rows_are_in_order_of_time_however_they_lie(source, tmp_path) -> None:
    parquet(frame().sample(frac=1, random_state=0), tmp_path / "log", "a")
    window, _ = only(source())
    assert window.frame.index.tolist() == [f"r{i}" for i in range(50)]
