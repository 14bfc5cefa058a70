"""What was answered and is not in the database when the process ends is kept, and logged once by the next one."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from selfheal.serving import log as logs
from selfheal.serving.log import LogWriter
from selfheal.serving.spill import Spill, left_behind, read
from tests.serving.test_log import ALWAYS, flaky, row, until

__all__ = ["flaky"]


def ids(table) -> list[str]:
    return sorted(table.read(ALWAYS).frame.index)


def test_what_is_left_at_the_end_is_logged_by_the_next_process_once(flaky, tmp_path: Path, monkeypatch, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    monkeypatch.setattr(logs, "_CLOSING_S", 0.1)
    folder = tmp_path / "spill"
    log = LogWriter(flaky, "m", 10**6, folder)
    log.start()
    log.put([row("a")])
    assert until(lambda: log.state.written == 1)
    flaky.down = True
    assert all(log.put([row(f"r{i}")]) for i in range(50))
    log.close()
    assert len(list(folder.glob("*.rows"))) == 1
    flaky.down = False
    flaky.append_rows("m", [row("r7")])  # it came through after all: the same id is not logged twice
    again = LogWriter(flaky, "m", 10**6, folder)
    again.start()
    assert until(lambda: again.state.replayed == 50)
    again.close()
    assert ids(flaky) == sorted(["a", *(f"r{i}" for i in range(50))])
    assert not list(folder.glob("*"))


def test_a_process_that_ends_with_everything_logged_leaves_nothing(flaky, tmp_path: Path):
    log = LogWriter(flaky, "m", 10**6, tmp_path / "spill")
    log.put([row("a")])
    log.start()
    log.close()
    assert ids(flaky) == ["a"]
    assert not list(tmp_path.glob("spill/*"))


def test_a_replay_waits_for_the_database(flaky, tmp_path: Path, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    spill = Spill(tmp_path / "spill")
    spill.write([row("a")])
    spill.close()
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
    spill.write([row("a")])
    assert list(left_behind(tmp_path)) == []
    spill.close()
    assert [list(read(path)) for path in left_behind(tmp_path)] == [[[row("a")]]]
    assert not list(tmp_path.glob("*"))


def test_a_file_stays_where_its_replay_failed(tmp_path: Path):
    spill = Spill(tmp_path)
    spill.write([row("a")])
    spill.close()
    with pytest.raises(ZeroDivisionError):
        for _ in left_behind(tmp_path):
            raise ZeroDivisionError
    assert len(list(tmp_path.glob("*.rows"))) == 1


@pytest.mark.parametrize("cut", [1, 5, 9, 30])
def test_a_tail_that_is_cut_off_or_damaged_ends_the_file(tmp_path: Path, cut: int, caplog):
    caplog.set_level(logging.CRITICAL, "selfheal.serving")
    spill = Spill(tmp_path)
    spill.write([row("a")])
    spill.write([row("b"), (None, 1, "\u00e7", float("inf"), 1e308, -(2**62))])
    spill.close()
    (path,) = tmp_path.glob("*.rows")
    whole = path.read_bytes()
    assert len(list(read(path))) == 2
    path.write_bytes(whole[:-cut])
    assert list(read(path)) == [[row("a")]]
    path.write_bytes(whole[:-cut] + bytes([whole[-cut] ^ 1]) + whole[len(whole) - cut + 1 :])
    assert list(read(path)) == [[row("a")]]


def test_it_is_bounded(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("selfheal.serving.spill.RECORD_ROWS", 1)
    spill = Spill(tmp_path, limit=100)
    assert 0 < spill.write([row(f"r{i}") for i in range(50)]) < 5
    assert next(tmp_path.glob("*.rows")).stat().st_size <= 100
    spill.discard()
