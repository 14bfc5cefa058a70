"""Processes that are killed at the n-th call that changes a store, and what the next process makes of what they left.

The stores are real: SQLite for the state, MLflow on SQLite. A call is a statement that changes something, or the commit
of some, in either store; the process kills itself before it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa
import yaml

from selfheal.loop.forks import PRELOAD, ChildFailedError, ForkServer
from selfheal.model import MonitoredModel
from selfheal.registry.adoption import adopt_model
from selfheal.steering import freeze, promote, reconcile, recover, rollback, unfreeze
from selfheal.steering.leases import STAGES_TTL
from selfheal.steering.look import last_look
from selfheal.steering.models import load_version
from selfheal.steering.pace import Pace
from selfheal.steering.stages import archive
from selfheal.steering.workspace import Workspace
from selfheal.table.chain import broken
from tests.steering.conftest import closed, copied
from tests.steering.given import NAME, POLICY, CrashError, Point, rows, toy, workspace_at

IMPORTS = (*PRELOAD, "tests.steering.killed", "mlflow.pyfunc", "mlflow.store.tracking.sqlalchemy_store")
"""What a child would spend half a second on otherwise."""

NEW = 5
"""The version of another base's identity; the template has four."""

Act = Callable[[Workspace], object]


def nothing(ws: Workspace) -> None:
    """The template as it is."""


def looked(ws: Workspace) -> None:
    reconcile(ws, NAME)


def promoted(ws: Workspace) -> None:
    promote(ws, NAME, 2, "flow", over=1)


def moved(ws: Workspace) -> None:
    """A person's move that nobody has seen."""
    reconcile(ws, NAME)
    ws.registry.transition(NAME, 3, "Production")


def emptied(ws: Workspace) -> None:
    promoted(ws)
    ws.registry.transition(NAME, 2, "Archived")


def named(ws: Workspace) -> None:
    reconcile(ws, NAME)
    ws.registry.store.set_alias(NAME, "champion", 3)


def half_promoted(ws: Workspace) -> None:
    """A process has died between new in and old out."""
    reconcile(ws, NAME)
    try:
        promote(replace(ws, checkpoint=Point(2)), NAME, 2, "flow", over=1)
    except CrashError:
        return
    raise AssertionError("it did not die")


def frozen(ws: Workspace) -> None:
    promoted(ws)
    freeze(ws, NAME, "ann", "odd claims")


def retrained() -> MonitoredModel:
    """The same network with a reference of this year: another base."""
    model = toy()
    reference: pd.DataFrame = rows(2400, 7)
    return MonitoredModel(model.backbone, model.head, reference, policy=yaml.safe_load(POLICY), name=NAME)


def adopted_anew(ws: Workspace) -> None:
    reconcile(ws, NAME)
    adopt(ws)
    reconcile(ws, NAME)


def adopt(ws: Workspace) -> None:
    adopt_model(NAME, retrained(), ws.registry, ws.table)


def switched(ws: Workspace) -> None:
    adopted_anew(ws)
    promote(ws, NAME, NEW, "ann")


@dataclass(frozen=True)
class Scene:
    """What is there, and what a process is doing when it is killed; ``must``: whether it is done by who comes next."""

    given: Act
    act: Act
    must: bool = False


