"""Rows that are in no window: refused ones, by minute, reason and column; answered ones that are not logged."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime, timedelta

from selfheal.table import Gap, InferenceTable, Refusal, WindowRef
from selfheal.table.values import to_us
from tests.table.conftest import CLASSES, DTYPES

TEN = datetime(2026, 1, 1, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_counts_add_up_and_windows_share_none(url):
    with closing(InferenceTable(url)) as table:
        table.create("rain", DTYPES, CLASSES)
        first, last = to_us(TEN), to_us(TEN + 59 * MINUTE)
        for _ in range(2):
            table.refusals.add("rain", {(first, "null", "x"): 3, (last, "null", "x"): 1, (last, "malformed", ""): 9})
        table.refusals.add("other", {(first, "null", "x"): 100})
        hour = 60 * MINUTE
        assert table.refusals.between("rain", TEN, TEN + hour) == [
            Refusal("malformed", "", 18),
            Refusal("null", "x", 8),
        ]
        assert table.refusals.between("rain", TEN + MINUTE, TEN + hour)[1].rows == 2
        assert table.refusals.between("rain", TEN + hour, TEN + 2 * hour) == []
        assert table.refusals.between("rain", TEN - hour, TEN) == []
        assert len(table.refusals.between("rain")) == 2
        assert not table.refusals.served_since("rain", None)


def test_gaps_are_what_each_process_counted_in_all(url):
    with closing(InferenceTable(url)) as table:
        table.create("rain", DTYPES, CLASSES)
        first, last = to_us(TEN), to_us(TEN + 59 * MINUTE)
        for count in (3, 5, 4):  # written again, and by somebody who read an older file
            table.gaps.put("rain", "a", {(first, "full"): count})
        table.gaps.put("rain", "b", {(first, "full"): 2, (last, "torn"): 9})
        table.gaps.put("rain", "c", {})
        hour = 60 * MINUTE
        assert table.gaps.between("rain", TEN, TEN + hour) == [Gap("torn", 9), Gap("full", 7)]
        assert table.gaps.between("rain", TEN, TEN + MINUTE) == [Gap("full", 7)]
        assert table.gaps.between("rain", TEN + hour) == table.gaps.between("other") == []


def test_what_a_window_lost_is_counted_since_the_one_before_it(url):
    with closing(InferenceTable(url)) as table:
        table.create("rain", DTYPES, CLASSES)
        hour, at = 60 * MINUTE, {k: to_us(TEN + k * MINUTE) for k in (5, 50, 70)}
        table.refusals.add("rain", {(at[5], "null", "x"): 1, (at[50], "null", "x"): 2, (at[50], "malformed", ""): 2})
        table.gaps.put("rain", "a", {(at[50], "full"): 4, (at[70], "torn"): 9})
        first = WindowRef("rain", 0, TEN, TEN + 10 * MINUTE, 9, 1, too_few=False)
        second = WindowRef("rain", 1, TEN + 55 * MINUTE, TEN + hour, 9, 1, too_few=False)
        assert table.gaps.around(first) == ([Refusal("null", "x", 1)], [])
        assert table.gaps.around(second) == ([], []), "no window is kept before it"
        ends = {"row_count": 9, "joined": 1, "too_few": False}
        bounds = [{"start_us": to_us(r.start), "end_us": to_us(r.end), **ends} for r in (first, second)]
        table.elsewhere.fix("rain", table.elsewhere.mark("rain"), bounds, to_us(second.end))
        assert table.gaps.around(second) == ([Refusal("malformed", "", 2), Refusal("null", "x", 2)], [Gap("full", 4)])
