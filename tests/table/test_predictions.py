from __future__ import annotations

import pickle
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from selfheal.errors import InputError, NotFoundError, UnavailableError
from selfheal.policy import WindowSpec
from selfheal.table import InferenceTable, WindowRef
from selfheal.table.values import event_us

T0 = datetime(1950, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = WindowRef("m", 0, T0 - 1000 * HOUR, T0 + 1000 * HOUR, 0, 1, False)


def test_rows_come_back_as_they_were_sent(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    sent = rows([T0 + timedelta(minutes=i) for i in (3, 1, 2)], version=7)
    table.append("m", **sent)
    window = table.read(ALL)
    order = [1, 2, 0]
    expected = sent["frame"].iloc[order]
    expected.index = pd.Index([sent["prediction_ids"][i] for i in order], name="prediction_id")
    pd.testing.assert_frame_equal(window.frame, expected)
    np.testing.assert_array_equal(window.probabilities, sent["probabilities"][order])
    assert window.versions.tolist() == [7, 7, 7]
    assert list(window.event_times) == [sent["event_times"][i] for i in order]
    assert window.labels.isna().all()


def test_missing_values_stay_missing(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    sent = rows([T0, T0 + HOUR])
    sent["frame"] = sent["frame"].astype(object)
    sent["frame"].loc[0] = [np.nan, None, None, None]
    table.append("m", **sent)
    frame = table.read(ALL).frame
    assert frame.iloc[0].isna().all()
    assert frame["amount"].dtype == np.float64
    assert frame["count"].tolist()[1] == sent["frame"]["count"][1]
    assert frame["night"].tolist()[1] == sent["frame"]["night"][1]


def test_odd_texts_and_numbers_come_back_to_the_bit(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    texts = ["NULL", "", '"', "\\", '\\"', "{a,b}", "a, b ", "\n\t", "\u00e7\U0001f600", "%s", "'", "null"]
    amounts = [1e308, 5e-324, 0.0, 0.1, 1 / 3, -1e-300, 2.0**53 + 2, 123456789.123456789, 1.0, 2.5, np.float64(0.3), 3]
    first = event_us(T0)
    sent = [(f"{i} {text}", first + i, amounts[i], 1.0, 0.0, text, 0.25, 0.75, 1, 0.1) for i, text in enumerate(texts)]
    table.append_rows("m", sent)
    frame = table.read(ALL).frame
    assert frame["kind"].tolist() == texts and frame.index.tolist() == [row[0] for row in sent]
    assert frame["amount"].to_numpy().tobytes() == np.array(amounts, dtype=np.float64).tobytes()


def test_decimals_in_a_column_of_whole_numbers_are_kept(table, rows, house):
    """As when °F turn into °C: the rows that matter most must not be refused or rounded."""
    table.create("m", house.dtypes, house.classes)
    sent = rows([T0, T0])
    sent["frame"]["count"] = [21.7, -3.0]
    sent["frame"]["night"] = [0.5, 2.0]
    table.append("m", **sent)
    frame = table.read(ALL).frame
    assert frame["count"].tolist() == [21.7, -3.0]
    assert frame["night"].tolist() == [0.5, 2.0]


def test_an_empty_window_has_the_columns(table, house):
    table.create("m", house.dtypes, house.classes)
    window = table.read(ALL)
    assert list(window.frame.columns) == list(house.dtypes)
    assert window.probabilities.shape == (0, 2)
    assert len(window.labels) == len(window.event_times) == 0


def test_a_retried_append_changes_nothing(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    sent = rows([T0, T0 + HOUR])
    table.append("m", **sent)
    table.append("m", **(sent | {"version": 9}))
    third = rows([T0 + HOUR, T0 + 2 * HOUR], ids=[sent["prediction_ids"][1], "new"])
    table.append("m", **third)
    window = table.read(ALL)
    assert window.frame.index.tolist() == [*sent["prediction_ids"], "new"]
    assert window.versions.tolist() == [1, 1, 1]


def test_a_bounded_read_spreads_over_the_window(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    minutes = np.random.default_rng(0).permutation(500)
    table.append("m", **rows([T0 + timedelta(minutes=int(m)) for m in minutes]))
    times = table.read(ALL, limit=50).event_times
    assert len(times) == 50
    assert set(np.diff(times)) == {np.timedelta64(10, "m")}
    assert len(table.read(ALL, limit=5000).frame) == 500


def test_awkward_columns_and_names(table):
    dtypes = {"p_0": "float", "Amount": "float", "amount": "float", "x" * 80: "int", "seq": "int", "a b\"; --'": "str"}
    table.create("Odd-model-1", dtypes, ["no", "yes"])
    frame = pd.DataFrame([[1.5, 2.5, 3.5, 4, 5, "six"]], columns=list(dtypes))
    table.append(
        "Odd-model-1",
        frame=frame[frame.columns[::-1]],
        probabilities=np.array([[0.25, 0.75]]),
        prediction_ids=["a"],
        event_times=[T0],
        version=1,
        latency_ms=1,
    )
    got = table.read(WindowRef("Odd-model-1", 0, T0, T0 + HOUR, 1, 1, False)).frame
    pd.testing.assert_frame_equal(got.reset_index(drop=True), frame)


def test_create_again_is_nothing_and_a_changed_schema_is_refused_by_name(table, house):
    table.create("m", house.dtypes, np.array(house.classes))
    table.create("m", house.dtypes, house.classes)
    with pytest.raises(InputError, match="'kind' is missing; column 'rate' is new; column 'count' is float, was int"):
        table.create("m", {"amount": "float", "count": "float", "night": "bool", "rate": "float"}, house.classes)
    with pytest.raises(InputError, match=r"classes are \[0, 1, 2\], were \[0, 1\]"):
        table.create("m", house.dtypes, (0, 1, 2))
    with pytest.raises(InputError, match="differs from 'm' only in case"):
        table.create("M", house.dtypes, house.classes)


@pytest.mark.parametrize(
    ("name", "dtypes", "classes", "words"),
    [
        ("a/b", {"x": "float"}, (0, 1), "cannot name a model"),
        ("", {"x": "float"}, (0, 1), "cannot name a model"),
        ("m", {"x": "complex"}, (0, 1), "'x' has dtype 'complex'; known are float, int, bool, str"),
        ("m", {"x": "float"}, (1,), "at least two different classes"),
    ],
)
def test_what_cannot_be_created(table, name, dtypes, classes, words):
    with pytest.raises(InputError, match=words):
        table.create(name, dtypes, classes)


def test_an_unknown_model_is_named(table, rows, house):
    table.create("fraud", house.dtypes, house.classes)
    with pytest.raises(NotFoundError, match=r"no model 'fruad' in .*; did you mean 'fraud'"):
        table.append("fruad", **rows([T0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"prediction_ids": [""]}, "'' is not a prediction id"),
        ({"prediction_ids": ["a\nb"]}, "is not a prediction id"),
        ({"prediction_ids": ["x" * 129]}, "is not a prediction id: 1 to 128"),
        ({"prediction_ids": []}, "1 rows need"),
        ({"event_times": [datetime(2020, 1, 1)]}, "has no time zone"),
        ({"frame": pd.DataFrame({"amount": [1.0]})}, "column 'count' of model 'm' is missing"),
    ],
)
def test_bad_rows_are_refused_and_none_is_written(table, rows, house, change, words):
    table.create("m", house.dtypes, house.classes)
    with pytest.raises(InputError, match=words):
        table.append("m", **(rows([T0]) | change))
    assert len(table.read(ALL).frame) == 0


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("kind", "a\x00b", "NUL"),
        ("amount", "many", "'amount' holds a value that is not a number"),
        ("count", 10**400, "'count' holds"),
    ],
)
def test_values_that_do_not_fit(table, rows, house, column, value, words):
    table.create("m", house.dtypes, house.classes)
    sent = rows([T0])
    sent["frame"] = sent["frame"].astype(object)
    sent["frame"].at[0, column] = value
    with pytest.raises(InputError, match=words):
        table.append("m", **sent)


def test_a_table_travels_to_another_process(table, rows, house):
    table.create("m", house.dtypes, house.classes)
    copy = pickle.loads(pickle.dumps(table))
    copy.append("m", **rows([T0]))
    copy.close()
    assert len(table.read(ALL).frame) == 1


def test_many_threads_append_at_once(table, rows, house):
    from concurrent.futures import ThreadPoolExecutor

    table.create("m", house.dtypes, house.classes)
    batches = [rows([T0 + timedelta(seconds=i)] * 20) for i in range(20)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda batch: table.append("m", **batch), batches))
    window = table.read(ALL)
    assert len(window.frame) == window.frame.index.nunique() == 400


def test_a_removed_sqlite_file_is_noticed_and_not_recreated(tmp_path: Path, rows, house):
    path = tmp_path / "selfheal.db"
    table = InferenceTable(f"sqlite:///{path}")
    table.create("m", house.dtypes, house.classes)
    table.append("m", **rows([T0]))
    held = path.read_bytes()
    assert held
    away = tmp_path / "away.db"
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").rename(f"{away}{suffix}")
    with pytest.raises(UnavailableError, match=r"selfheal\.db cannot be used.*SELFHEAL_DATABASE_URL"):
        table.append("m", **rows([T0]))
    assert not path.exists()
    for suffix in ("", "-wal", "-shm"):
        Path(f"{away}{suffix}").rename(f"{path}{suffix}")
    table.append("m", **rows([T0 + HOUR], ids=["back"]))
    assert table.read(ALL).frame.index.tolist() == ["r0", "back"]
    table.close()


def test_an_unreachable_server_is_named_without_its_password():
    table = InferenceTable("postgresql://someone:sesame@127.0.0.1:9/none")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9/none cannot be used") as caught:
        table.pointer("m")
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "words"),
    [("mysql://x/y", "'mysql' is not supported"), ("sqlite://", "in-memory"), ("nothing", "not a SQLAlchemy URL")],
)
def test_urls_that_cannot_serve(url, words):
    with pytest.raises(InputError, match=words):
        InferenceTable(url)