SCENES = {
    "the first look": Scene(nothing, looked, must=True),
    "a person promotes": Scene(looked, lambda ws: promote(ws, NAME, 3, "ann", pin=True, reason="looks right")),
    "the loop promotes": Scene(looked, lambda ws: promote(ws, NAME, 2, "flow", over=1)),
    "the loop recalls": Scene(
        lambda ws: (promoted(ws), rollback(ws, NAME, "watch", turned=True)),
        lambda ws: promote(ws, NAME, 2, "flow", over=1, kind="recall"),
    ),
    "the watch rolls back": Scene(promoted, lambda ws: rollback(ws, NAME, "watch", over=2, reason="worse")),
    "a person archives": Scene(promoted, lambda ws: archive(ws, NAME, 4, "ann")),
    "a freeze": Scene(looked, lambda ws: freeze(ws, NAME, "ann", "odd claims")),
    "a freeze finishes what was begun": Scene(half_promoted, lambda ws: freeze(ws, NAME, "ann", "odd claims")),
    "a freeze ends": Scene(frozen, lambda ws: unfreeze(ws, NAME, "ann")),
    "a stage moved by a person": Scene(moved, looked, must=True),
    "an alias moved by a person": Scene(named, looked, must=True),
    "an empty Production": Scene(emptied, looked, must=True),
    "what another left half-done": Scene(half_promoted, lambda ws: recover(ws, NAME), must=True),
    "a new base is adopted": Scene(looked, adopt),
    "a new base is promoted": Scene(adopted_anew, lambda ws: promote(ws, NAME, NEW, "ann")),
    "back to the base before": Scene(switched, lambda ws: rollback(ws, NAME, "ann")),
}


class Calls:
    """Counts calls that change a store, of this thread from now on; kills its process before the one numbered ``at``.

    Of this thread: another one renews the lease whenever some seconds have passed, so that a slow run of an act would
    make more calls than a quick one. What it does is done, and counted, before each act too.
    """

    def __init__(self, at: int | None) -> None:
        self.at, self.seen = at, 0
        self._thread = threading.get_ident()
        self._changed: set[int] = set()
        sa.event.listen(sa.Engine, "before_cursor_execute", self._statement)
        sa.event.listen(sa.Engine, "commit", self._commit)

    def _statement(self, connection: sa.Connection, _: object, statement: str, *__: object) -> None:
        if statement.split(None, 1)[0].upper() in ("INSERT", "UPDATE", "DELETE", "CREATE"):
            self._changed.add(id(connection))
            self._call()

    def _commit(self, connection: sa.Connection) -> None:
        if id(connection) in self._changed:
            self._changed.discard(id(connection))
            self._call()

    def _call(self) -> None:
        if threading.get_ident() != self._thread:
            return
        if self.seen == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1


# ---------------------------------------------------------------------- in a child each


def prepare(task: tuple[str, Path]) -> None:
    """What is there before."""
    scene, home = task
    ws = workspace_at(home)
    SCENES[scene].given(ws)
    closed(ws)


def carry_out(task: tuple[str, Path, int | None]) -> int:
    """The scene's act, up to a call; how many there were if it came to its end."""
    scene, home, at = task
    ws = workspace_at(home)
    calls = Calls(at)
    SCENES[scene].act(ws)
    return calls.seen


def slowly(task: tuple[str, Path, int | None]) -> int:
    """The same where the act takes so long that the lease is renewed beside it."""
    every = Pace.every

    @contextmanager
    def renewed(pace: Pace, seconds: float, do: Callable[[], None], name: str) -> Iterator[None]:
        with every(pace, seconds, do, name):
            beside = threading.Thread(target=do)
            beside.start()
            beside.join()
            yield

    Pace.every = renewed  # type: ignore[method-assign]
    return carry_out(task)


def settle(home: Path) -> dict[str, Any]:
    """Recover as every start does, look twice, and say what there is; a broken law is an error."""
    lapsed(home)
    ws = workspace_at(home)
    recover(ws, NAME)
    reconcile(ws, NAME)
    found = state(ws)
    reconcile(ws, NAME)
    assert state(ws) == found, "a second look changes nothing"
    lawful(ws)
    return found


def again(task: tuple[str, Path]) -> dict[str, Any]:
    """The act once more, as who was killed would try it; what there is then."""
    scene, home = task
    ws = workspace_at(home)
    SCENES[scene].act(ws)
    reconcile(ws, NAME)
    lawful(ws)
    return state(ws)


