"""Any sequence of people's stage changes and of the flow's own ends in one Production: the newcomer."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from selfheal.errors import SelfhealError
from selfheal.steering import promote, reconcile, recover, rollback
from selfheal.steering.look import last_look
from selfheal.steering.workspace import Workspace
from selfheal.table import InferenceTable
from tests.steering.given import NAME, CrashError, Point, stages

VERSIONS = st.sampled_from([1, 2, 3, 4])


class Steering(RuleBasedStateMachine):
    """One MLflow store for all examples, put back to where it began; a fresh database for each."""

    store: ClassVar[Workspace]
    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="steer"))
        shutil.copyfile(self.template / "selfheal.db", self.folder / "selfheal.db")
        self.ws = replace(self.store, table=InferenceTable(f"sqlite:///{self.folder}/selfheal.db"))
        for version, stage in stages(self.store).items():
            wanted = "Production" if version == 1 else "Staging"
            if stage != wanted:
                self.store.registry.transition(NAME, version, wanted)
        self.newcomer = 1
        self.dead = False

    def teardown(self) -> None:
        self.ws.table.close()
        shutil.rmtree(self.folder)

    @initialize()
    def looked(self) -> None:
        reconcile(self.ws, NAME)

    @rule(version=VERSIONS, archive=st.booleans())
    def person_promotes(self, version: int, archive: bool) -> None:
        if stages(self.store)[version] == "Production" and not self.dead:
            return  # MLflow does nothing either
        self._settle()
        before = stages(self.store)
        time.sleep(0.002)  # MLflow's stamps are milliseconds
        self.store.registry.transition(NAME, version, "Production", archive_others=archive)
        self.newcomer = version if before[version] != "Production" else self.newcomer
        reconcile(self.ws, NAME)

    @rule(version=VERSIONS, staged=st.none() | VERSIONS)
    def person_moves_the_alias(self, version: int, staged: int | None) -> None:
        self._settle()
        came = staged is not None and stages(self.store)[staged] != "Production"
        if staged is not None:
            self.store.registry.transition(NAME, staged, "Production")
        self.store.registry.store.set_alias(NAME, "champion", version)
        if version != self.newcomer:
            self.newcomer = version
        elif came:
            self.newcomer = staged
        reconcile(self.ws, NAME)

    @rule(version=VERSIONS)
    def person_withdraws(self, version: int) -> None:
        self._settle()
        self.store.registry.transition(NAME, version, "Archived")
        settled = reconcile(self.ws, NAME)
        if version == self.newcomer:
            assert settled.alarm
            self.newcomer = settled.version

    @rule(version=VERSIONS)
    def flow_promotes(self, version: int) -> None:
        self._settle()
        look = last_look(self.ws, NAME)
        try:
            promote(self.ws, NAME, version, "flow", over=self.newcomer)
        except SelfhealError:
            assert version in look.vetoed | look.quarantined
        else:
            self.newcomer = version

    @rule()
    def watch_rolls_back(self) -> None:
        self._settle()
        before = self.newcomer
        try:
            self.newcomer = rollback(self.ws, NAME, "watch").settled
        except SelfhealError:
            return
        assert self.newcomer != before

    @precondition(lambda self: not self.dead)
    @rule(version=VERSIONS, at=st.integers(0, 8))
    def process_dies_while_promoting(self, version: int, at: int) -> None:
        if version == self.newcomer:
            return
        try:
            promote(replace(self.ws, checkpoint=Point(at)), NAME, version, "ann")
        except CrashError:
            self.dead = True
        self.newcomer = version

    def _settle(self) -> None:
        if self.dead:
            recover(self.ws, NAME)
            self.dead = False

    @invariant()
    def never_none(self) -> None:
        production = self.store.registry.production(NAME)
        assert production
        if not self.dead:
            assert production == [self.newcomer]
            assert self.ws.table.pointer(NAME).version == self.newcomer
            assert self.store.registry.aliases(NAME)["champion"] == self.newcomer
            assert self.ws.table.journal_open(NAME) == []


@pytest.mark.parametrize("examples", [6, pytest.param(60, marks=pytest.mark.prove)])
def test_steering(ws, template, examples: int):
    class OnThisStore(Steering):
        store = ws

    OnThisStore.template = template
    run_state_machine_as_test(
        OnThisStore,
        settings=settings(
            max_examples=examples,
            stateful_step_count=8,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            derandomize=True,
        ),
    )
