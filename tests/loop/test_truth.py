"""What a window is, its record and its sample say alike; who changes one thing leaves the rest; late is not never."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import pytest

from selfheal.errors import NotFoundError
from selfheal.loop import clear, load, pending
from selfheal.loop.backtest import back_test
from selfheal.loop.trial import try_waiting
from selfheal.steering import reconcile
from selfheal.table import InferenceTable
from tests.loop.test_audit import register
from tests.steering.given import NAME, POLICY, START, in_celsius, rows, send, stages

FAR = START.replace(year=2027)
ESTIMATE = {"accuracy": [0.9, 0.1, 1.0], "judged": [0.9, 0.1, 1.0], "labels_say": None, "labelled": 0, "held": None}


def closed(ws, frames: Sequence[pd.DataFrame], health: str = "waiting") -> list[list[str]]:
    """Windows that were looked at, without the cost of a look; the ids of their rows."""
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    reconcile(ws, NAME)
    ids = [send(ws, frame, 200 * k) for k, frame in enumerate(frames)]
    for ref in pending(ws, NAME, FAR):
        told = {"decision": "drift", "health": health, "data_fault": [], "version": 1, "swap": 0, "estimate": ESTIMATE}
        sample = frames[ref.index].drop(columns="y")
        ws.table.record_cycle(NAME, ref.index, told, sample=sample)
    return ids


def truth(ws) -> list[tuple[str, bool]]:
    """Of each window: what its record says, and whether its sample is in the yardstick."""
    with ws.table._database.read() as connection:
        kept = dict(connection.exec_driver_sql("SELECT window_index, healthy FROM healthy_samples").fetchall())
    return [(c["health"], bool(kept[c["index"]])) for c in ws.table.cycles(NAME) if c["index"] in kept]


def test_the_back_test_leaves_what_a_person_cleared_meanwhile(ws, monkeypatch):
    (ids,) = closed(ws, [rows(200, 1)])
    ws.table.add_labels(NAME, ids, rows(200, 1)["y"].tolist(), ws.clock())
    read: Callable[..., Any] = InferenceTable.labelled

    def while_a_person_clears(self: InferenceTable, *args: Any) -> Any:
        clear(ws, NAME, 0, "ann", "natural here")
        return read(self, *args)

    monkeypatch.setattr(InferenceTable, "labelled", while_a_person_clears)
    back_test(load(ws, NAME))
    (cycle,) = ws.table.cycles(NAME)
    assert (cycle["health"], cycle["estimate"]["held"]) == ("cleared", True)
    assert truth(ws) == [("cleared", True)]


def test_a_record_its_sample_and_those_it_releases_are_one_transaction(ws, monkeypatch):
    closed(ws, [rows(200, k) for k in range(3)])
    clear(ws, NAME, 1, "ann", "natural here")
    assert truth(ws) == [("waiting", False), ("cleared", True), ("waiting", False)]
    sample = rows(200, 3).drop(columns="y")
    decided = {"decision": "stable", "health": "healthy"}
    with monkeypatch.context() as patched:
        patched.setattr("selfheal.table.samples.HEALTHY", None)  # it fails after the record was written
        with pytest.raises(TypeError):
            ws.table.record_cycle(NAME, 3, decided, sample=sample)
    assert ws.table.processed(NAME) == {0, 1, 2}
    ws.table.record_cycle(NAME, 3, decided, sample=sample, released=[0, 1, 99])
    assert truth(ws) == [("healthy", True), ("cleared", True), ("waiting", False), ("healthy", True)]


def test_what_cannot_be_cleared_stays_as_it_is(ws):
    closed(ws, [rows(200, k) for k in range(14)], health="unhealthy")
    with pytest.raises(NotFoundError, match="no sample of window 0"):
        clear(ws, NAME, 0, "ann", "too long ago")
    with pytest.raises(NotFoundError, match="window 14 of 'toy' was not processed yet"):
        clear(ws, NAME, 14, "ann", "not yet")
    assert {c["health"] for c in ws.table.cycles(NAME)} == {"unhealthy"}
    assert "clear" not in [e.kind for e in ws.table.journal(NAME)]


def test_what_waits_is_decided_by_labels_that_begin_late(ws):
    frames = [in_celsius(rows(200, 50 + k), "temperature", "dew") for k in range(14)]
    ids = closed(ws, frames)
    version = register(ws, window=0, labels_from=0)
    assert stages(ws)[version] == "Staging"
    assert try_waiting(load(ws, NAME)) is None, "no label has come"
    ws.table.add_labels(NAME, ids[13], frames[13]["y"].tolist(), ws.clock())
    tried = try_waiting(load(ws, NAME))
    assert tried is not None and tried.version == version and tried.says == "better"


def test_few_labels_a_window_decide_in_the_end(ws):
    frames = [in_celsius(rows(200, 50 + k), "temperature", "dew") for k in range(20)]
    ids = closed(ws, frames)
    register(ws, window=0, labels_from=0)
    for k in range(12):
        ws.table.add_labels(NAME, ids[k][:1], frames[k]["y"].tolist()[:1], ws.clock())
    assert try_waiting(load(ws, NAME)).says == "undecided"
    for k in range(12, 20):
        ws.table.add_labels(NAME, ids[k][:40], frames[k]["y"].tolist()[:40], ws.clock())
    assert try_waiting(load(ws, NAME)).says == "better"
