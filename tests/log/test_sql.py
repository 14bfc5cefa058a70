"""A log in a database: SQLite and PostgreSQL, both real; read only, and no password is ever said."""

from __future__ import annotations

import sqlite3
import traceback
from datetime import timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from selfheal.errors import InputError, UnavailableError
from selfheal.log.rows import Bounded, Part
from selfheal.log.sql import Sql
from selfheal.policy import WindowSpec
from selfheal.table.values import to_us
from tests.log.given import END, MINE, closed, frame, only, to_postgres, to_sqlite, told
from tests.steering.given import START


@pytest.fixture(params=["sqlite", "postgres"])
def lay(request: pytest.FixtureRequest, tmp_path):
    """Lays a frame down as the table ``raw``; gives the URL."""

    def there(held: pd.DataFrame) -> str:
        if request.param == "sqlite":
            with sqlite3.connect(tmp_path / "log.db") as connection:
                connection.execute("DROP TABLE IF EXISTS raw")
                held.to_sql("raw", connection, index=False)
            connection.close()
            return f"sqlite:///{tmp_path}/log.db"
        engine = request.getfixturevalue("postgres")
        with engine.connect() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS raw CASCADE")
        to_postgres(held, engine, "raw")
        return engine.url.render_as_string(hide_password=False)

    return there


@pytest.mark.parametrize(
    "times",
    [
        lambda at: at.map(lambda t: int(t.timestamp())),
        lambda at: at.map(lambda t: t.timestamp() * 1e3),
        lambda at: at.map(lambda t: int(t.timestamp() * 1e6)),
        lambda at: at.map(lambda t: str(int(t.timestamp()))),
        lambda at: at.map(lambda t: t.isoformat().replace("+00:00", "Z")),
        lambda at: at.map(lambda t: str(t.tz_convert("Pacific/Auckland"))),
    ],
    ids=["s", "float ms", "us", "text s", "iso Z", "iso offset"],
)
def test_times_of_every_kind_are_bounded_in_the_database(times, lay, source) -> None:
    held = frame(every=1800)
    url = lay(held.assign(ts=times(held["ts"])))
    here = source(**{"from": url, "table": "raw"})
    found = closed(here, START + timedelta(hours=12))
    assert [ref.rows for ref in found] == [2] * 12
    assert list(here.read(found[5]).event_times) == list(held["ts"][10:12])
    (part,) = here.rows.scan({"ts"}, Part(to_us(found[5].start), to_us(found[5].end)), Bounded("ts"))
    assert len(part.collect()) < 50, "whole days at most"


def test_a_real_time_is_bounded_and_a_naive_one_refused(postgres, source) -> None:
    held = frame()
    with postgres.connect() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS raw CASCADE")
        to_postgres(held, postgres, "raw")
        connection.exec_driver_sql("CREATE VIEW naive AS SELECT request, ts AT TIME ZONE 'UTC' AS ts FROM raw")
        connection.exec_driver_sql("ALTER DATABASE postgres SET timezone TO 'Asia/Kolkata'")
    url = postgres.url.render_as_string(hide_password=False)
    here = source(**{"from": url, "table": "public.raw"})
    window, _ = only(here)
    assert list(window.event_times) == list(held["ts"])
    (part,) = here.rows.scan({"ts"}, Part(to_us(START), to_us(START + timedelta(minutes=10))), Bounded("ts"))
    assert len(part.collect()) <= 11
    with pytest.raises(InputError, match="without a zone"):
        closed(source(**{"from": url, "table": "naive"}))
    with postgres.connect() as connection:
        connection.exec_driver_sql("ALTER DATABASE postgres RESET timezone")


def test_rows_that_cannot_be_used_are_counted(lay, source) -> None:
    held = frame()
    held["dew"] = held["dew"].astype(object)
    held.loc[3, "request"], held.loc[4, "dew"] = None, None
    held["ts"] = held["ts"].map(lambda at: at.isoformat()).astype(object)
    held.loc[[7, 8], "ts"] = None, "noon"
    here = source(**{"from": lay(held), "table": "raw"})
    window, tally = only(here)
    assert [str(r) for r in tally.refused] == ["1 rows: id 'request'", "1 rows: null 'dew'"]
    assert len(window.frame) == 46 and told(here)[0].undated == 2


def test_windows_of_rows_ask_for_what_came_since(lay, source) -> None:
    url = lay(frame().assign(number=range(101, 151), ts=frame()["ts"].map(lambda at: at.isoformat())))
    here = source(**{"from": url, "table": "raw", "columns": MINE | {"order": "number"}})
    found = closed(here, spec=WindowSpec(rows=20))
    assert [ref.seqs for ref in found] == [(100, 120), (120, 140)]
    assert here.read(found[1]).frame.index.tolist() == [f"r{i}" for i in range(20, 40)]


