"""A freeze: one row a model and one journal entry, by the database's clock; nothing of the loop's begins after it."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from selfheal.errors import HeldError, InputError
from selfheal.table import InferenceTable
from tests.table.test_upgrade import unversioned

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def kinds(table) -> list[str]:
    return [e.kind for e in table.journal("m")]


def test_a_freeze_holds_until_it_is_lifted(table):
    assert table.freezes.find("m") is None and table.freezes.lift("m", "bob", NOW) is None
    assert table.freezes.set("m", "ann", "an incident", None, NOW) is None
    held = table.freezes.find("m")
    assert (held.by, held.why, held.until) == ("ann", "an incident", None)
    assert abs(held.since.timestamp() - time.time()) < 30
    assert table.freezes.find("other") is None
    with pytest.raises(HeldError, match=r"the end of the freeze by ann since 20.* UTC: an incident \(selfheal unfr"):
        table.freezes.begin("m", "promote", {}, NOW)
    assert table.freezes.lift("m", "bob", NOW) == held and table.freezes.find("m") is None
    assert kinds(table) == ["freeze", "unfreeze"], "and no intent of what was refused"
    entry = table.journal("m")[0]
    assert (entry.intent["actor"], entry.intent["reasons"]) == ("ann", ["an incident"])
    assert entry.outcome == {"result": "frozen"}
    assert table.journal("m")[1].intent["actor"] == "bob"
    assert table.freezes.begin("m", "promote", {}, NOW) == table.journal_open("m")[0].id


def test_the_later_word_holds(table):
    table.freezes.set("m", "ann", "an incident", None, NOW)
    before = table.freezes.set("m", "bob", "a longer one", datetime.now(UTC) + timedelta(hours=1), NOW)
    assert (before.by, table.freezes.find("m").by, kinds(table)) == ("ann", "bob", ["freeze", "freeze"])


def test_it_ends_by_itself_by_the_databases_clock(table):
    with pytest.raises(InputError, match="2020-01-01 00:00 UTC, which is over: the database's clock says 20"):
        table.freezes.set("m", "ann", "an incident", datetime(2020, 1, 1, tzinfo=UTC), NOW)
    assert kinds(table) == []
    table.freezes.set("m", "ann", "an incident", datetime.now(UTC) + timedelta(seconds=1), NOW)
    assert table.freezes.find("m") is not None
    time.sleep(1.1)
    assert table.freezes.find("m") is None
    assert table.freezes.begin("m", "promote", {}, NOW)
    assert table.freezes.lift("m", "bob", NOW) is None and "unfreeze" not in kinds(table)


def test_of_many_that_begin_none_begins_after_it(table):
    def begin(_: int) -> bool:
        try:
            table.freezes.begin("m", "promote", {}, NOW)
        except HeldError:
            return False
        return True

    assert table.freezes.find("m") is None
    with ThreadPoolExecutor(6) as pool:
        tries = [pool.submit(begin, k) for k in range(60)]
        while not table.journal("m", last=1):
            time.sleep(0.001)
        table.freezes.set("m", "ann", "an incident", None, NOW)
        begun = [t.result() for t in tries]
    ids = {kind: [e.id for e in table.journal("m", kind=kind)] for kind in ("promote", "freeze")}
    assert len(ids["promote"]) == sum(begun) and max(ids["promote"]) < ids["freeze"][0]
    assert not begin(0)


def test_a_database_of_before_gets_the_table(url):
    unversioned(url)
    with closing(InferenceTable(url)) as table:
        assert table.freezes.find("rain-x") is None
        table.freezes.set("rain-x", "ann", "an incident", None, NOW)
        assert table.freezes.find("rain-x").by == "ann"
