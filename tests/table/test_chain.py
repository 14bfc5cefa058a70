"""The journal is a chain: whoever changes or drops an entry breaks it; an older one is linked when it is upgraded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from selfheal.table import InferenceTable
from selfheal.table.chain import broken
from selfheal.table.database import Database
from selfheal.table.schema import JOURNAL
from tests.table.test_upgrade import unversioned

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def fault(table, model: str = "m") -> str:
    return broken((each.link, each.digest, each.hash) for each in table.chain.links(model))


def written(table) -> None:
    """An entry that is open while others are closed, one with acts, and one of another model."""
    first = table.journal_begin("m", "promote", {"to": 2}, NOW)
    table.journal_note("m", "policy", {"digest": "é"}, "in force", NOW)
    table.journal_act(first, {"version": 2})
    table.journal_note("other", "policy", {}, "in force", NOW)
    table.journal_act(first, {"version": 1})
    table.journal_done(first, {"result": "done", "look": {}})


def test_entries_are_linked_in_the_order_in_which_they_were_closed(table):
    assert table.chain.head("m") is None
    written(table)
    table.journal_begin("m", "rollback", {}, NOW)
    links = table.chain.links("m")
    assert [(each.link, each.kind) for each in links] == [(1, "policy"), (2, "promote")]
    assert links[1].acts == ('{"version": 2}', '{"version": 1}') and fault(table) == fault(table, "other") == ""
    assert str(table.chain.head("m")) == f"2 {links[1].hash}"
    assert table.chain.links("m", after=1) == links[1:] == table.chain.links("m", last=1)


@pytest.mark.parametrize("change", ["outcome", "intent", "kind", "at", "acts", "drop"])
def test_whatever_is_changed_is_found(table, url, change):
    written(table)
    table.journal_note("m", "clear", {}, "cleared", NOW)
    number = table.chain.links("m")[1].id
    with closing(Database(url)) as database, database.write() as connection:
        if change == "drop":
            connection.execute(JOURNAL.delete().where(JOURNAL.c.id == number))
        elif change == "acts":
            connection.execute(sa.text("UPDATE journal_acts SET act = '{}' WHERE number = 1"))
        else:
            value = 5 if change == "at" else "{}"
            connection.execute(JOURNAL.update().where(JOURNAL.c.id == number).values({change: value}))
    assert "entry 2 of the journal is " in fault(table)


def test_of_many_that_write_at_once_each_has_its_place(table):
    assert table.chain.head("m") is None
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda k: table.journal_note("m", "clear", {"k": k}, "cleared", NOW), range(24)))
    assert table.chain.head("m").link == 24 and fault(table) == ""


def test_a_journal_of_before_is_linked(url):
    unversioned(url)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for outcome in ('{"result": "done"}', None, '{"result": "é"}'):
            text = "INSERT INTO journal (model, kind, at, intent, outcome) VALUES ('rain-x', 'seen', 7, '{}', :outcome)"
            connection.execute(sa.text(text), {"outcome": outcome})
        connection.execute(sa.text("INSERT INTO journal_acts VALUES (1, 0, '{}')"))
    engine.dispose()
    with closing(InferenceTable(url)) as table:
        assert [each.link for each in table.chain.links("rain-x")] == [1, 2] and fault(table, "rain-x") == ""
        table.journal_done(table.journal_open("rain-x")[0].id, {"result": "undone"})
        assert table.chain.head("rain-x").link == 3 and fault(table, "rain-x") == ""
