"""An open window of time is closed early where a service asks for it: once, and only with enough rows."""

from __future__ import annotations

from datetime import timedelta

import pytest

from selfheal.policy import WindowSpec
from tests.table.test_windows import EPOCH, HOUR, NO, put

US = timedelta(microseconds=1)


@pytest.fixture
def hourly(table, fresh_model):
    """Ten hours of a row every six minutes, the first of which are handled, and the windows by a time."""
    model = fresh_model(table, {"x": "float"}, (0, 1))

    def closed(until: float, min_rows: int = 4):
        spec = WindowSpec(duration=HOUR)
        found = table.closed_windows(model, spec, until=EPOCH + until * HOUR, lateness=NO, min_rows=min_rows)
        return [((ref.start - EPOCH) / HOUR, (ref.end - EPOCH) / HOUR, ref.rows, ref.joined) for ref in found]

    put(table, model, [EPOCH + HOUR * k / 10 for k in range(40)])
    return table, model, closed


def ask(table, model: str, hour: int, end: float, min_rows: int = 4) -> bool:
    return table.sentinels.ask(table.schema(model), hour * HOUR // US, int(end * (HOUR / US)), min_rows, "data: x")


def test_the_open_window_is_cut_once_and_its_rest_is_the_next(hourly):
    table, model, closed = hourly
    assert closed(2.9) == [(0, 1, 10, 1), (1, 2, 10, 1)]
    assert not ask(table, model, 2, 2.3), "3 rows"
    assert ask(table, model, 2, 2.55) and ask(table, model, 2, 2.75), "the first stands"
    assert closed(2.5)[2:] == [], "its rows may still come"
    assert closed(2.6)[2:] == [(2, 2.55, 6, 1)]
    assert table.sentinels.cut_at(model, EPOCH + 2.55 * HOUR) == "data: x"
    assert table.sentinels.cut_at(model, EPOCH + 2 * HOUR) == ""
    assert closed(2.9)[3:] == [], "once"
    assert ask(table, model, 3, 3.15, min_rows=1), "of a policy that wanted fewer rows"
    assert closed(3.5)[3:] == [(2.55, 3, 4, 1)], "two rows are no window of this one's"
    assert closed(4.0)[4:] == [(3, 4, 10, 1)]


def test_what_was_to_be_joined_is_cut_with_it_and_a_window_that_has_closed_is_not_cut(hourly):
    table, model, closed = hourly
    assert ask(table, model, 0, 0.75), "of a window that will have closed when it is looked at"
    assert closed(1.2, min_rows=12) == [], "one hour is too few, and waits for the next"
    assert ask(table, model, 1, 1.45, min_rows=5)
    assert closed(1.5, min_rows=12) == [(0, 1.45, 15, 2)]
    assert closed(2.2, min_rows=12)[1:] == []
    assert closed(3.0, min_rows=12)[1:] == [(1.45, 3, 15, 2)]


def test_a_run_is_asked_for_once_when_late_rows_have_had_their_time(hourly):
    table, model, _ = hourly
    assert ask(table, model, 2, 2.55)
    assert table.sentinels.due(model, EPOCH + 2.5 * HOUR) is None
    found = table.sentinels.due(model, EPOCH + 2.6 * HOUR)
    assert found is not None and found.why == "data: x" and found.end == int(2.55 * (HOUR / US))
    assert table.sentinels.due(model, EPOCH + 2.6 * HOUR) is None
    table.sentinels.set_plan(model, "one")
    table.sentinels.set_plan(model, "two")
    assert table.sentinels.plan(model) == "two" and table.sentinels.plan("other") == ""
