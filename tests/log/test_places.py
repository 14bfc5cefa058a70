"""Object stores and Delta tables: what cannot be read is said, without a credential; what moves is read anew."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import requests

from selfheal.errors import InputError, PolicyError, UnavailableError
from selfheal.log import files
from selfheal.log.places import Store, without_secrets
from selfheal.log.rows import Bounded, Part
from selfheal.policy import Log, Policy
from selfheal.table.values import to_us
from tests.log.conftest import SECRET
from tests.log.given import closed, csv, delta, frame, jsonl, only, parquet, partitioned, told
from tests.steering.given import START

pytestmark = pytest.mark.xdist_group("s3")


def test_files_of_every_kind_and_a_delta_table_in_a_bucket(bucket, source, tmp_path) -> None:
    for place, (write, first) in enumerate(((parquet, 0), (csv, 10), (jsonl, 20))):
        write(frame(10, first=first), tmp_path / "scored" / f"day={place}", "a")
    bucket.put(tmp_path / "scored")
    window, tally = only(source(**{"from": f"{bucket.uri}/scored"}))
    assert window.frame.index.tolist() == [f"r{i}" for i in range(30)] and tally.refused == ()
    assert len(only(source(**{"from": f"{bucket.uri}/scored/day=1/a.csv"}))[0].frame) == 10, "one object"
    csv(frame(10, first=10).assign(dew=1.0), tmp_path / "scored" / "day=1", "a")
    bucket.put(tmp_path / "scored")
    here = source(**{"from": f"{bucket.uri}/scored"})
    (ref,) = closed(here)
    window = here.read(ref)
    assert (window.frame["dew"] == 1.0).sum() == 10, "an object that was written anew"
    requests.post(f"{bucket.address}/moto-api/reset", timeout=10).raise_for_status()
    with pytest.raises(UnavailableError, match="NO_SUCH_BUCKET"):
        here.read(ref)
    bucket.make()
    bucket.put(tmp_path / "scored")
    assert closed(source(**{"from": f"{bucket.uri}/scored"})) == [ref], "away in mid-window: nothing lost"
    assert here.read(ref).frame.equals(window.frame)
    delta(frame(), tmp_path / "table", "")
    bucket.put(tmp_path / "table")
    assert len(only(source(**{"from": f"s3a://{bucket.name}/table/"}))[0].frame) == 50


def test_a_bucket_that_cannot_be_read_is_said_without_its_keys(bucket, s3, source, tmp_path, monkeypatch) -> None:
    def says(place: str) -> str:
        here = source(**{"from": place})
        with pytest.raises(UnavailableError) as caught:
            closed(here)
        assert told(here) == [str(caught.value)] and SECRET not in str(caught.value)
        return str(caught.value)

    assert "there is no object below that name" in says(f"{bucket.uri}/nothing")
    assert "NO_SUCH_BUCKET" in says("s3://nobodys-bucket/scored")
    parquet(frame(), tmp_path / "scored", "a")
    (tmp_path / "scored" / "a.parquet").write_bytes((tmp_path / "scored" / "a.parquet").read_bytes()[:900])
    bucket.put(tmp_path / "scored")
    assert "scored/a.parquet cannot be read" in says(f"{bucket.uri}/scored")
    (tmp_path / "broken" / "_delta_log").mkdir(parents=True)
    (tmp_path / "broken" / "_delta_log" / f"{0:020}.json").write_text("{}")
    bucket.put(tmp_path / "broken")
    assert "is a Delta table that cannot be opened" in says(f"{bucket.uri}/broken")
    requests.post(f"{s3}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
    try:
        said = says(f"{bucket.uri}/scored")
    finally:
        requests.post(f"{s3}/moto-api/reset-auth", data="inf", timeout=10).raise_for_status()
    assert "INVALID_ACCESS_KEY_ID" in said and "may the credentials in the environment list and read it?" in said
    assert without_secrets(f"signed with {SECRET} by libstore") == "signed with *** by libstore"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "NETWORK_CONNECTION" in says(f"{bucket.uri}/scored")


def test_places_that_are_none(monkeypatch) -> None:
    for source, words in {
        "s3://key:secret@bucket/x": "holds a password|come from the environment",
        "s3://bucket/x?access_key=1": "come from the environment",
        "hdfs://host/x": "give s3://, gs:// or az://",
    }.items():
        with pytest.raises(PolicyError, match=words):
            Policy.load({"log": {"from": source}})
    assert Log.model_validate({"from": "gcs://bucket/x"}).is_store and Store.parse("gcs://b/x").uri == "gs://b/x"
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(InputError, match="set AZURE_STORAGE_ACCOUNT_NAME"):
        Store.parse("az://container/x").files()


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch):
    """Does something between the listing of files and their reading, as often as it has something to do."""
    acts: list = []
    plain = files._lazy

    def lazy(kind, paths, place, *, hive=True):
        if hive and acts:
            acts.pop()()
        return plain(kind, paths, place, hive=hive)

    monkeypatch.setattr(files, "_lazy", lazy)
    return acts


def test_files_that_are_compacted_or_rewritten_while_they_are_read(source, tmp_path, meanwhile) -> None:
    log = tmp_path / "log"
    parquet(frame(20), log, "a")
    parquet(frame(30, first=20), log, "b")

    def compact() -> None:
        parquet(frame(), log, "c")
        for name in ("a", "b"):
            (log / f"{name}.parquet").unlink()

    meanwhile.append(compact)
    window, tally = only(source())
    assert len(window.frame) == 50 and (tally.refused, meanwhile) == ((), [])

    meanwhile.append(lambda: parquet(frame().assign(dew=1.0), log, "c"))
    assert (only(source())[0].frame["dew"] == 1.0).all(), "the whole new file, and none of the old one"

    meanwhile.extend([lambda: parquet(frame(), log, "c"), lambda: parquet(frame(49), log, "c")] * 2)
    with pytest.raises(UnavailableError, match="was rewritten each of 3 times that it was read"):
        closed(source(), START)

    meanwhile.clear()
    meanwhile.append(lambda: parquet(frame(5, first=60), log, "new"))
    assert len(closed(source())) == 1, "a new file is no matter"


def test_a_delta_table_is_one_snapshot(source, tmp_path) -> None:
    from deltalake import DeltaTable

    delta(frame(), tmp_path / "log", "")
    here = source()
    (ref,) = closed(here)
    (scanned,) = here.rows.scan(["ts"], Part(start=to_us(ref.start), end=to_us(ref.end)), Bounded(time="ts"))
    assert "SELECTION" in scanned.explain() and "FILTER" not in scanned.explain(), "filtered where the files are read"
    DeltaTable(str(tmp_path / "log")).optimize.compact()
    assert len(here.read(ref).frame) == 50, "compacted files are there beside those they replace, and are read once"
    shutil.rmtree(tmp_path / "log" / "_delta_log")
    assert here.rows.place.is_delta() is False


def test_a_schema_that_changes_in_the_middle(source, tmp_path) -> None:
    """An int that becomes a float, a new column, a column that goes; in files, and in partitions."""
    early, later = frame(20), frame(30, first=20)
    early["wind"] = early["wind"].round().astype(int)
    parquet(early, tmp_path / "log", "a")
    partitioned(later.assign(gust=1.0, number=range(30)), tmp_path / "log", "b")
    window, tally = only(source())
    assert tally.refused == () and window.frame["wind"].tolist() == [*early["wind"], *later["wind"]]
    parquet(frame(2, first=50).drop(columns="wind"), tmp_path / "log", "c")
    assert [str(r) for r in only(source())[1].refused] == ["2 rows: missing column 'wind'"]


def test_a_delta_schema_that_grows(source, tmp_path) -> None:
    delta(frame(20).drop(columns="wind"), tmp_path / "log", "")
    delta(frame(30, first=20).assign(gust=1.0), tmp_path / "log", "")
    window, tally = only(source())
    assert len(window.frame) == 30 and [str(r) for r in tally.refused] == ["20 rows: null 'wind'"]


def test_an_id_that_a_window_before_had_is_handled_once(source, tmp_path) -> None:
    again = frame(10, first=60).assign(request=[f"r{i}" for i in range(55, 65)])
    parquet(pd.concat([frame(60), again]), tmp_path / "log", "a")
    here = source()
    first, second = closed(here, START + 2 * (closed(here)[0].end - START))
    assert here.tally(first).used == 60
    assert [str(r) for r in here.tally(second).refused] == ["5 rows: repeated from a window before"]
    assert here.read(second).frame.index.tolist() == [f"r{i}" for i in range(60, 65)]
    parquet(frame(20, first=65).assign(request=[f"r{i}" for i in range(20)]), tmp_path / "log", "b")
    assert [(r.reason, r.column, r.rows) for r in source().tally(second).refused] == [
        ("repeated from a window before", "request", 25)
    ], "no ids of predictions"


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_text_that_is_not_utf_8_is_named(encoding: str, source, tmp_path) -> None:
    csv(frame().assign(note="é"), tmp_path / "log", "a")
    csv(frame(), tmp_path / "log", "b")
    path = tmp_path / "log" / "a.csv"
    path.write_bytes(path.read_bytes().decode().encode(encoding))
    with pytest.raises(UnavailableError, match=r"a.csv is (not UTF-8|text in UTF-16).*: write it in UTF-8"):
        closed(source())
