"""Episodes: a seeded world for some rounds, each ended by coming to rest; and the same with one fault at every call."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from selfheal.registry.pointing import pointer_of
from selfheal.steering import reconcile, recover
from tests.steering.simulated.actors import command, does, helper, loop, outage, person
from tests.steering.simulated.auditor import Auditor
from tests.steering.simulated.mlflow import ADAPTERS
from tests.steering.simulated.world import FAULTS, NAME, SECOND, Fault, Odds, Process, World, quietly

POLICY = "model: toy\ntarget: y\nrules: []\n"
RELEASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("", {}),
    ("release: {budget: {promotions: 2, per: 20s}}\n", {"budget": (2, 20 * SECOND)}),
    ("release: {approvers: 2}\n", {"approvers": 2}),
)
"""What a policy says of releases, and what the auditor knows of it."""

ROUNDS = 4


@dataclass
class Told:
    """What an episode came to."""

    steps: int = 0
    changes: int = 0
    leased: int = 0
    """Steps that changed what a store holds; and those that took, renewed or gave back a lease and nothing else."""
    calls: int = 0
    rounds: int = 0
    deaths: int = 0
    checked: dict[str, int] = field(default_factory=dict)

    def __iadd__(self, other: Told) -> Told:
        for name in ("steps", "changes", "leased", "calls", "rounds", "deaths"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for law, count in other.checked.items():
            self.checked[law] = self.checked.get(law, 0) + count
        return self


class Episode:
    """One seed, played to its end."""

    def __init__(self, seed: int, fault: Fault | None = None, odds: Odds | None = None) -> None:
        text, known = RELEASES[seed % len(RELEASES)]
        self.world = World(seed, POLICY + text, stages=seed % 5 != 4, fault=fault)
        self.auditor = Auditor(self.world, **known)
        self.odds = odds or Odds()
        self.processes: list[Process] = []
        self._adopt()

    def _adopt(self) -> None:
        """One version in Production and two in Staging, as an adoption and two heals leave them."""
        world = self.world
        opened = world.open()
        for k in range(3):
            opened.registry.heal(NAME, ADAPTERS[2 * k], "m" * 64, diagnosis="sensor", parent=1)
        opened.registry.transition(NAME, 1, "Production")
        info = opened.registry.version(NAME, 1)
        adapter = opened.registry.adapter(NAME, info)
        opened.table.set_pointer(NAME, pointer_of(NAME, info, adapter, "m" * 64, at=world.now()))
        world.after = self.auditor.after
        self._settle()

    def play(self, rounds: int = ROUNDS) -> Told:
        """The rounds, one after another."""
        for number in range(rounds):
            self._quiet_round() if self.world.random.random() < 0.3 else self._busy_round()
            self.told = self._told(number + 1)
        return self.told

    def _told(self, rounds: int) -> Told:
        world = self.world
        return Told(world.steps, world.changed, world.leased, world.calls, rounds, world.deaths, self.auditor.checked)

    # ------------------------------------------------------------------ rounds

    def _busy_round(self) -> None:
        """Helpers, the loop and people at once."""
        world, random = self.world, self.world.random
        world.resting, world.odds = False, self.odds
        span = int(random.uniform(2, 12) * SECOND)
        for k in range(2):
            self._keep_up(f"helper {k}", random.randrange(SECOND), span)
        for _ in range(random.randrange(1, 6)):
            self._start("loop", does(loop), random.randrange(span))
        for _ in range(random.randrange(0, 4)):
            self._start("command", does(command(self.auditor)), random.randrange(span))
        for _ in range(random.randrange(0, 7)):
            world.later(random.randrange(span), lambda: person(world, self.auditor))
        if self.odds.refused and random.random() < 0.3:
            world.later(random.randrange(span), lambda: outage(world))
        self._watch(span)
        world.run(lambda: False, span)
        self._rest()

    def _watch(self, span: int) -> None:
        for second in range(span // SECOND):
            self.world.later(second * SECOND, self.auditor.still_empty)

    def _start(self, name: str, do: Any, us: int = 0) -> Process:
        process = self.world.start(name, do, us)
        self.processes.append(process)
        return process

    def _keep_up(self, name: str, us: int, span: int) -> None:
        """A helper, and another one soon after it died."""
        process = self._start(name, helper, us)

        def look() -> None:
            if process.dead and not self.world.resting:
                self._keep_up(name, 0, span)
            elif not self.world.resting:
                self.world.later(SECOND, look)

        self.world.later(SECOND, look)

    def _quiet_round(self) -> None:
        """People move what they like in one go; by the rule that is written down, one version wins."""
        world = self.world
        before = self.auditor.look()
        for _ in range(world.random.randrange(1, 5)):
            person(world, self.auditor)
            world.clock.us += world.random.randrange(3_000)
        self._mend()
        allowed = winners(before, world)
        self._settle()
        self.auditor.asked("the rule")
        if not set(world.mlflow.production) <= allowed:
            self.auditor.fail(
                "the newcomer is obeyed", f"{world.mlflow.production} serves, by the rule {sorted(allowed)}"
            )

    def _mend(self) -> None:
        world = self.world
        world.away.clear()
        world.mlflow.unreadable = {v: how for v, how in world.mlflow.unreadable.items() if how != "away"}
        if set(world.mlflow.unreadable) >= set(world.mlflow.versions):
            world.mlflow.unreadable.clear()

    def _rest(self) -> None:
        """Everybody comes to rest: what is begun ends, and nothing new begins."""
        world = self.world
        world.resting, world.odds = True, Odds()
        self._mend()
        if not world.run(lambda: all(process.dead for process in self.processes), 300 * SECOND):
            self.auditor.fail("everybody comes to rest", str([p.name for p in self.processes if not p.dead]))
        self.processes.clear()
        self._settle()

    def _settle(self) -> None:
        """Look until nothing is to be done; then the world must be as the laws have it, and stay so."""
        world = self.world
        for _ in range(6):  # one fault at most, and a version that could not be read before
            said: list[str] = []

            def look(process: Process, said: list[str] = said) -> None:
                quietly(lambda: recover(process.ws, NAME))
                settled = quietly(lambda: reconcile(process.ws, NAME))
                said.append("?" if settled is None else settled.kind or settled.reason)

            process = world.start("settler", look)
            world.run(lambda process=process: process.dead, 60 * SECOND)
            if said == [""]:
                break
        else:
            self.auditor.fail("everybody comes to rest", f"the last look still says {said}")
        before = world.changes
        last = world.start("settler", lambda process: quietly(lambda: reconcile(process.ws, NAME)))
        world.run(lambda: last.dead, 60 * SECOND)
        if world.changes != before:
            self.auditor.fail("our own acts are nobody's", "a look at what was settled changed something")
        self.auditor.settled()


def winners(look: dict[str, Any], world: World) -> set[int]:
    """The versions that may serve after one look: an alias wins over a stage, of several stages the later one."""
    mlflow, settled = world.mlflow, look["settled"]
    readable = mlflow.versions.keys() - mlflow.unreadable.keys()
    named, before = mlflow.aliases.get("champion"), look["aliases"].get("champion")
    if named in readable and named not in (before, settled):
        return {named}
    came = [v for v in mlflow.production if look["stages"].get(str(v)) != "Production"]
    sound = [v for v in came if v in readable]
    if sound:
        return {max(sound, key=lambda v: (mlflow.versions[v].last_updated_timestamp, v))}
    awaited = look["awaited"]
    asked = came or (named is not None and named not in (before, settled))
    if not asked and awaited in readable and mlflow.stage(awaited) == look["stages"].get(str(awaited)):
        return {awaited}
    if settled in mlflow.production:
        return {settled}
    served = {v for v in (settled, *look["lineage"]) if v in readable}
    return served or set(readable)


@contextmanager
def silently() -> Iterator[None]:
    """Nothing is logged: a world that is full of faults has much to say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


TROUBLED = Odds(refused=0.004, lost=0.004, dies=0.006, stalls=0.003)
MORTAL = replace(TROUBLED, dies=0.03)
"""So that of several processes in a row each dies before it has done what it, or another one, began."""


def walk(seed: int, odds: Odds | None = None) -> Told:
    """An episode in which any call may meet a fault, every second seed; or as often as these odds have it."""
    with silently():
        return Episode(seed, odds=odds or (Odds(), TROUBLED, Odds(), MORTAL)[seed % 4]).play()


def sweep(seed: int, rounds: int = 1, every: int = 1) -> Told:
    """An episode without a fault, and then again with each kind of fault at each of its calls."""
    with silently():
        whole = Episode(seed).play(rounds)
        for at in range(1 + seed % every, whole.calls + 1, every):
            for kind in FAULTS:
                whole += Episode(seed, Fault(at, kind)).play(rounds)
    return whole
