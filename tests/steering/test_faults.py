"""Stages when something else goes wrong at the same time: a file, a reader, a person in between."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from selfheal.errors import ArtifactError, BusyError, RefusedError, UnavailableError
from selfheal.loop import load, pending
from selfheal.loop.watch import watched_over
from selfheal.registry.store import Registry
from selfheal.steering import archive, promote, reconcile, recover, release, rollback
from selfheal.steering.actors import MACHINES, is_person
from selfheal.steering.look import last_look
from selfheal.steering.policies import policy_of_record
from tests.steering.given import HEALS, NAME, POLICY, START, CrashError, crashing, rows, send, toy

FAR = START.replace(year=2027)
SAMPLE = rows(200, 9).drop(columns="y")


def twin_of_2(ws, diagnosis: str = "sensor") -> int:
    """The bytes of version 2 under another number."""
    tags = {"diagnosis": diagnosis, "verdict": "promote", "parent": 1}
    return ws.registry.register(NAME, toy().with_adapter(HEALS[0]).adapter, tags=tags, sample=SAMPLE)


def files_of(ws, version: int) -> list[Path]:
    """Where MLflow keeps a version's adapter."""
    with sqlite3.connect(ws.settings.home / "mlflow.db") as connection:
        source = connection.execute(
            "SELECT storage_location, source FROM model_versions WHERE name = ? AND version = ?", (NAME, version)
        ).fetchone()
    folder = Path(str(source[0] or source[1]).removeprefix("file://"))
    return list(folder.rglob("adapter.safetensors"))


@contextlib.contextmanager
def damaged(*files: Path) -> Iterator[None]:
    """Files that hold nonsense inside the block; the tests share those of the template."""
    held = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_bytes(b"broken")
    try:
        yield
    finally:
        for file, data in held.items():
            file.write_bytes(data)


@pytest.mark.parametrize("diagnosis", ["sensor", "prior"])
def test_what_a_person_archived_does_not_come_back_as_its_twin(ws, diagnosis: str):
    archive(ws, NAME, 2, "ann")
    twin = twin_of_2(ws, diagnosis)
    done = release(ws, NAME, twin)
    assert not done.promoted and "predicts like version 2, which a person withdrew" in done.note
    with pytest.raises(RefusedError, match="a person withdrew"):
        promote(ws, NAME, twin, "flow", over=1)
    assert promote(ws, NAME, twin, "ann").settled == twin
    assert last_look(ws, NAME).vetoed == frozenset(), "her word about one is about both"


@pytest.mark.parametrize(
    ("drifted", "actor", "barred"),
    [(False, "flow", False), (True, "flow", True), (False, "ann", True)],
    ids=["the world turned back", "the heal was wrong", "a person's mistake"],
)
def test_only_what_was_wrong_is_barred(ws, drifted: bool, actor: str, barred: bool):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    version = 2 if not drifted else 3
    promote(ws, NAME, version, actor, over=1)
    frame = rows(200, 1)
    if drifted:  # both columns are in other units: undoing one of them is not it, and natural it is under neither
        frame = frame.assign(temperature=frame["temperature"] + 40)
    send(ws, frame, 0)
    verdict = watched_over(load(ws, NAME).at(pending(ws, NAME, FAR)[-1]))
    assert (verdict.verdict, verdict.by, verdict.rolled_back) == ("worse", "data", True)
    look = last_look(ws, NAME)
    assert look.settled == 1
    assert (version in look.quarantined) == barred
    if not barred:
        assert look.previous is None, "it is no step back from here"
        assert promote(ws, NAME, version, "flow", over=1, kind="recall").settled == version


def test_labels_of_its_own_drift_bar_a_heal_though_the_world_turned_back_since(ws):
    (ws.settings.rules / "toy.yaml").write_text(POLICY)
    promote(ws, NAME, 2, "flow", over=1)
    drifted = rows(200, 1)
    drifted = drifted.assign(temperature=drifted["temperature"] + 40)
    ids = send(ws, drifted, 0)
    send(ws, rows(200, 2), 200)
    first, last = pending(ws, NAME, FAR)
    cycle = {"index": first.index, "swap": last_look(ws, NAME).swap, "own_share": 1.0, "health": "unhealthy"}
    ws.table.record_cycle(NAME, first.index, cycle)
    ws.table.add_labels(NAME, ids, drifted["y"].tolist(), ws.clock())
    verdict = watched_over(load(ws, NAME).at(last))
    assert (verdict.verdict, verdict.by, verdict.rolled_back) == ("worse", "labels", True)
    assert last_look(ws, NAME).quarantined == {2}


@contextlib.contextmanager
def away(ws, version: int) -> Iterator[None]:
    """No file of a version can be read inside the block."""
    shutil.rmtree(ws.settings.cache / "adapters", ignore_errors=True)
    files = files_of(ws, version)
    assert files
    for file in files:
        file.rename(f"{file}.away")
        file.mkdir()
    try:
        yield
    finally:
        for file in files:
            file.rmdir()
            Path(f"{file}.away").rename(file)


