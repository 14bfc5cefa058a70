from __future__ import annotations

import dataclasses
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from selfheal.errors import InputError, NotFoundError
from selfheal.table import InferenceTable, Pointer, inference, state
from selfheal.table.schema import LEASES

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TTL = timedelta(seconds=10)


def age(table: InferenceTable, lease: str, seconds: float) -> None:
    """Let a lease be this much older than it is."""
    with table._database.write() as connection:
        shifted = LEASES.c.expires - int(seconds * 1e6)
        connection.execute(LEASES.update().where(LEASES.c.lease == lease).values(expires=shifted))


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["takes", "renews", "gives back"]), st.integers(0, 8)),
        max_size=15,
    ),
    st.integers(0, 10**9),
)
def test_a_lease_has_one_holder(table, steps, number):
    """Against a model in plain Python: whoever holds an unexpired lease keeps it."""
    lease, holder, left = f"lease-{number}", None, 0
    for who in "abc":
        table.release(lease, who)
    for who, does, seconds in steps:
        age(table, lease, seconds)
        left -= seconds
        if does == "takes":
            expected = holder in (None, who) or left <= 0
            assert table.acquire(lease, who, TTL) == expected
            if expected:
                holder, left = who, 10
        elif does == "renews":
            assert table.renew(lease, who, TTL) == (holder == who), "expired is not yet lost"
            left = 10 if holder == who else left
        else:
            table.release(lease, who)
            holder = None if holder == who else holder


def test_of_many_that_ask_at_once_one_gets_the_lease(table):
    table.acquire("other", "x", TTL)
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda who: table.acquire("reconcile", f"h{who}", TTL), range(16)))
    assert sum(got) == 1


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=3650)])
def test_an_expiry_beyond_the_time_to_live_is_expired(table, ahead):
    """A client of the release before, whose clock was ahead, died with the lease."""
    lease = f"ahead-{ahead}"
    assert table.acquire(lease, "dead", TTL)
    assert not table.acquire(lease, "next", TTL)
    age(table, lease, -ahead.total_seconds())
    assert table.acquire(lease, "next", TTL)
    assert not table.renew(lease, "dead", TTL)


class Ahead(datetime):
    """The clock of a client that is an hour ahead."""

    @classmethod
    def now(cls, tz=None):
        return datetime.now(tz) + timedelta(hours=1)


def test_a_lease_goes_by_the_databases_clock(table, monkeypatch):
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 3600)
    for module in (inference, state):
        monkeypatch.setattr(module, "datetime", Ahead, raising=False)
    for held in (table.acquire, table.renew):
        assert held("here", "ahead", TTL)
        assert abs(table.lease_holder("here")[1] / 1e6 - TTL.total_seconds() - now) < 600
    age(table, "here", 11)
    assert table.acquire("here", "next", TTL)


def test_the_journal_keeps_intent_acts_and_outcome(table):
    first = table.journal_begin("m", "promote", {"version": 2}, at=NOW)
    second = table.journal_begin("m", "rollback", {"version": np.int64(1), "when": NOW})
    table.journal_begin("n", "promote", {})
    table.journal_act(first, {"did": "transition"})
    table.journal_act(first, {"did": "archive"})
    table.journal_done(first, {"done": True})
    done, still = table.journal("m")
    assert (done.id, done.model, done.kind, done.at) == (first, "m", "promote", NOW)
    assert done.acts == [{"did": "transition"}, {"did": "archive"}]
    assert done.outcome == {"done": True}
    assert still.intent == {"version": 1, "when": NOW.isoformat()}
    assert table.journal_open("m") == [still] and still.id == second and still.outcome is None
    assert table.journal("m", last=1) == [still]


def test_a_closed_or_unknown_entry_takes_no_more(table):
    entry = table.journal_begin("m", "promote", {})
    table.journal_done(entry, {})
    for act in (lambda: table.journal_act(entry, {}), lambda: table.journal_done(99, {})):
        with pytest.raises(NotFoundError, match="no open entry"):
            act()


def test_the_pointer_is_replaced_as_a_whole(table, url):
    assert table.pointer("m") is None
    pointer = Pointer("m", 1, 1, "ab" * 32, b"\x00weights", "cd" * 32, NOW, False)
    table.set_pointer("m", pointer)
    newer = dataclasses.replace(pointer, version=2, adapter=b"", pinned=True)
    table.set_pointer("m", newer)
    assert table.pointer("m") == newer
    elsewhere = InferenceTable(url)
    assert elsewhere.pointer("m") == newer
    elsewhere.close()
    with pytest.raises(InputError, match="pointer of 'm' cannot be set for 'n'"):
        table.set_pointer("n", newer)


