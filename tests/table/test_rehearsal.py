"""A table that rehearses sees what it writes while it writes it, and leaves nothing."""

from __future__ import annotations

import pickle
from contextlib import closing
from datetime import UTC, datetime, timedelta

from selfheal.policy import WindowSpec
from selfheal.table import InferenceTable

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_nothing_that_is_written_stays(table, url, rows, house):
    table.create("m", house.dtypes, house.classes)
    table.append("m", **rows([START + timedelta(seconds=k) for k in range(20)]))
    spec, until = WindowSpec(rows=10), START + timedelta(days=1)
    with closing(InferenceTable(url, rehearses=True)) as dry:
        for _ in range(2):
            found = dry.closed_windows("m", spec, until=until, lateness=timedelta(0), min_rows=1)
            assert [ref.index for ref in found] == [0, 1], "planned as it would be"
            assert len(dry.read(found[1]).frame) == 10
        dry.journal_note("m", "policy", {}, "in force", START)
        assert dry.acquire("lease", "me", timedelta(seconds=9)) and dry.lease_holder("lease") is None
        with closing(pickle.loads(pickle.dumps(dry))) as sent:
            assert sent.acquire("lease", "me", timedelta(seconds=9))
    assert table.journal("m") == [] and table.lease_holder("lease") is None
    assert table.cycles("m") == [] and table.processed("m") == set()
    real = table.closed_windows("m", spec, until=until, lateness=timedelta(0), min_rows=1)
    assert real == found and table.window("m", 1) == real[1]
