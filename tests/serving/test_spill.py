"""What was answered and is not in the database is in a file, and is logged once, by this process or the next."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sqlite3
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from selfheal.serving import gaps
from selfheal.serving import log as logs
from selfheal.serving import spill as spills
from selfheal.serving.gaps import NO_ROOM
from selfheal.serving.log import LogWriter
from selfheal.serving.spill import FullError, Spill, left_behind, pack, read
from selfheal.table import database
from tests.serving.test_log import ALWAYS, flaky, row, until

__all__ = ["flaky"]


def ids(table) -> list[str]:
    return sorted(table.read(ALWAYS).frame.index)


def kept(folder: Path, *rows) -> Path:
    """A file of a process that is gone, a record for each row."""
    spill = Spill(folder)
    for one in rows:
        spill.append(pack([one]))
    spill.close()
    (path,) = folder.glob("*.taken")
    return path


def held(folder: Path) -> list:
    return [row for path in sorted(folder.glob("*.taken")) for _, rows in read(path) for row in rows]


@pytest.fixture
def hurried(monkeypatch):
    """A log that soon gives up at its end, and whose thread does not sleep beyond it: it would keep its files."""
    monkeypatch.setattr(logs, "_CLOSING_S", 0.1)
    monkeypatch.setattr(logs, "_RETRY_S", (0.02, 0.05))


@pytest.fixture
def quiet(caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")


def test_what_is_left_at_the_end_is_logged_by_the_next_process_once(flaky, tmp_path: Path, hurried, quiet):
    folder = tmp_path / "spill"
    log = LogWriter(flaky, "m", 10**6, folder)
    log.start()
    log.put([row("a")])
    assert until(lambda: log.state.written == 1)
    flaky.down = True
    assert all(log.put([row(f"r{i}")]) for i in range(50))
    log.close()
    assert len(list(folder.glob("*.taken"))) == 1
    flaky.down = False
    flaky.append_rows("m", [row("r7")])  # it came through after all: the same id is not logged twice
    again = LogWriter(flaky, "m", 10**6, folder)
    again.start()
    assert until(lambda: again.state.replayed == 50)
    again.close()
    assert ids(flaky) == sorted(["a", *(f"r{i}" for i in range(50))])
    assert not list(folder.glob("*"))


def test_a_service_that_ends_while_the_database_is_locked_loses_no_row(
    place, serve_in_thread, forms, tmp_path: Path, monkeypatch, hurried, quiet
):
    monkeypatch.setattr(database, "SQLITE_BUSY_SECONDS", 0.05)
    body, taken = forms.split(place.model.reference.iloc[:1]), []
    folder = tmp_path / "spill"
    with contextlib.closing(sqlite3.connect(place.database, isolation_level=None)) as other:
        with serve_in_thread(place.config(spill=folder)) as service:
            other.execute("BEGIN IMMEDIATE")
            while len(taken) < 50:
                status, answer = service.post("/invocations", body)
                assert status in (200, 429), "a busy machine may be asked again"
                taken += answer.get("prediction_ids", [])
        other.execute("ROLLBACK")
    assert place.logged().empty and len(list(folder.glob("*.taken"))) == 1
    with serve_in_thread(place.config(spill=folder)):
        assert until(lambda: not list(folder.glob("*.taken")))
    assert sorted(place.logged().index) == sorted(taken)
    with serve_in_thread(place.config(spill=folder)):
        pass
    assert len(place.logged()) == 50


def test_a_process_that_ends_with_everything_logged_leaves_nothing(flaky, tmp_path: Path):
    log = LogWriter(flaky, "m", 10**6, tmp_path / "spill")
    log.put([row("a")])
    log.start()
    log.close()
    assert ids(flaky) == ["a"]
    assert not list(tmp_path.glob("spill/*"))


def test_a_row_is_in_the_file_before_it_is_answered_and_not_after_its_commit(flaky, tmp_path: Path, quiet):
    flaky.down = True
    log = LogWriter(flaky, "m", 10**6, tmp_path / "spill")
    assert log.put([row("a")]) and log.put([row("b")])
    assert held(tmp_path / "spill") == [row("a"), row("b")]
    log.start()
    assert until(lambda: log.state.error == "down")
    assert log.state.spill_bytes == sum(path.stat().st_size for path in (tmp_path / "spill").iterdir()) > 0
    flaky.down = False
    assert until(lambda: log.state.waiting == 0)
    assert held(tmp_path / "spill") == [] and log.state.spill_bytes == 0
    log.close()
    assert not list((tmp_path / "spill").iterdir())


def test_beyond_memory_rows_wait_in_the_file_alone_and_come_in_order(flaky, tmp_path: Path, quiet, monkeypatch):
    monkeypatch.setattr(spills, "SEGMENT_BYTES", 100)
    monkeypatch.setattr(logs, "COMMIT_ROWS", 1)
    names = [f"r{i:02d}" for i in range(20)]
    append = flaky.append_rows

    def meanwhile(model, rows):
        append(model, rows)
        if rows[0][0] == names[10]:
            assert log.put([row("while it catches up")])

    monkeypatch.setattr(flaky, "append_rows", meanwhile)
    flaky.down = True
    log = LogWriter(flaky, "m", 700, tmp_path / "spill")
    assert all([log.put([row(name)]) for name in names])
    assert (log.state.waiting, log.state.dropped) == (20, 0)
    assert asyncio.run(log.put_durably([row("durable")], 0, 5)) is False, "it would not be committed in time"
    log.start()
    assert until(lambda: log.state.failing_since is not None)
    flaky.down = False
    assert until(lambda: log.state.waiting == 0)
    assert flaky.read(ALWAYS).frame.index.tolist() == [*names, "while it catches up"]
    assert until(lambda: not log._over), "memory is used again"
    log.close()
    assert (log.state.written, log.state.torn, list((tmp_path / "spill").iterdir())) == (21, 0, [])


@pytest.mark.parametrize("answered", [True, False])
def test_what_has_no_room_is_counted_where_it_was_answered(flaky, tmp_path: Path, quiet, answered):
    log = LogWriter(flaky, "m", 500, tmp_path / "spill", spill_bytes=300)
    told = [log.put([row(f"r{i}")], answered=answered) for i in range(9)]
    taken = sum(told)
    assert 2 < taken < 8 and told == [True] * taken + [False] * (9 - taken)
    assert sum(path.stat().st_size for path in (tmp_path / "spill").glob("*.taken")) <= 300
    assert log.state.dropped == (9 - taken if answered else 0)
    log.start()
    assert until(lambda: log.state.waiting == 0)
    assert log.put([row("later")])
    log.close()
    assert ids(flaky) == sorted([*(f"r{i}" for i in range(taken)), "later"])


def test_without_a_file_rows_wait_in_memory_and_it_is_said(flaky, tmp_path: Path, quiet, monkeypatch):
    (tmp_path / "spill").write_text("a file where the folder should be")
    monkeypatch.setattr(logs, "_AGAIN_S", 0.0)
    log = LogWriter(flaky, "m", 700, tmp_path / "spill")
    assert log.put([row("a")])
    assert "File exists" in log.state.spill_error
    (tmp_path / "spill").unlink()
    assert log.put([row("b")]) and log.state.spill_error == ""
    assert held(tmp_path / "spill") == [row("b")]
    log.start()
    log.close()
    assert ids(flaky) == ["a", "b"]


def test_a_write_that_is_cut_short_leaves_whole_records(tmp_path: Path, monkeypatch):
    spill = Spill(tmp_path / "spill")
    spill.append(pack([row("a")]))
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:7]))
    with pytest.raises(OSError, match="only 7 of"):
        spill.append(pack([row("b")]))
    monkeypatch.undo()
    spill.append(pack([row("c")]))
    assert held(tmp_path / "spill") == [row("a"), row("c")]


def test_a_replay_waits_for_the_database(flaky, tmp_path: Path, quiet):
    kept(tmp_path / "spill", row("a"))
    flaky.down = True
    log = LogWriter(flaky, "m", 10**6, tmp_path / "spill")
    log.start()
    assert until(lambda: log.state.error == "down")
    flaky.down = False
    assert until(lambda: log.state.replayed == 1)
    log.close()
    assert ids(flaky) == ["a"]


def test_a_living_process_keeps_its_file(tmp_path: Path):
    spill = Spill(tmp_path)
    spill.append(pack([row("a")]))
    assert list(left_behind(tmp_path)) == []
    spill.close()
    assert [list(read(path)) for path in left_behind(tmp_path)] == [[(0, [row("a")])]]
    assert not list(tmp_path.iterdir())


def test_a_file_stays_where_its_replay_failed(tmp_path: Path):
    kept(tmp_path, row("a"))
    with pytest.raises(ZeroDivisionError):
        for _ in left_behind(tmp_path):
            raise ZeroDivisionError
    assert len(list(tmp_path.iterdir())) == 1


ODD = (None, 1, "\u00e7", float("inf"), 1e308, -(2**62))


@pytest.mark.parametrize("cut", [1, 5, 9, 30])
def test_a_tail_that_is_cut_off_ends_the_file(tmp_path: Path, cut: int, quiet):
    path = kept(tmp_path, row("a"), ODD)
    assert held(tmp_path) == [row("a"), ODD]
    path.write_bytes(path.read_bytes()[:-cut])
    assert held(tmp_path) == [row("a")]


def test_a_damaged_record_costs_itself_and_is_counted(flaky, tmp_path: Path, quiet):
    path = kept(tmp_path / "spill", row("a"), row("b"), row("c"))
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    log = LogWriter(flaky, "m", 10**6, tmp_path / "spill")
    log.start()
    assert until(lambda: log.state.replayed == 2)
    log.close()
    assert (ids(flaky), log.state.torn) == (["a", "c"], 1)
    assert missing(flaky, -60, 99) == ["1 rows: damaged in the local file"]


def test_what_the_release_before_left_is_logged(flaky, tmp_path: Path):
    """Records of length and CRC-32 alone."""
    body = spills._encode([row("a")])
    (tmp_path / "spill").mkdir()
    (tmp_path / "spill" / "1-old.rows").write_bytes(len(body).to_bytes(4) + zlib.crc32(body).to_bytes(4) + body)
    log = LogWriter(flaky, "m", 10**6, tmp_path / "spill")
    log.start()
    assert until(lambda: log.state.replayed == 1)
    log.close()
    assert (ids(flaky), list((tmp_path / "spill").iterdir())) == (["a"], [])


def test_what_the_dead_left_counts_as_room_that_is_taken(tmp_path: Path):
    size = kept(tmp_path, row("a")).stat().st_size
    spill = Spill(tmp_path, limit=size + 10)
    with pytest.raises(FullError, match="holds"):
        spill.append(pack([row("b")]))


def test_what_memory_had_no_room_for_is_left_to_the_next_process(flaky, tmp_path: Path, quiet, hurried):
    flaky.down = True
    log = LogWriter(flaky, "m", 500, tmp_path / "spill")
    assert all(log.put([row(f"r{i}")]) for i in range(9))
    log.start()
    assert until(lambda: log.state.failing_since is not None)
    log.close()
    flaky.down = False
    again = LogWriter(flaky, "m", 500, tmp_path / "spill")
    again.start()
    assert until(lambda: again.state.replayed == 9)
    again.close()
    assert (ids(flaky), list((tmp_path / "spill").iterdir())) == ([f"r{i}" for i in range(9)], [])


def missing(table, first: int = 0, minutes: int = 1_000) -> list[str]:
    start = datetime.fromtimestamp(first, UTC)
    return [str(gap) for gap in table.gaps.between("m", start, start + timedelta(minutes=minutes))]


def test_what_is_answered_and_not_logged_is_counted_in_its_window_whatever_dies(flaky, tmp_path: Path, quiet):
    folder, when = tmp_path / "spill", 60_000_000
    flaky.down = True
    child = os.fork()
    if not child:  # a process that has room for nothing, and is killed at once
        dying = LogWriter(flaky, "m", 0, folder, spill_bytes=0)
        told = [dying.put([("r", minute * when, *row("r")[2:])] * 3) for minute in (1, 2, 1)]
        os.kill(os.getpid(), signal.SIGKILL if not any(told) else signal.SIGTERM)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    (path,) = folder.glob("*.gaps")
    assert dict(gaps.read(path)) == {(when, NO_ROOM): 6, (2 * when, NO_ROOM): 3}
    path.write_bytes(path.read_bytes() + b"torn")

    log = LogWriter(flaky, "m", 0, folder, spill_bytes=0)
    flaky.gaps.put("m", path.stem, {(when, NO_ROOM): 6})  # its process came so far
    log.start()
    assert until(lambda: not list(folder.glob("*.gaps")))
    assert missing(flaky) == [f"9 rows: {NO_ROOM}"], "each once"
    log.put([row("one")] * 4)
    assert list(folder.glob("*.gaps")), "kept while the database is away"
    flaky.down = False
    log._wake.set()
    assert until(lambda: not list(folder.glob("*.gaps")))
    log.close()
    assert missing(flaky, 60, 1) == [f"6 rows: {NO_ROOM}"] and missing(flaky, -60, 2) == [f"4 rows: {NO_ROOM}"]


def test_counts_of_what_is_not_logged_do_not_grow_with_what_clients_date(flaky, tmp_path: Path, monkeypatch, quiet):
    monkeypatch.setattr(gaps, "MINUTES", 3)
    counter = gaps.GapCounter(tmp_path)
    counter.count(NO_ROOM, [minute * 60_000_000 for minute in range(10)])
    (path,) = tmp_path.glob("*.gaps")
    assert [rows for _, rows in gaps.read(path)] == [8, 1, 1]
    counter.close()
    away = gaps.GapCounter(path / "no folder")
    away.count(NO_ROOM, [0])
    assert away.write(flaky, "m") and gaps.GapCounter(tmp_path).write(flaky, "m")
    assert missing(flaky, -60, 99) == [f"11 rows: {NO_ROOM}"] and not list(tmp_path.glob("*.gaps"))
