"""What steering relies on of MLflow and the state database: asked of the real ones, and of the simulated ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from selfheal.errors import ArtifactError, BusyError, HeldError, InputError, NotFoundError, UnavailableError
from selfheal.registry.versions import PIN
from selfheal.steering.workspace import Workspace
from selfheal.table import Claim, Pointer
from selfheal.table.chain import broken
from selfheal.table.journal import Part
from tests.steering.given import NAME, START
from tests.steering.simulated.database import SimulatedDatabase, SimulatedTable
from tests.steering.simulated.mlflow import ADAPTERS, Clock, SimulatedMlflow, SimulatedRegistry
from tests.steering.test_faults import away, damaged, files_of

TTL = timedelta(seconds=8)


@dataclass
class Stores:
    """Four versions, the first in Production and three in Staging; an empty journal."""

    registry: Any
    table: Any
    let_pass: Callable[[float], None]
    """Let seconds pass on the database's clock."""
    delete: Callable[[int], None]
    heal: Callable[[], int]
    spoilt: Callable[[int, str], Any]
    """A block in which the files of a version are ``away`` or ``changed``."""


def simulated(ws: Workspace) -> Stores:
    clock = Clock()
    mlflow, database = SimulatedMlflow(NAME, clock), SimulatedDatabase(NAME, clock)
    registry = SimulatedRegistry(mlflow, ws.settings)
    for k in range(4):
        registry.heal(NAME, ADAPTERS[k], "m" * 64, diagnosis="sensor", parent=1)
    registry.transition(NAME, 1, "Production")
    registry.store.set_alias(NAME, "champion", 1)

    def let_pass(seconds: float) -> None:
        clock.us += int(seconds * 1e6)

    def heal() -> int:
        let_pass(1)
        return registry.heal(NAME, ADAPTERS[4], "m" * 64, diagnosis="sensor", parent=1)

    class Spoilt:
        def __init__(self, version: int, how: str) -> None:
            self.version, self.how = version, how

        def __enter__(self) -> None:
            mlflow.unreadable[self.version] = self.how

        def __exit__(self, *_: object) -> None:
            del mlflow.unreadable[self.version]

    return Stores(registry, SimulatedTable(database), let_pass, mlflow.delete, heal, Spoilt)


def real(ws: Workspace) -> Stores:
    def let_pass(seconds: float) -> None:
        with closing(sqlite3.connect(ws.settings.home / "selfheal.db")) as connection:
            for table, column in (("leases", "expires"), ("freezes", "until")):
                connection.execute(f'UPDATE {table} SET "{column}" = "{column}" - ?', (int(seconds * 1e6),))
            connection.commit()

    def delete(version: int) -> None:
        with ws.registry._door.asked("delete") as client:
            client.delete_model_version(NAME, str(version))

    def heal() -> int:
        adapter = ws.registry.adapter(NAME, 4)
        return ws.registry.register(NAME, adapter, tags={"diagnosis": "sensor", "parent": 1})

    def spoilt(version: int, how: str) -> Any:
        return away(ws, version) if how == "away" else damaged(*files_of(ws, version), *cached(ws))

    return Stores(ws.registry, ws.table, let_pass, delete, heal, spoilt)


def cached(ws: Workspace) -> list[Any]:
    return list((ws.settings.cache / "adapters").glob("*"))


@pytest.fixture(params=[simulated, real])
def stores(ws: Workspace, request: pytest.FixtureRequest) -> Stores:
    return request.param(ws)


# ------------------------------------------------------------------ MLflow


def test_versions_and_stages(stores: Stores) -> None:
    registry = stores.registry
    before = registry.versions(NAME)
    assert [(v.version, v.stage) for v in before] == [(1, "Production"), (2, "Staging"), (3, "Staging"), (4, "Staging")]
    assert [v.lineage.parent for v in before][1:] == [1, 1, 1] and before[1].lineage.diagnosis == "sensor"
    assert len({v.tags["adapter_digest"] for v in before}) == 4 and len({v.tags["manifest"] for v in before}) == 1
    registry.transition(NAME, 2, "Production")
    assert registry.production(NAME) == [1, 2], "several may be in one stage"
    registry.transition(NAME, 3, "Production", archive_others=True)
    after = {v.version: v for v in registry.versions(NAME)}
    assert [v.stage for v in after.values()] == ["Archived", "Archived", "Production", "Staging"]
    assert after[1].updated == after[2].updated == after[3].updated >= before[2].updated
    assert after[4].updated == before[3].updated, "nobody moved it"
    registry.transition(NAME, 3, "Production")
    assert registry.production(NAME) == [3], "to where it is already"
    with pytest.raises(InputError, match="is no stage"):
        registry.transition(NAME, 3, "Live")


def test_what_is_not_there_is_refused_by_name(stores: Stores) -> None:
    registry = stores.registry
    for ask in (
        lambda: registry.version(NAME, 9),
        lambda: registry.transition(NAME, 9, "Staging"),
        lambda: registry.set_tag(NAME, 9, PIN, True),
        lambda: registry.store.drop_tag(NAME, 9, PIN),
        lambda: registry.store.set_alias(NAME, "champion", 9),
        lambda: registry.versions("nobody"),
        lambda: registry.aliases("nobody"),
    ):
        with pytest.raises(NotFoundError):
            ask()
    assert len(registry.versions(NAME)) == 4 and registry.aliases(NAME) == {"champion": 1}