def test_a_passing_read_error_condemns_nothing(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 3, "Production")
    with away(ws, 3):
        settled = reconcile(ws, NAME)
        assert (settled.version, settled.alarm) == (1, True)
        assert "tried again" in settled.reason
        assert ws.registry.production(NAME) == [1]
        assert last_look(ws, NAME).quarantined == frozenset()
    settled = reconcile(ws, NAME)
    assert (settled.version, settled.kind) == (3, "manual")
    assert reconcile(ws, NAME).kind == ""


def test_what_somebody_did_since_overrules_what_could_not_be_read(ws):
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 3, "Production")
    with away(ws, 3):
        reconcile(ws, NAME)
    promote(ws, NAME, 4, "ann")
    assert reconcile(ws, NAME).version == 4
    assert ws.registry.production(NAME) == [4]


def test_a_roll_back_does_not_step_past_what_cannot_be_read_now(ws):
    for version in (2, 3):
        promote(ws, NAME, version, "ann")
    ws.models.clear()
    with away(ws, 2), pytest.raises(UnavailableError, match="cannot be read"):
        rollback(ws, NAME, "ann")
    assert rollback(ws, NAME, "ann").settled == 2


def test_a_broken_version_promoted_with_the_archive_box_ticked_brings_back_what_served(ws):
    promote(ws, NAME, 2, "ann")
    promote(ws, NAME, 3, "ann")
    ws.registry.transition(NAME, 4, "Production", archive_others=True)
    with damaged(*files_of(ws, 4)):
        settled = reconcile(ws, NAME)
    assert (settled.version, settled.kind, settled.alarm) == (3, "restore", True)
    look = last_look(ws, NAME)
    assert (look.quarantined, look.vetoed, look.previous) == ({4}, frozenset(), 2)


@pytest.mark.parametrize("at", range(1, 7))
def test_recovery_never_empties_production(ws, at: int, monkeypatch):
    reconcile(ws, NAME)
    dying, _ = crashing(ws, at)
    with pytest.raises(CrashError):
        promote(dying, NAME, 2, "flow", over=1)
    counts = []
    transition = Registry.transition

    def watched(self, name, version, stage, archive_others=False):
        if stage == "Archived" and version == 1:  # a person is faster, just before the old one goes out
            transition(self, name, 2, "Archived")
        transition(self, name, version, stage, archive_others)
        counts.append(len(self.production(name)))

    monkeypatch.setattr(Registry, "transition", watched)
    with contextlib.suppress(BusyError):
        recover(ws, NAME)
    monkeypatch.setattr(Registry, "transition", transition)
    recover(ws, NAME)
    assert len(ws.registry.production(NAME)) == 1
    assert ws.table.journal_open(NAME) == []


def test_a_newcomer_that_a_person_archives_in_between_leaves_what_served(ws):
    """The old one was not yet out: it stays."""
    reconcile(ws, NAME)
    dying, point = crashing(ws, 2)
    point.then = lambda: ws.registry.transition(NAME, 2, "Archived")
    with pytest.raises(BusyError, match="was moved to Archived meanwhile; version 1 stays"):
        promote(dying, NAME, 2, "flow", over=1)
    assert ws.registry.production(NAME) == [1]
    assert recover(ws, NAME).version == 1
    assert last_look(ws, NAME).vetoed == {2}


def test_a_corrupt_adapter_that_was_loaded_before_moves_nothing(ws):
    promote(ws, NAME, 2, "ann")
    promote(ws, NAME, 1, "ann")  # version 2 stays loaded
    cached = (ws.settings.cache / "adapters").glob("*")
    with damaged(*files_of(ws, 2), *cached), pytest.raises(ArtifactError, match="was changed"):
        promote(ws, NAME, 2, "ann")
    assert ws.registry.production(NAME) == [1]
    assert ws.table.journal_open(NAME) == []
    assert reconcile(ws, NAME).version == 1


def test_a_damaged_copy_in_the_cache_is_fetched_anew(ws):
    ws.registry.adapter(NAME, 2)
    for file in (ws.settings.cache / "adapters").glob("*"):
        file.write_bytes(b"broken")
    assert promote(ws, NAME, 2, "ann").settled == 2


def test_the_reconciler_closes_no_entry_that_another_process_is_noting(ws, monkeypatch):
    """A policy is noted without the lease of the stages, in one transaction: nobody finds it open."""
    reconcile(ws, NAME)
    (ws.settings.rules / "toy.yaml").write_text(POLICY.replace("[2, 3]", "[1, 2]"))
    done = type(ws.table).journal_done

    def late(self, entry, outcome):
        recover(ws, NAME)
        done(self, entry, outcome)

    monkeypatch.setattr(type(ws.table), "journal_done", late)
    assert policy_of_record(ws, NAME, toy()).fault == ""


def test_no_program_is_a_person():
    assert not any(is_person(actor) for actor in MACHINES)
    assert not is_person("reconciler")
    assert is_person("ann")


def test_a_roll_back_by_hand_bars_what_it_takes_back(ws):
    promote(ws, NAME, 2, "flow", over=1)
    rollback(ws, NAME, "ann", reason="complaints")
    assert last_look(ws, NAME).quarantined == {2}