def lapsed(home: Path) -> None:
    """Let the lease of a dead process run out, without waiting for it."""
    with closing(sqlite3.connect(home / "selfheal.db")) as connection:
        connection.execute("UPDATE leases SET expires = expires - ?", (int(STAGES_TTL.total_seconds() * 1e6),))
        connection.commit()


def lawful(ws: Workspace) -> None:
    """What holds whenever everything has come to rest."""
    (serves,) = ws.registry.production(NAME)
    pointer, look, aliases = ws.table.pointer(NAME), last_look(ws, NAME), ws.registry.aliases(NAME)
    versions = {info.version: info for info in ws.registry.versions(NAME)}
    assert pointer is not None and look is not None
    assert pointer.version == look.settled == aliases["champion"] == serves
    assert pointer.adapter_digest == load_version(ws, NAME, versions[serves]).adapter.digest
    staged = [v for v, info in versions.items() if info.stage == "Staging"]
    assert aliases.get("challenger") == max(staged, default=None)
    for info in versions.values():
        load_version(ws, NAME, info)
    assert ws.table.journal_open(NAME) == []
    links = ws.table.chain.links(NAME)
    assert broken((each.link, each.digest, each.hash) for each in links) == ""
    entries = ws.table.journal(NAME)
    assert len(links) == len(entries)
    for entry in entries:
        assert "change" not in entry.intent or (entry.outcome or {})["result"] in ("done", "undone")


def state(ws: Workspace) -> dict[str, Any]:
    """What one sees of a model: what serves, stages, what is barred, tags, freeze, and what was journaled as done."""
    look, freeze_ = last_look(ws, NAME), ws.table.freezes.find(NAME)
    assert look is not None
    done = [e for e in ws.table.journal(NAME) if (e.outcome or {}).get("result") != "undone"]
    return {
        "serves": look.settled,
        "stages": {v.version: v.stage for v in ws.registry.versions(NAME)},
        "tags": {v.version: sorted(v.tags) for v in ws.registry.versions(NAME)},
        "barred": [sorted(look.vetoed), sorted(look.quarantined), sorted(look.past), look.pinned],
        "lineage": list(look.lineage),
        "frozen": None if freeze_ is None else freeze_.why,
        "journal": [(e.kind, e.intent.get("change", {}).get("actor", "")) for e in done],
    }


# ---------------------------------------------------------------------- in the test


@dataclass
class Deaths:
    """One scene, killed at any of its calls.

    Attributes
    ----------
    calls
        How many calls the act makes when nobody kills it.
    """

    scene: str
    others: ForkServer
    template: Path
    folder: Path
    calls: int = 0

    def __post_init__(self) -> None:
        self.home = self._copy(self.template, "given")
        self.others.call(prepare, (self.scene, self.home), 120)
        undisturbed = self._copy(self.home, "undisturbed")
        self.calls = self.others.call(carry_out, (self.scene, undisturbed, None), 120)
        self.after = self.others.call(settle, undisturbed, 120)
        self.before = self.others.call(settle, self._copy(self.home, "untouched"), 120)

    def at(self, call: int) -> str:
        """Kill it there and settle: whether it was ``done`` or ``undone``; anything else is an error."""
        home = self._copy(self.home, f"at {call}")
        try:
            self.others.call(carry_out, (self.scene, home, call), 120)
            raise AssertionError(f"{self.scene}: call {call} of {self.calls} was not reached")
        except ChildFailedError as error:
            assert "exit code -9" in str(error), f"{self.scene}: not killed at call {call}: {error}"
        found = self.others.call(settle, home, 120)
        allowed = [self.after] if SCENES[self.scene].must else [self.after, self.before]
        assert found in allowed, f"{self.scene}: killed at call {call} of {self.calls} it left {found}"
        if found != self.after:
            then = self.others.call(again, (self.scene, home), 120)
            assert then == self.after, f"{self.scene}: killed at call {call}, then done again: {then}"
        shutil.rmtree(home)
        return "done" if found == self.after else "undone"

    def _copy(self, home: Path, name: str) -> Path:
        return copied(home, self.folder / name)