def test_a_query_is_a_log_and_is_filtered_in_the_database(lay, source) -> None:
    """Of somebody who may create no view; a colon in it is no parameter."""
    times = frame(every=1800).assign(ts=frame(every=1800)["ts"].map(lambda at: at.isoformat()), model="ours")
    url = lay(pd.concat([times, times.assign(model="theirs:x")]))
    query = "SELECT r.*, ':odd' AS note, '12:30' AS o FROM raw AS r WHERE model <> 'theirs:x'"
    here = source(**{"from": url, "query": query})
    found = closed(here, START + timedelta(hours=12))
    assert [ref.rows for ref in found] == [2] * 12
    assert here.read(found[5]).frame.index.tolist() == ["r10", "r11"] and here.tally(found[5]).refused == ()
    (part,) = here.rows.scan({"ts"}, Part(to_us(found[5].start), to_us(found[5].end)), Bounded("ts"))
    assert len(part.collect()) < 50, "whole days at most"
    for spoilt in ("SELECT * FROM nowhere", "WITH gone AS (DELETE FROM raw RETURNING *) SELECT * FROM gone"):
        with pytest.raises(UnavailableError, match=r"'log.query' of .* cannot be read: "):
            closed(source(**{"from": url, "query": spoilt}))


def test_it_is_only_read(lay) -> None:
    log = Sql(lay(frame(3).assign(ts=range(3))), "raw")
    with pytest.raises(UnavailableError, match=r"read-?only"), log._connected() as connection:
        connection.execute(sa.text("DELETE FROM raw"))


def test_what_is_not_there_is_named(lay, source, tmp_path, monkeypatch) -> None:
    url = lay(frame().assign(ts=range(50)))
    with pytest.raises(InputError, match="no such table or view; did you mean 'raw'"):
        closed(source(**{"from": url, "table": "rwa"}))
    with pytest.raises(InputError, match=r"no column 'at' \(log.columns.event_time\).*columns: temperature"):
        closed(source(**{"from": url, "table": "raw", "columns": MINE | {"event_time": "at"}}))
    with pytest.raises(UnavailableError, match="is its disk mounted"):
        closed(source(**{"from": f"sqlite:///{tmp_path}/none.db", "table": "raw"}))
    with pytest.raises(InputError, match=r"takes .*LOG_WORD.* from the environment, where it is not set"):
        source(**{"from": "postgresql://reader:${LOG_WORD}@db/x", "table": "raw"})
    with pytest.raises(InputError, match="is not installed here"):
        closed(source(**{"from": "mysql://db/x", "table": "raw"}))


@pytest.mark.parametrize("host", ["127.0.0.1:9", "no-such-host.invalid"])
def test_a_password_is_never_said(host: str, source, monkeypatch, caplog) -> None:
    monkeypatch.setenv("LOG_WORD", "h0neypot")
    here = source(**{"from": f"postgresql://reader:${{LOG_WORD}}@{host}/x?connect_timeout=2", "table": "raw"})
    with pytest.raises(UnavailableError, match=r"reader:\*\*\*@") as caught:
        closed(here)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + repr(here) + str(told(here))
    assert "h0neypot" not in shown


def test_a_wrong_password_is_never_said(postgres, source, monkeypatch) -> None:
    with postgres.connect() as connection:
        connection.exec_driver_sql("DROP ROLE IF EXISTS reader")
        connection.exec_driver_sql("CREATE ROLE reader LOGIN PASSWORD 'right'")
    monkeypatch.setenv("LOG_WORD", "h0neypot")
    url = postgres.url.set(username="reader", password="LOG_WORD").render_as_string(hide_password=False)
    here = source(**{"from": url.replace("LOG_WORD", "${LOG_WORD}"), "table": "private"})
    with pytest.raises((UnavailableError, InputError)) as caught:
        closed(here)
    assert "h0neypot" not in "".join(traceback.format_exception(caught.value))
    with postgres.connect() as connection:
        connection.exec_driver_sql("DROP ROLE reader")


def test_a_table_that_may_not_be_read_is_named(postgres, source) -> None:
    with postgres.connect() as connection:
        connection.exec_driver_sql("DROP TABLE IF EXISTS kept")
        connection.exec_driver_sql("DROP ROLE IF EXISTS stranger")
        connection.exec_driver_sql("CREATE ROLE stranger LOGIN")
    to_postgres(frame(), postgres, "kept")
    here = source(**{"from": postgres.url.set(username="stranger").render_as_string(), "table": "kept"})
    with pytest.raises(UnavailableError, match=r"permission denied for table kept; .* its user may read the table"):
        closed(here)
    assert "permission denied" in told(here)[0]
    with postgres.connect() as connection:
        connection.exec_driver_sql("DROP ROLE stranger")


def test_a_view_of_text_times(tmp_path, source) -> None:
    to_sqlite(frame().assign(number=range(50)), tmp_path / "log.db")
    assert only(source(**{"from": f"sqlite:///{tmp_path}/log.db", "table": "scored"}, now=END))[1].used == 50
