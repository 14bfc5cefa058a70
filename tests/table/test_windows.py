from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfheal.errors import InputError, NotFoundError
from selfheal.policy import WindowSpec
from selfheal.table import InferenceTable
from selfheal.table.windows import MAX_JOINED, join_windows

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NO = timedelta(0)

law = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
many = settings(max_examples=200, deadline=None)


def put(table: InferenceTable, model: str, times, ids=None) -> None:
    n = len(times)
    table.append_rows(
        model,
        [
            (ids[i] if ids else f"{model}-{i}", (at - EPOCH) // timedelta(microseconds=1), float(i), 0.5, 0.5, 1, 0.1)
            for i, at in enumerate(times)
        ]
        if n
        else [],
    )


@pytest.fixture
def small(table, fresh_model):
    """Makes models of one column."""
    return lambda: fresh_model(table, {"x": "float"}, (0, 1))


@many
@given(st.dictionaries(st.integers(-20, 20), st.integers(0, 9)), st.integers(-20, 25), st.integers(0, 12))
def test_joined_windows_cover_every_closed_row_once(counts, closed, min_rows):
    spans = join_windows(counts, closed=closed, min_rows=min_rows)
    covered = [base for span in spans for base in range(span.first, span.last + 1)]
    assert covered == sorted(set(covered))
    assert all(base < closed for base in covered)
    for span in spans:
        assert span.rows == sum(counts.get(base, 0) for base in range(span.first, span.last + 1))
        assert span.too_few == (span.rows < min_rows)
        assert 1 <= span.last - span.first + 1 <= MAX_JOINED
        assert counts[span.first] > 0
        # no longer than it must be: without its last part it would be too small
        assert span.first == span.last or span.rows - counts.get(span.last, 0) < min_rows
    # what is left out waits for a window that is not closed yet
    waiting = [base for base, rows in counts.items() if rows and base < closed and base not in covered]
    assert not waiting or min(waiting) > closed - 1 - MAX_JOINED
    assert not covered or not waiting or min(waiting) > max(covered)


@law
@given(
    minutes=st.lists(st.integers(-600, 600), min_size=1, max_size=40),
    steps=st.lists(st.integers(-700, 900), min_size=1, max_size=4),
    hours=st.sampled_from([1, 2, 5]),
    min_rows=st.integers(1, 4),
)
def test_windows_of_time_tile_it(table, small, minutes, steps, hours, min_rows):
    """Whatever the moments at which one looks: no row in two windows, and none lost."""
    model, length = small(), hours * HOUR
    put(table, model, [EPOCH + timedelta(minutes=m) for m in minutes])
    seen = []
    for step in [*sorted(steps), 3000]:
        until = EPOCH + timedelta(minutes=step)
        for ref in table.closed_windows(
            model, WindowSpec(duration=length), until=until, lateness=NO, min_rows=min_rows
        ):
            assert ref.end <= until
            assert (ref.start - EPOCH) % length == NO
            assert ref.end - ref.start == ref.joined * length
            window = table.read(ref)
            assert len(window.frame) == ref.rows
            assert all(ref.start <= at < ref.end for at in window.event_times)
            assert ref.too_few == (ref.rows < min_rows)
            seen.append((ref, window.frame.index.tolist()))
            table.record_cycle(model, ref.index, {"decision": "stable"})
    assert [ref.index for ref, _ in seen] == list(range(len(seen)))
    assert all(a.end <= b.start for (a, _), (b, _) in itertools.pairwise(seen))
    ids = [name for _, names in seen for name in names]
    assert sorted(ids) == sorted(f"{model}-{i}" for i in range(len(minutes)))


@law
@given(
    batches=st.lists(st.integers(0, 7), min_size=1, max_size=8),
    length=st.integers(1, 5),
    min_rows=st.integers(1, 12),
)
def test_windows_of_rows_are_every_next_n_by_arrival(table, small, batches, length, min_rows):
    model, sent, seen = small(), 0, []
    spec = WindowSpec(rows=length)
    for batch in batches:
        at = EPOCH - timedelta(days=sent)  # event time runs backwards: only arrival counts
        put(table, model, [at] * batch, [f"{model}-{sent + i}" for i in range(batch)])
        sent += batch
        for ref in table.closed_windows(model, spec, until=EPOCH + HOUR, lateness=NO, min_rows=min_rows):
            window = table.read(ref)
            assert len(window.frame) == ref.rows == ref.joined * length
            assert ref.start == window.event_times.min() and ref.end > window.event_times.max()
            seen += sorted(window.frame.index, key=lambda name: int(name.split("-")[1]))
            table.record_cycle(model, ref.index, {})
    assert seen == [f"{model}-{i}" for i in range(len(seen))]
    assert len(seen) > sent - length * MAX_JOINED


def test_a_window_closes_only_after_the_lateness(table, small):
    model = small()
    put(table, model, [EPOCH])
    spec = WindowSpec(duration=HOUR)
    minute = timedelta(minutes=1)
    assert not table.closed_windows(model, spec, until=EPOCH + HOUR, lateness=minute, min_rows=1)
    assert table.closed_windows(model, spec, until=EPOCH + HOUR + minute, lateness=minute, min_rows=1)


def test_too_few_rows_are_joined_then_recorded_as_too_few(table, small):
    model = small()
    put(table, model, [EPOCH, EPOCH + 4 * HOUR, EPOCH + 5 * HOUR, EPOCH + 9 * HOUR])
    spec = WindowSpec(duration=HOUR)
    refs = table.closed_windows(model, spec, until=EPOCH + 10 * HOUR, lateness=NO, min_rows=2)
    got = [((ref.start - EPOCH) / HOUR, (ref.end - EPOCH) / HOUR, ref.rows, ref.joined, ref.too_few) for ref in refs]
    assert got == [(0, 3, 1, 3, True), (4, 6, 2, 2, False)]
    later = table.closed_windows(model, spec, until=EPOCH + 12 * HOUR, lateness=NO, min_rows=2)
    assert [ref.too_few for ref in later] == [True, False, True]


def test_a_window_waits_until_it_is_recorded_and_is_then_done(table, small):
    model = small()
    put(table, model, [EPOCH, EPOCH + HOUR])
    ask = {"spec": WindowSpec(duration=HOUR), "until": EPOCH + 2 * HOUR, "lateness": NO, "min_rows": 1}
    first, second = table.closed_windows(model, **ask)
    assert table.closed_windows(model, **ask) == [first, second]
    table.record_cycle(model, first.index, {"decision": "stable", "share": np.float64(0.5)})
    assert table.closed_windows(model, **ask) == [second]
    assert table.processed(model) == {0}
    assert table.window(model, 0) == first
    table.record_cycle(model, second.index, {"decision": "alarm"})
    assert [cycle["decision"] for cycle in table.cycles(model)] == ["stable", "alarm"]
    assert table.cycles(model, last=1) == [
        {
            "index": 1,
            "start": "1970-01-01T01:00:00+00:00",
            "end": "1970-01-01T02:00:00+00:00",
            "rows": 1,
            "joined": 1,
            "too_few": False,
            "decision": "alarm",
        }
    ]
    with pytest.raises(NotFoundError, match="no window 5"):
        table.window(model, 5)


def test_rows_that_come_too_late_do_not_reopen_a_window(table, small):
    model = small()
    put(table, model, [EPOCH, EPOCH + 5 * HOUR], ["a", "b"])
    ask = {"spec": WindowSpec(duration=HOUR), "lateness": NO, "min_rows": 1}
    for ref in table.closed_windows(model, until=EPOCH + 6 * HOUR, **ask):
        table.record_cycle(model, ref.index, {})
    put(table, model, [EPOCH + 2 * HOUR, EPOCH + 6 * HOUR], ["late", "c"])
    (ref,) = table.closed_windows(model, until=EPOCH + 8 * HOUR, **ask)
    assert table.read(ref).frame.index.tolist() == ["c"]


def test_another_window_length_starts_where_the_last_ended(table, small):
    model = small()
    put(table, model, [EPOCH + HOUR * h / 2 for h in range(12)])
    for ref in table.closed_windows(model, WindowSpec(duration=HOUR), until=EPOCH + HOUR, lateness=NO, min_rows=1):
        table.record_cycle(model, ref.index, {})
    refs = table.closed_windows(model, WindowSpec(duration=4 * HOUR), until=EPOCH + 4 * HOUR, lateness=NO, min_rows=1)
    assert [(ref.start, ref.end, ref.rows) for ref in refs] == [(EPOCH + HOUR, EPOCH + 4 * HOUR, 6)]
    table.record_cycle(model, refs[0].index, {})
    (by_rows,) = table.closed_windows(model, WindowSpec(rows=3), until=EPOCH + 6 * HOUR, lateness=NO, min_rows=1)
    assert by_rows.start == EPOCH + 4 * HOUR
    assert len(table.read(by_rows).frame) == 3


def test_an_empty_spec_is_refused(table, small):
    with pytest.raises(InputError, match="a duration or a number of rows"):
        table.closed_windows(small(), WindowSpec(), until=EPOCH, lateness=NO, min_rows=1)
