"""Killed at any moment, beside a database that is locked again and again: no row is lost and none is there twice."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selfheal.serving.log import LogWriter
from selfheal.table import InferenceTable
from tests.serving.test_log import ALWAYS, until

MOMENTS = """
import asyncio, itertools, os, pathlib, random, signal, sqlite3, sys, time
from selfheal.serving import spill
from selfheal.serving.log import LogWriter
from selfheal.table import InferenceTable

folder, moments = pathlib.Path(sys.argv[1]), int(sys.argv[2])
spill.SEGMENT_BYTES = 20_000  # many files

async def send(log, name, told, rng):
    for number in itertools.count():
        rows = [(f"{name}-{number}-{i}", 0, 1.0, 0.5, 0.5, 1, 0.1) for i in range(rng.choice((1, 3)))]
        taken = await log.put_durably(rows, 0, 5) if rng.random() < 0.05 else log.put(rows)
        if taken:
            os.write(told, "".join(row[0] + "\\n" for row in rows).encode())
        await asyncio.sleep(0)

async def serve(name, rng):
    table = InferenceTable(f"sqlite:///{folder}/t.db")
    log = LogWriter(table, "m", rng.choice((10_000, 10**6)), folder / "spill")
    log.start()
    told = os.open(folder / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    await asyncio.gather(*(send(log, f"{name}-{i}", told, rng) for i in range(3)))

other = sqlite3.connect(folder / "t.db", isolation_level=None)
for moment in range(moments):
    rng = random.Random(moment)
    locked = moment % 3 < 2
    if locked:
        other.execute("BEGIN IMMEDIATE")
    child = os.fork()
    if not child:
        asyncio.run(serve(f"m{moment}", rng))
    time.sleep(rng.random() * 0.2)
    if locked and moment % 3:
        other.execute("ROLLBACK")
        time.sleep(rng.random() * 0.2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if other.in_transaction:
        other.execute("ROLLBACK")
"""


def killed(folder: Path, moments: int) -> tuple[int, int]:
    """So many processes killed; how many rows they took, and how many only a file held in the end."""
    with_table = InferenceTable(f"sqlite:///{folder}/t.db")
    with_table.create("m", {"x": "float"}, (0, 1))
    subprocess.run([sys.executable, "-c", MOMENTS, str(folder), str(moments)], check=True, timeout=300)
    told = (folder / "told").read_text().split()
    before = set(with_table.read(ALWAYS).frame.index)
    log = LogWriter(with_table, "m", 10**6, folder / "spill")
    log.start()
    assert until(lambda: not list((folder / "spill").iterdir()), 200)
    log.close()
    after = with_table.read(ALWAYS).frame.index
    with_table.close()
    assert after.is_unique
    assert not set(told) - set(after)
    assert log.state.torn == log.state.refused == 0
    return len(told), len(set(told) - before)


def test_no_moment_of_a_kill_loses_or_doubles_a_row(tmp_path: Path) -> None:
    told, waited = killed(tmp_path, 4)
    assert told > 100 and waited > 0, (told, waited)


@pytest.mark.prove
@pytest.mark.timeout(400)
def test_no_moment_of_a_hundred_kills_loses_or_doubles_a_row(tmp_path: Path) -> None:
    told, waited = killed(tmp_path, 100)
    print(f"{told} rows taken before 100 kills, none lost, none twice; {waited} were in the last files alone")
