"""What lies at the edges: times that cannot be, rows that become visible out of order, names that are too long."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from selfheal.errors import InputError
from selfheal.model import MonitoredModel
from selfheal.policy import Policy, WindowSpec
from selfheal.registry.adoption import adopt_model
from selfheal.table import InferenceTable
from tests.steering.given import toy
from tests.table.test_windows import EPOCH, HOUR, NO, put

YEAR_1 = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))
YEAR_9999 = datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone(timedelta(hours=-14)))
T = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (YEAR_1, "0001-01-01T00:00:00\\+14:00 is not between the years 1678 and 2261"),
        (YEAR_9999, "not between"),
        (datetime(1677, 12, 31, 23, 59, 59, 999999, tzinfo=UTC), "not between"),
        (datetime(2262, 1, 1, tzinfo=UTC), "not between"),
        (pd.Timestamp.min.tz_localize("UTC"), "not between"),
        (pd.NaT, "NaT is not a time"),
        (None, "None is not a time"),
        (np.datetime64("2026-01-01"), "is not a time"),
        (datetime(2026, 1, 1), "has no time zone"),
    ],
)
def test_a_time_that_cannot_be_is_refused_at_the_door(tmp_path, rows, house, at, words):
    table = InferenceTable(f"sqlite:///{tmp_path}/selfheal.db")
    table.create("m", house.dtypes, house.classes)
    with pytest.raises(InputError, match=words):
        table.append("m", **rows([T, at]))
    assert not table.closed_windows("m", WindowSpec(rows=1), until=T + HOUR, lateness=NO, min_rows=1)
    table.close()


def test_the_first_and_the_last_time_that_can_be(tmp_path, rows, house):
    table = InferenceTable(f"sqlite:///{tmp_path}/selfheal.db")
    table.create("m", house.dtypes, house.classes)
    times = [datetime(1678, 1, 1, tzinfo=UTC), EPOCH, pd.Timestamp("1700-01-01", tz="UTC")]
    table.append("m", **rows([*times, datetime(2261, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]))
    refs = table.closed_windows("m", WindowSpec(duration=HOUR), until=YEAR_9999, lateness=NO, min_rows=1)
    assert [table.read(ref).event_times[0].year for ref in refs] == [1678, 1700, 1970, 2261]
    assert not table.closed_windows("m", WindowSpec(duration=HOUR), until=YEAR_1, lateness=HOUR, min_rows=1)
    table.close()


@pytest.mark.parametrize("odd", [[YEAR_1], [YEAR_9999], [T + timedelta(days=400)], [YEAR_1, YEAR_9999]])
@pytest.mark.parametrize("spec", [WindowSpec(duration=HOUR), WindowSpec(rows=2)], ids=str)
def test_rows_of_an_older_release_that_cannot_be_dated_stop_nothing(table, fresh_model, spec, odd):
    model = fresh_model(table, {"x": "float"}, (0, 1))
    put(table, model, [T, *odd, T], ["a", *(f"odd{i}" for i in range(len(odd))), "b"])
    (ref,) = table.closed_windows(model, spec, until=T + HOUR, lateness=NO, min_rows=2)
    assert sorted(table.read(ref).frame.index) == ["a", "b"]
    table.record_cycle(model, ref.index, {})
    put(table, model, [T + HOUR, T + HOUR], ["c", "d"])
    (ref,) = table.closed_windows(model, spec, until=T + 2 * HOUR, lateness=NO, min_rows=2)
    assert sorted(table.read(ref).frame.index) == ["c", "d"]


def test_rows_that_commit_out_of_order_are_in_the_next_window(url, table, monkeypatch, caplog):
    if url.startswith("sqlite"):
        pytest.skip("SQLite has one writer at a time")
    monkeypatch.setattr("selfheal.table.writers.WAIT_SECONDS", 0.0, raising=False)
    table.create("m", {"x": "float"}, (0, 1))
    ask = {"spec": WindowSpec(rows=2), "until": EPOCH + HOUR, "lateness": NO, "min_rows": 1}
    engine = sa.create_engine(url)
    with engine.connect() as slow:
        names = "prediction_id, event_time, x, p_0, p_1, model_version, latency_ms"
        slow.exec_driver_sql(f"INSERT INTO predictions_m ({names}) VALUES ('slow', 0, 0, 0.5, 0.5, 1, 0.1)")
        put(table, "m", [EPOCH, EPOCH], ["b", "c"])  # nobody who writes is kept waiting
        assert table.closed_windows("m", **ask) == [], "a row with a lower number may still come"
        assert "pg_terminate_backend" in caplog.text
        slow.commit()
    engine.dispose()
    put(table, "m", [EPOCH], ["d"])
    found = [sorted(table.read(ref).frame.index) for ref in table.closed_windows("m", **ask)]
    assert found == [["b", "slow"], ["c", "d"]]


@pytest.mark.parametrize("name", ["m" * 49, "m" * 60, "a.b", "-a", "toy-base"])
def test_a_name_that_one_store_cannot_hold_is_refused_at_the_first_door(tmp_path, name):
    words = "48 letters|ends in '-base'"
    with pytest.raises(InputError, match=words):
        InferenceTable(f"sqlite:///{tmp_path}/selfheal.db").create(name, {"x": "float"}, (0, 1))
    with pytest.raises(InputError, match=words):
        Policy.load({"model": name})
    with pytest.raises(InputError, match=words):
        adopt_model(name, None, None, None)
    model = toy()
    with pytest.raises(InputError, match=words):
        MonitoredModel(model.backbone, model.head, model.reference, target="y", name=name)


def test_the_longest_name_can_be_used(table, rows, house):
    name = "m" * 48
    table.create(name, house.dtypes, house.classes)
    table.append(name, **rows([T]))
    (ref,) = table.closed_windows(name, WindowSpec(rows=1), until=T + HOUR, lateness=NO, min_rows=1)
    assert len(table.read(ref).frame) == 1