def test_aliases_and_tags_have_no_time(stores: Stores) -> None:
    registry = stores.registry
    before = registry.version(NAME, 2)
    registry.store.set_alias(NAME, "champion", 2)
    registry.store.set_alias(NAME, "next", 2)
    registry.set_tag(NAME, 2, PIN, True)
    found = registry.version(NAME, 2)
    assert (found.updated, found.pins, found.stage) == (before.updated, True, "Staging")
    registry.store.set_alias(NAME, "champion", 3)
    assert registry.aliases(NAME) == {"champion": 3, "next": 2}
    for _ in range(2):  # the second time there is none
        registry.store.set_alias(NAME, "next", None)
        registry.store.drop_tag(NAME, 2, PIN)
    assert "next" not in registry.aliases(NAME) and not registry.version(NAME, 2).pins
    found.tags.clear()
    assert registry.version(NAME, 2).tags["adapter_digest"], "what was read is a copy"


def test_what_is_deleted_takes_its_aliases_with_it_and_its_number_is_not_given_again(stores: Stores) -> None:
    registry = stores.registry
    registry.store.set_alias(NAME, "champion", 4)
    registry.store.set_alias(NAME, "next", 3)
    stores.delete(4)
    assert [v.version for v in registry.versions(NAME)] == [1, 2, 3]
    assert registry.aliases(NAME) == {"next": 3}
    with pytest.raises(NotFoundError):
        registry.transition(NAME, 4, "Production")


def test_a_heal_comes_in_staging_under_the_next_number(stores: Stores) -> None:
    stores.delete(3)
    number = stores.heal()
    made = stores.registry.version(NAME, number)
    assert (number, made.stage, made.lineage.parent) == (5, "Staging", 1) and made.updated >= made.created
    assert made.lineage.base == 1, "one of ours"


def test_an_adapter_is_what_was_registered_or_is_refused(stores: Stores) -> None:
    registry = stores.registry
    info = registry.version(NAME, 2)
    adapter = registry.adapter(NAME, info)
    assert adapter.digest == info.tags["adapter_digest"] and adapter.base_version == 1
    with stores.spoilt(2, "changed"), pytest.raises(ArtifactError, match="was changed"):
        registry.adapter(NAME, 2)
    with stores.spoilt(2, "away"), pytest.raises(UnavailableError):
        registry.adapter(NAME, 2)
    assert registry.adapter(NAME, 2).digest == adapter.digest


# ------------------------------------------------------------------ the database


def test_a_lease_is_held_renewed_lost_and_given_back(stores: Stores) -> None:
    table = stores.table
    assert table.acquire("stages:x", "a", TTL) and table.acquire("stages:x", "a", TTL)
    assert not table.acquire("stages:x", "b", TTL) and table.lease_holder("stages:x")[0] == "a"
    assert table.acquire("stages:y", "b", TTL), "another lease"
    stores.let_pass(7)
    assert not table.acquire("stages:x", "b", TTL) and table.renew("stages:x", "a", TTL)
    stores.let_pass(9)
    assert table.renew("stages:x", "a", TTL), "it ran out, and nobody took it"
    stores.let_pass(9)
    assert table.acquire("stages:x", "b", TTL) and not table.renew("stages:x", "a", TTL)
    table.release("stages:x", "a")
    assert table.lease_holder("stages:x")[0] == "b", "it is not a's to give back"
    table.release("stages:x", "b")
    assert table.lease_holder("stages:x") is None and not table.renew("stages:x", "b", TTL)
    assert table.acquire("stages:x", "a", timedelta(hours=1)) and table.acquire("stages:x", "b", TTL), "a clock ahead"


def test_nothing_is_written_under_a_lease_that_was_lost(stores: Stores) -> None:
    table, claim = stores.table, Claim("stages:x", "a", TTL)
    assert table.acquire(*claim)
    entry = table.journal_begin(NAME, "manual", {}, START, under=claim)
    stores.let_pass(9)
    table.journal_act(entry, {}, under=claim)  # it ran out, and nobody took it
    assert not table.acquire("stages:x", "b", TTL), "which renewed it"
    stores.let_pass(9)
    assert table.acquire("stages:x", "b", TTL)
    held, pointer = table.pointer(NAME), Pointer(NAME, 2, 1, "b" * 64, b"", "a" * 64, START, pinned=True)
    for write in (
        lambda: table.journal_begin(NAME, "manual", {}, START, under=claim),
        lambda: table.freezes.begin(NAME, "promote", {}, START, under=claim),
        lambda: table.journal_act(entry, {}, under=claim),
        lambda: table.journal_done(entry, {}, under=claim),
        lambda: table.set_pointer(NAME, pointer, under=claim),
    ):
        with pytest.raises(BusyError, match="'stages:x' ran out after 8 s and was taken over"):
            write()
    (left,) = table.journal(NAME)
    assert (left.outcome, left.acts, table.pointer(NAME)) == (None, [{}], held)


