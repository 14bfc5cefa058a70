"""What a step asks for: loads and queries are counted, and grow with neither versions nor the journal."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from selfheal.loop import load, pending, status
from selfheal.loop.heals import memory
from selfheal.registry import archive, store
from selfheal.registry.versions import VersionStore
from selfheal.steering.look import Look
from selfheal.steering.models import load_version, serving_model
from selfheal.steering.policies import policy_of_record
from selfheal.steering.reconciler import reconcile
from selfheal.steering.stages import promote, rollback
from selfheal.steering.workspace import Workspace
from selfheal.table import WindowRef
from tests.steering.given import NAME, POLICY, START, stages


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a base was opened, an adapter read, and MLflow searched."""
    count: Counter[str] = Counter()

    def counting(word: str, real: Any) -> Any:
        def called(*args: Any, **kwargs: Any) -> Any:
            count[word] += 1
            return real(*args, **kwargs)

        return called

    monkeypatch.setattr(archive, "load_base", counting("bases", archive.load_base))
    monkeypatch.setattr(store.Registry, "adapter", counting("adapters", store.Registry.adapter))
    monkeypatch.setattr(VersionStore, "versions", counting("searches", VersionStore.versions))
    return count


def test_a_heals_memory_reads_only_what_may_be_recalled(ws: Workspace, asked: Counter[str]) -> None:
    served = replace(load(ws, NAME), look=Look(settled=1, lineage=(3,), stages=stages(ws)))
    asked.clear()
    window = WindowRef(NAME, 0, START, START, 0, 1, too_few=False)
    assert [version for version, _, _ in memory(served.at(window))] == [3, 1]
    assert asked == {"adapters": 2, "searches": 1}


def test_versions_of_one_base_open_it_once(ws: Workspace, asked: Counter[str]) -> None:
    serving_model(ws, NAME)
    loaded = [load_version(ws, NAME, version) for version in (1, 2, 3, 4)]
    assert len({model.adapter.digest for model in loaded}) == 4
    assert asked["bases"] == 1


def test_what_is_done_to_one_version_does_not_read_all(ws: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow's own client would, to see that the model is no prompt."""
    monkeypatch.setattr("mlflow.MlflowClient.get_registered_model", lambda *_: pytest.fail("all versions are read"))
    ws.registry.set_tag(NAME, 2, "seen", "yes")
    ws.registry.store.set_alias(NAME, "mine", 2)
    ws.registry.store.set_description(NAME, 2, "words")
    ws.registry.transition(NAME, 2, "Archived")
    info = ws.registry.version(NAME, 2)
    assert (info.tags["seen"], info.description, info.stage) == ("yes", "words", "Archived")


def test_a_roll_back_opens_what_it_goes_to_and_no_other(ws: Workspace, asked: Counter[str]) -> None:
    for version in (2, 3, 4):
        promote(ws, NAME, version, "ann")
    ws.models.clear()
    asked.clear()
    assert rollback(ws, NAME, "ann").settled == 3
    assert asked == {"adapters": 2, "searches": 1}, "one, before it is chosen and before it is moved"


@pytest.mark.parametrize("policy", ["of record", "at adoption"])
def test_status_loads_no_model(ws: Workspace, asked: Counter[str], policy: str) -> None:
    if policy == "of record":
        (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    state = status(ws, NAME)
    assert (state["production"]["adapter"], state["policy"]["fault"]) == (["identity"], "")
    assert pending(ws, NAME, START) == []
    assert asked == {}


SHOWN, ENTRIES = 20, 3000  # the journal's end, of which a look may show twenty; and what lies before it


def test_a_look_costs_the_same_however_long_the_journal_is(ws: Workspace) -> None:
    """Steps of SQLite's machine, which grow with what it reads, after 3,020 entries that carry no look and after 20."""
    (ws.settings.rules / f"{NAME}.yaml").write_text(POLICY)
    model, _ = serving_model(ws, NAME)
    reconcile(ws, NAME)
    looks = (
        lambda: reconcile(ws, NAME),
        lambda: policy_of_record(ws, NAME, model),
        lambda: status(ws, NAME),
    )
    note(ws, SHOWN)
    for look in looks:
        look()
    few = [steps(ws, look) for look in looks]
    note(ws, ENTRIES)
    many = [steps(ws, look) for look in looks]
    # a tree that is a level deeper
    assert [n < 1.2 * before + 100 for n, before in zip(many, few, strict=True)] == [True] * 3, (few, many)


def note(ws: Workspace, entries: int) -> None:
    """Entries in the journal that carry no look."""
    with sqlite3.connect(ws.settings.home / "selfheal.db") as other:
        entry = (NAME, "alert", 0, "{}", '{"result": "noted"}')
        other.executemany(
            "INSERT INTO journal (model, kind, at, intent, outcome) VALUES (?, ?, ?, ?, ?)", [entry] * entries
        )
    other.close()


def steps(ws: Workspace, look: Callable[[], object]) -> int:
    """Steps that the state database takes for a look."""
    count = 0

    def one() -> int:
        nonlocal count
        count += 1
        return 0

    with ws.table._database.read() as connection:
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.set_progress_handler(one, 1)
    try:
        look()
    finally:
        raw.set_progress_handler(None, 0)
    return count
