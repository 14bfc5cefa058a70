"""Rows of a log elsewhere: cast, placed, counted, or refused by name. No MLflow: the model and a state database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

import numpy as np
import pandas as pd
import pytest

from selfheal.errors import InputError
from selfheal.log.foreign import Keeper, Standing, thinned
from selfheal.log.opening import open_log
from selfheal.policy import Log, WindowSpec
from selfheal.table import InferenceTable
from tests.log.conftest import predict
from tests.log.given import END, FILES, MINE, closed, csv, frame, jsonl, only, parquet, told
from tests.steering.given import NAME, START, toy


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("spec", [WindowSpec(duration=timedelta(minutes=10)), WindowSpec(rows=7)], ids=str)
def test_windows_are_those_of_the_own_table(kind, spec, source, tmp_path, model) -> None:
    """Whatever comes when: pauses, bursts, several looks, windows that are joined, a policy with other windows."""
    own = InferenceTable(f"sqlite:///{tmp_path}/own.db")
    own.create(NAME, model.dtypes, [0, 1])
    rng = np.random.default_rng(4)
    at, looks = 0.0, []
    for part in range(4):
        every = frame(20, part, first=part * 20)
        seconds = at + np.cumsum(rng.exponential(rng.choice([20.0, 400.0]), 20))
        every["ts"] = pd.to_datetime([START + timedelta(seconds=round(s)) for s in seconds], utc=True)
        every["number"] = range(part * 20 + 1, part * 20 + 21)
        at = float(seconds[-1])
        FILES[kind](every, tmp_path / "log", f"part{part}")
        features = every[list(model.features)]
        own.append(
            NAME, frame=features, probabilities=model.predict_proba(features), prediction_ids=list(every["request"]),
            event_times=list(every["ts"]), version=1, latency_ms=1.0,
        )  # fmt: skip
        until = START + timedelta(seconds=at - 300)
        if part == 3:
            spec = WindowSpec(duration=timedelta(minutes=7)) if spec.rows is None else WindowSpec(rows=3)
        here = source(columns=MINE | {"order": "number"})
        expected = own.closed_windows(NAME, spec, until=until, lateness=timedelta(0), min_rows=8)
        found = closed(here, until, spec, 8)
        assert found == expected
        looks.append(len(found))
        for ref in expected[:2]:
            pd.testing.assert_frame_equal(here.read(ref).frame, own.read(ref).frame)
            for state in (own, here.table):
                state.record_cycle(NAME, ref.index, {"decision": "stable"})
    later = WindowSpec(rows=5) if spec.rows is None else WindowSpec(duration=timedelta(minutes=1))
    until = START + timedelta(seconds=at + 600)
    expected = own.closed_windows(NAME, later, until=until, lateness=timedelta(0), min_rows=1)
    assert closed(source(columns=MINE | {"order": "number"}), until, later) == expected
    assert sum(looks) > 3
    own.close()


def test_the_schema_casts_what_the_format_lost(tmp_path, table, model) -> None:
    other = toy()
    other.dtypes = {"temperature": "float", "dew": "int", "wind": "bool", "kind": "str"}
    other.nullable = frozenset({"dew", "kind"})
    table = InferenceTable(f"sqlite:///{tmp_path}/other.db")
    table.create(NAME, other.dtypes, [0, 1])
    held = frame(4)[["request", "ts"]].assign(
        temperature=["1.5", " 2 ", "1e2", "-3"], dew=[1.0, 2.0, None, 4.0], wind=["True", "no", "1", "f"],
        kind=pd.Categorical(["a", "b", None, "a"]),
    )  # fmt: skip
    parquet(held, tmp_path / "log", "a")
    parquet(held.assign(kind=[1.0, 2.0, 3.5, 4.0], request=list("wxyz"), wind=True), tmp_path / "log", "b")
    log = Log.model_validate({"from": str(tmp_path / "log"), "columns": MINE})
    here = open_log(log, table, other, NAME, Keeper(lambda: ((0, 1),), predict(model), print, print), END)
    here = replace(here, keeper=replace(here.keeper, predict=lambda v, f: np.full((len(f), 2), 0.5)))
    (ref,) = closed(here)
    found = here.read(ref).frame
    assert found["temperature"].tolist()[::2] == [1.5, 2.0, 100.0, -3.0]
    assert found["wind"].tolist()[::2] == [True, False, True, False] and found["wind"].dtype == bool
    assert found["dew"].tolist()[:4] == [1, 1, 2, 2] and np.isnan(found["dew"].iloc[4])
    assert found["kind"].tolist() == ["a", "1", "b", "2", None, "3.5", "a", "4"]
    table.close()


def spoil(kind: str, held: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, str, int]]:
    """Rows with one fault, and how it is counted."""
    held = held.copy()
    if kind == "null id":
        held.loc[[1, 2], "request"] = None
        return held, ("id", "request", 2)
    if kind == "long id":
        held.loc[1, "request"] = "x" * 129
        return held, ("id", "request", 1)
    if kind == "sent twice":
        return pd.concat([held, held[:5]]), ("repeated", "", 5)
    if kind == "one id":
        held.loc[:9, "request"] = "r0"
        return held, ("one id for several predictions", "request", 9)
    if kind == "text":
        held["dew"] = held["dew"].astype(str)
        held.loc[3, "dew"] = "warm"
        return held, ("not a number", "dew", 1)
    if kind == "null":
        held.loc[3:5, "dew"] = None
        return held, ("null", "dew", 3)
    held.loc[3, "dew"] = np.inf
    return held, ("not finite", "dew", 1)


@pytest.mark.parametrize("write", [parquet, csv], ids=["parquet", "csv"])
@pytest.mark.parametrize("kind", ["null id", "long id", "sent twice", "one id", "text", "null", "infinite"])
def test_a_row_that_cannot_be_used_is_counted(kind: str, write, source, tmp_path) -> None:
    held, expected = spoil(kind, frame())
    write(held, tmp_path / "log", "a")
    window, tally = only(source())
    assert [(r.reason, r.column, r.rows) for r in tally.refused] == [expected]
    assert tally.used == len(window.frame) == len(held) - expected[2]
    assert tally.size == len(held)
    assert window.frame.index.is_unique and window.frame.notna().all().all()


@pytest.mark.parametrize("kind", ["null", "off", "words", "sum"])
def test_probabilities_that_are_none_are_counted(kind: str, source, tmp_path) -> None:
    held = frame().assign(hot=0.25, cold=0.75)
    held["hot"] = held["hot"].astype(object)
    held.loc[4, "hot"] = {"null": None, "off": 1.5, "words": "high", "sum": 0.35}[kind]
    jsonl(held, tmp_path / "log", "a")
    window, tally = only(source(columns=MINE | {"probabilities": ["cold", "hot"]}))
    assert [(r.reason, r.column, r.rows) for r in tally.refused] == [("no probabilities", "cold, hot", 1)]
    assert (window.probabilities == [0.75, 0.25]).all()


def test_one_probability_is_that_of_the_last_class(source, tmp_path) -> None:
    parquet(frame().assign(hot=0.25), tmp_path / "log", "a")
    assert (only(source(columns=MINE | {"probabilities": ["hot"]}))[0].probabilities == [0.75, 0.25]).all()


def test_what_is_not_said_is_the_journals(source, tmp_path, model) -> None:
    """Versions by what served then, probabilities by those versions."""
    parquet(frame(), tmp_path / "log", "a")
    turned = int((START + timedelta(minutes=30)).timestamp() * 1e6)
    window, _ = only(source(since=((turned - 10, 1), (turned, 7))))
    assert window.versions.tolist() == [1] * 30 + [7] * 20
    proba = model.predict_proba(window.frame)
    assert np.array_equal(window.probabilities, np.vstack([proba[:30], proba[30:, ::-1]]))


def test_a_version_may_be_null_and_not_nonsense(source, tmp_path) -> None:
    held = frame().assign(v=["3", None, "v3"] + ["4"] * 47)
    parquet(held, tmp_path / "log", "a")
    window, tally = only(source(columns=MINE | {"version": "v"}))
    assert window.versions.tolist()[:3] == [3, 1, 4]
    assert [str(r) for r in tally.refused] == ["1 rows: no version 'v'"]


@pytest.mark.parametrize(
    "times",
    [
        lambda at: at.map(lambda t: t.timestamp()),
        lambda at: at.map(lambda t: int(t.timestamp())),
        lambda at: at.map(lambda t: int(t.timestamp() * 1e3)),
        lambda at: at.map(lambda t: int(t.timestamp() * 1e6)),
        lambda at: at.map(lambda t: t.value),
        lambda at: at.map(lambda t: str(int(t.timestamp() * 1e3))),
        lambda at: at.map(lambda t: t.isoformat().replace("+00:00", "Z")),
        lambda at: at.map(lambda t: str(t.tz_convert("Asia/Kolkata"))),
        lambda at: at.dt.tz_convert("Asia/Kolkata"),
        lambda at: at.astype("datetime64[ms, UTC]"),
    ],
    ids=["float s", "s", "ms", "us", "ns", "text ms", "iso Z", "iso offset", "zone", "datetime ms"],
)
def test_times_of_every_kind(times, source, tmp_path) -> None:
    held = frame()
    parquet(held.assign(ts=times(held["ts"])), tmp_path / "log", "a")
    window, _ = only(source())
    assert list(window.event_times) == list(held["ts"])


@pytest.mark.parametrize("write", [parquet, csv, jsonl], ids=["parquet", "csv", "jsonl"])
def test_a_time_without_a_zone_is_refused(write, source, tmp_path) -> None:
    held = frame()
    write(held.assign(ts=held["ts"].dt.tz_localize(None)), tmp_path / "log", "a")
    here = source()
    with pytest.raises(InputError, match=r"column 'ts' of the log .* holds times without a zone"):
        closed(here)
    assert "without a zone" in told(here)[0]


def test_rows_without_a_time_or_of_the_future_are_counted(source, tmp_path) -> None:
    held = frame()
    held["ts"] = held["ts"].astype(object)
    held.loc[[0, 1], "ts"] = None
    held.loc[2, "ts"] = pd.Timestamp("2261-01-01", tz=UTC)
    parquet(held.assign(ts=pd.to_datetime(held["ts"], utc=True)), tmp_path / "log", "a")
    here = source()
    (ref,) = closed(here)
    assert ref.rows == 47
    assert told(here) == [Standing(newest=int((START + timedelta(minutes=49)).timestamp() * 1e6), undated=2, ahead=1)]


def test_text_that_is_no_time_is_counted(source, tmp_path) -> None:
    held = frame()
    held["ts"] = held["ts"].astype(str)
    held.loc[[5, 6, 7], "ts"] = ["noon", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
    csv(held, tmp_path / "log", "a")
    here = source()
    assert closed(here)[0].rows == 47
    assert told(here)[0].undated == 3


@pytest.mark.parametrize(
    ("column", "keys", "says"),
    [
        ("ts", {}, r"no column 'ts' \(log.columns.event_time\); did you mean 'tss'"),
        ("request", {}, r"log.columns.prediction_id"),
        ("v", {"version": "v"}, r"no column 'v' \(log.columns.version\)"),
    ],
)
def test_a_column_that_is_gone_is_named(column: str, keys, says: str, source, tmp_path) -> None:
    parquet(frame().assign(v=1).rename(columns={column: f"{column}s"}), tmp_path / "log", "a")
    here = source(columns=MINE | keys)
    with pytest.raises(InputError, match=says):
        only(here)
    assert isinstance(told(here)[-1], str)


def test_a_feature_that_is_gone_leaves_no_row(source, tmp_path) -> None:
    parquet(frame().drop(columns="dew"), tmp_path / "log", "a")
    window, tally = only(source())
    assert window.frame.empty and [str(r) for r in tally.refused] == ["50 rows: missing column 'dew'"]


def test_numbers_of_the_own_table_are_none_of_the_log(source, tmp_path, table, model) -> None:
    """The policy moved to a log elsewhere: windows of rows go on where the time of the last ones ended."""
    features = frame(20)[list(model.features)]
    table.append(
        NAME, frame=features, probabilities=model.predict_proba(features), prediction_ids=list(frame(20)["request"]),
        event_times=list(frame(20)["ts"]), version=1, latency_ms=1.0,
    )  # fmt: skip
    (ref,) = table.closed_windows(NAME, WindowSpec(rows=20), until=END, lateness=timedelta(0), min_rows=1)
    table.record_cycle(NAME, ref.index, {"decision": "stable", "held": None})
    parquet(frame().assign(number=range(50)), tmp_path / "log", "a")
    here = source(columns=MINE | {"order": "number"})
    (fresh,) = closed(here, spec=WindowSpec(rows=20))
    assert here.read(fresh).frame.index.tolist() == [f"r{i}" for i in range(20, 40)]
    table.record_cycle(NAME, fresh.index, {"decision": "stable", "held": 20})
    assert closed(here, spec=WindowSpec(rows=10))[0].seqs == (39, 49)


@pytest.mark.parametrize("numbered", [False, True])
def test_late_rows_are_counted_and_in_no_window(numbered: bool, source, tmp_path) -> None:
    """Also where there was no row, and so no window; and of windows of rows those that say another time."""
    keys = {"columns": MINE | {"order": "number"}} if numbered else {}
    spec = WindowSpec(rows=30) if numbered else WindowSpec(duration=timedelta(minutes=30))
    early, later = frame(30), frame(30, first=120)
    held = pd.concat([early, later]).assign(number=[*range(30), *range(70, 100)])
    parquet(held, tmp_path / "log", "a")
    here, until = source(**keys), START + timedelta(hours=3)
    refs = closed(here, until, spec)
    assert len(refs) == 2 and here.counted(refs) == {0: 30, 1: 30}
    for ref in refs:
        here.table.record_cycle(NAME, ref.index, {"decision": "stable"})
    late = frame(9, first=0, every=15 * 60.0).assign(request=list("abcdefghi"))  # up to two hours after the start
    late["number"] = [3, 4, 60, 61, 62, 63, 64, 65, 71] if numbered else range(9)
    parquet(late, tmp_path / "log", "late")
    again = source(**keys)
    assert again.counted(refs) == {0: 32, 1: 37}
    assert closed(again, until, spec) == []


def test_weights_make_a_fair_draw(source, tmp_path) -> None:
    """Of the rows above 60 °F one in ten was logged."""
    every = frame(4000, every=0.5)
    warm = every["temperature"] > 60
    held = every[~warm | (np.arange(4000) % 10 == 0)]
    held = held.assign(w=np.where(held["temperature"] > 60, 10.0, 1.0))
    parquet(held, tmp_path / "log", "a")
    here = source(columns=MINE | {"weight": "w"})
    (ref,) = closed(here)
    drawn = here.read(ref).frame
    assert (
        abs((drawn["temperature"] > 60).mean() - warm.mean()) < 0.06 < warm.mean() - (held["temperature"] > 60).mean()
    )
    pd.testing.assert_frame_equal(drawn, source(columns=MINE | {"weight": "w"}).read(ref).frame)


def test_nonsense_weights_are_counted_and_one_row_is_no_window(source, tmp_path) -> None:
    held = frame().assign(w=[1.0] * 46 + [-1.0, 0.0, np.inf, 1e9])
    parquet(held, tmp_path / "log", "a")
    window, tally = only(source(columns=MINE | {"weight": "w"}))
    assert [str(r) for r in tally.refused] == ["3 rows: weight 'w'"]
    assert len(window.frame) > 0
    assert len(thinned(source()._window(window.ref)[0])) == 47 + 3


def test_rows_of_two_models_are_named_by_their_ids(source, tmp_path) -> None:
    """The same requests, answered by another model too: their ids tell, and the folder of this one's rows is right."""
    mine = frame().assign(cold=0.25, hot=0.75)
    parquet(mine, tmp_path / "log" / "model=toy", "a")
    parquet(mine.assign(cold=0.5, hot=0.5), tmp_path / "log" / "model=other", "a")
    keys = {"columns": MINE | {"probabilities": ["cold", "hot"]}}
    _, tally = only(source(**keys))
    assert [str(r) for r in tally.refused] == ["50 rows: one id for several predictions 'request'"]
    window, tally = only(source(**keys, **{"from": str(tmp_path / "log" / "model=toy")}))
    assert tally.refused == () and (window.probabilities == [0.25, 0.75]).all()