def test_the_journal(stores: Stores) -> None:
    table = stores.table
    assert table.journal_settled(NAME) is None and table.journal(NAME) == [] == table.journal_open(NAME)
    first = table.journal_begin(NAME, "promote", {"change": {"to": 2, "vetoed": {4, 3}}}, START)
    assert [e.id for e in table.journal_open(NAME)] == [first]
    table.journal_act(first, {"version": 2, "stage": "Production"})
    table.journal_note(NAME, "seen", {"actor": "ann"}, "as before", START, look={"settled": 1, "stages": {1: "None"}})
    table.journal_act(first, {"version": 1, "stage": "Archived"})
    (entry,) = table.journal_open(NAME)
    assert entry.acts == [{"version": 2, "stage": "Production"}, {"version": 1, "stage": "Archived"}]
    assert (entry.intent, entry.outcome, entry.at) == ({"change": {"to": 2, "vetoed": [3, 4]}}, None, START)
    assert table.journal_settled(NAME).outcome["look"] == {"settled": 1, "stages": {"1": "None"}}
    table.journal_done(first, {"result": "done", "look": {"settled": 2}})
    assert table.journal_open(NAME) == [] and table.journal_settled(NAME).outcome["look"] == {
        "settled": 1,
        "stages": {"1": "None"},
    }
    for again in (
        lambda: table.journal_done(first, {}),
        lambda: table.journal_act(first, {}),
        lambda: table.journal_act(99, {}),
    ):
        with pytest.raises(NotFoundError, match="no open entry"):
            again()
    table.journal_note(NAME, "policy", {}, "in force", START)
    assert [e.kind for e in table.journal(NAME)] == ["promote", "seen", "policy"]
    assert [e.kind for e in table.journal(NAME, last=2)] == ["seen", "policy"]
    assert [e.id for e in table.journal(NAME, kind="promote", last=5)] == [first] and table.journal("nobody") == []
    wanted = {"one": Part(("seen", "policy"), last=1), "two": Part(("seen", "policy")), "three": Part(state="open")}
    found = table.journal_parts(NAME, **wanted)
    assert {k: [e.kind for e in v] for k, v in found.items()} == {
        "one": ["policy"],
        "two": ["seen", "policy"],
        "three": [],
    }
    assert found["two"][0].outcome == {"result": "as before", "look": {"settled": 1, "stages": {"1": "None"}}}
    links = table.chain.links(NAME)
    assert [(link.link, link.kind) for link in links] == [(1, "seen"), (2, "promote"), (3, "policy")], (
        "as they were closed"
    )
    assert broken((link.link, link.digest, link.hash) for link in links) == ""
    assert table.chain.head(NAME).hash == links[-1].hash
    assert links[-1].hash[:12] == "463ba5e727be", "the same of the same entries"


def test_a_freeze_and_what_is_begun_under_it(stores: Stores) -> None:
    table = stores.table
    assert table.freezes.find(NAME) is None and table.freezes.lift(NAME, "ann", START) is None
    first = table.freezes.begin(NAME, "promote", {}, START)
    assert table.freezes.set(NAME, "ann", "an incident", None, START) is None
    with pytest.raises(HeldError, match=r"the freeze by ann .*: an incident"):
        table.freezes.begin(NAME, "promote", {}, START)
    table.journal_done(first, {"result": "done"})
    other = table.journal_begin(NAME, "manual", {}, START)
    table.journal_done(other, {"result": "done"})
    since = table.freezes.find(NAME).since
    assert table.freezes.set(NAME, "bob", "still", since + timedelta(minutes=1), START).by == "ann"
    with pytest.raises(InputError, match="which is over"):
        table.freezes.set(NAME, "bob", "late", since - timedelta(minutes=1), START)
    assert table.freezes.find(NAME).by == "bob"
    stores.let_pass(61)
    assert table.freezes.find(NAME) is None and table.freezes.lift(NAME, "bob", START) is None
    table.journal_done(table.freezes.begin(NAME, "promote", {}, START), {"result": "done"})
    table.freezes.set(NAME, "ann", "again", None, START)
    assert table.freezes.lift(NAME, "bob", START).why == "again" and table.freezes.find(NAME) is None
    assert [e.kind for e in table.journal(NAME)] == [
        "promote", "freeze", "manual", "freeze", "promote", "freeze", "unfreeze",
    ]  # fmt: skip


def test_the_pointer(stores: Stores) -> None:
    table = stores.table
    held = table.pointer(NAME)
    pointer = Pointer(NAME, 2, 1, "b" * 64, b"adapter", "a" * 64, START, pinned=True, base_manifest="m" * 64)
    table.set_pointer(NAME, pointer)
    assert table.pointer(NAME) == pointer != held and table.pointer("nobody") is None
    with pytest.raises(InputError, match="cannot be set for"):
        table.set_pointer("nobody", pointer)
    assert table.schema(NAME) is not None
    with pytest.raises(NotFoundError, match="no model 'nobody'"):
        table.schema("nobody")