def test_samples_are_bounded_healthy_and_oldest_first(table):
    for index in range(15):
        frame = pd.DataFrame({"x": np.full(3000, float(index)), "order": range(3000), "kind": "ä"})
        record = {"health": "waiting" if index == 13 else "healthy"}
        table.record_cycle("m", index, record, sample=frame.set_index(frame["order"].astype(str)))
    recent = table.recent("m", windows=3)
    assert [frame["x"].iloc[0] for frame in recent] == [11.0, 12.0, 14.0]
    assert all(len(frame) == 2000 and frame["order"].is_monotonic_increasing for frame in recent)
    assert recent[0]["order"].max() >= 2997
    assert len(table.recent("m", windows=99)) == 12
    table.set_health("m", [14], "unhealthy")
    table.set_health("m", [13], "cleared")
    assert [frame["x"].iloc[0] for frame in table.recent("m", windows=2)] == [12.0, 13.0]
    assert table.recent("n") == []
    with pytest.raises(NotFoundError, match="no sample of window 0 of model 'm'"):
        table.set_health("m", [13, 0], "healthy")
    assert [cycle["health"] for cycle in table.cycles("m", last=2)] == ["cleared", "unhealthy"], "all or none"


def test_a_sample_keeps_its_types(table):
    frame = pd.DataFrame({"f": [0.5, np.nan], "i": [1, 2], "b": [True, False], "s": ["a", None]})
    table.record_cycle("m", 0, {"health": "cleared"}, sample=frame)
    pd.testing.assert_frame_equal(table.recent("m")[0], frame)
    table.record_cycle("m", 0, {"health": "healthy"}, sample=frame.iloc[:1])
    assert len(table.recent("m")) == 1 and len(table.recent("m")[0]) == 1


def test_a_cycle_of_an_unplanned_window_can_be_recorded(table):
    table.record_cycle("m", 3, {"decision": "stable"})
    assert table.cycles("m") == [{"index": 3, "decision": "stable"}]


def test_the_books_are_read_at_one_time(table, fresh_model):
    model = fresh_model(table)
    empty = table.glance.books(model)
    assert (empty.head, empty.labels, dict(empty.marks), empty.plan) == (None, (0, 0), {}, "")
    table.journal_note(model, "seen", {}, "seen", NOW)
    for mark in ("one", "two"):
        table.outbox.set_mark(model, mark, mark.upper())
    table.sentinels.set_plan(model, "a plan")
    table.add_labels(model, ["r1", "r2"], [0, 1], NOW)
    table.outbox.set_mark("other", "three", "")
    books = table.glance.books(model)
    assert books.head == table.chain.head(model) and books.head.link == 1
    assert books.labels[0] == 2 and books.labels[1] > 0
    assert (dict(books.marks), books.plan) == ({"one": "ONE", "two": "TWO"}, "a plan")


def test_alerts_are_written_once_whoever_comes_first(table, fresh_model):
    model = fresh_model(table)
    wrote = [
        table.outbox.add(model, [{"n": n}], "told", f"by {n}", seen) for n, seen in enumerate((None, None, "by 0"))
    ]
    assert wrote == [True, False, True]
    assert not table.outbox.add(model, [{"n": 3}], "told", "by 3", "by 0"), "another has told it since"
    assert [row.record["n"] for row in table.outbox.alerts(model)] == [0, 2]
    assert table.outbox.mark(model, "told")[0] == "by 2"


def test_of_more_windows_the_records_are_not_read(table, fresh_model):
    model = fresh_model(table)
    row = {"row_count": 9, "joined": 1, "too_few": False}
    bounds = [{"start_us": k * 10, "end_us": k * 10 + 10, **row} for k in range(5)]
    table.elsewhere.fix(model, table.elsewhere.mark(model), bounds, 100)
    for k in range(4):
        table.record_cycle(model, k, {"k": k})
    records, spans = table.glance.windows(model, 2, 3)
    assert records == table.cycles(model, last=2) and [r["k"] for r in records] == [2, 3]
    assert len(spans) == 3 and spans[-1][1] - spans[0][0] == timedelta(microseconds=30)
    assert table.glance.windows(model, 9, 9)[0] == table.cycles(model)