def test_a_file_that_is_no_database_is_named(tmp_path: Path):
    path = tmp_path / "selfheal.db"
    path.write_bytes(b"not a database, whatever its name says. " * 100)
    with pytest.raises(UnavailableError, match="file is not a database"):
        InferenceTable(f"sqlite:///{path}").pointer("m")
    assert path.read_bytes().startswith(b"not a database")


def test_two_processes_make_the_same_database_at_once(url):
    code = (
        "import sys; from selfheal.table import InferenceTable; t = InferenceTable(sys.argv[1]);"
        "t.create('m', {'x': 'float'}, (0, 1)); t.pointer('m'); t.close()"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for child in children:
        assert (child.communicate(timeout=60)[1], child.returncode) == ("", 0)


def test_reading_many_rows_is_column_wise(tmp_path: Path):
    """50k rows of 20 columns: a guard against row-wise pandas (seconds), far above what it takes (0.3 s)."""
    table = InferenceTable(f"sqlite:///{tmp_path}/t.db")
    names = [f"x{i}" for i in range(20)]
    table.create("m", dict.fromkeys(names, "float"), (0, 1))
    n = 50_000
    values = np.random.default_rng(0).normal(size=(n, 20))
    rows = [(f"i{i}", i, *row, 0.5, 0.5, 1, 1.0) for i, row in enumerate(values.tolist())]
    table.append_rows("m", rows)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    (ref,) = table.closed_windows(
        "m", WindowSpec(duration=HOUR), until=epoch + 2 * HOUR, lateness=timedelta(0), min_rows=1
    )
    began = time.process_time()
    window = table.read(ref)
    assert time.process_time() - began < 10
    np.testing.assert_array_equal(window.frame.to_numpy(), values)
    table.close()
