"""Windows of a log elsewhere, where the policy's windows changed between two looks: no row counts twice."""

from __future__ import annotations

import numpy as np

from selfheal.log.planning import by_rows, by_time
from selfheal.table.cycles import AHEAD_US, Mark


def test_a_window_of_time_begins_where_the_last_one_ended() -> None:
    (window,) = by_time(np.array([11, 12, 14, 16]), 10, Mark(4, 13, None), 20, 1)
    assert (window["start_us"], window["end_us"], window["row_count"]) == (13, 20, 2)


def test_windows_of_rows_begin_after_the_time_that_was_covered() -> None:
    times, numbers = np.array([11, 12, 14, 16]), np.array([1, 2, 3, 4])
    (window,) = by_rows(numbers, times, 2, Mark(4, 13, None), 20, 1)
    assert (window["after_seq"], window["last_seq"], window["start_us"], window["end_us"]) == (2, 4, 14, 17)
    assert by_rows(numbers, times, 2, Mark(4, 13, 3), 20, 1) == []


def test_a_row_of_the_future_keeps_no_window_from_closing() -> None:
    times, numbers = np.array([11, AHEAD_US + 100, 14, 16]), np.array([1, 2, 3, 4])
    (window,) = by_rows(numbers, times, 3, Mark(None, None, None), 20, 1)
    assert (window["row_count"], window["last_seq"], window["end_us"]) == (3, 4, 17)
