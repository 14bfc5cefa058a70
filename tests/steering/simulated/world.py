"""A simulated world: one clock, two stores, processes that run steering's own code, and what becomes of their calls.

Time goes from event to event: every call of a store takes a while, in which others go on. A process is a greenlet that
is left at each of its calls. A call may be refused, or done though its answer is lost, or the last thing that the
process did: an exception that nothing but the simulator catches; what begins then finds what the stores hold.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from selfheal.errors import SelfhealError, UnavailableError
from selfheal.settings import Settings
from selfheal.steering.pace import Pace
from selfheal.steering.workspace import Workspace
from selfheal.table.values import from_us
from tests.steering.simulated.database import SimulatedDatabase, SimulatedTable
from tests.steering.simulated.mlflow import Clock, Gate, SimulatedMlflow, SimulatedRegistry, openly

T = TypeVar("T")

NAME = "toy"
SECOND = 1_000_000
TAIL = 20
"""Steps that a broken law is told with."""
FAULTS = ("refused", "lost", "dies", "dies after")
"""What becomes of a call: refused; done, but its answer lost; the process dies before it, or after it."""


class Died(BaseException):
    """The process died at this call."""


class BrokenError(AssertionError):
    """A law was broken."""


@dataclass(frozen=True)
class Fault:
    """What becomes of the ``at``-th call of a store by any process."""

    at: int
    kind: str


@dataclass(frozen=True)
class Odds:
    """How often a call of a store meets each fault, and how often one takes longer than a lease lives."""

    refused: float = 0.0
    lost: float = 0.0
    dies: float = 0.0
    stalls: float = 0.0


class Process:
    """A process of ours: what it does, in a greenlet, and the workspace that it opened."""

    def __init__(self, world: World, name: str, do: Callable[[Process], None]) -> None:
        self.world, self.name = world, name
        self.dead = False
        self.stalled = 0
        """Until when it is stopped, as by SIGSTOP."""
        self.seen = 0
        """The step at which it last read a version in MLflow."""
        self.looked = 0
        """The step at which it last read all of them."""
        self.read: dict[int, int] = {}
        """The step at which it last read one of them."""
        self.named = 0
        """The step at which it last read the aliases."""
        self.ws = replace(world.open(self.gate), pace=SimulatedPace(self))
        self.greenlet = greenlet(self._run)
        self._do = do

    def _run(self) -> None:
        try:
            self._do(self)
        except Died:
            pass
        finally:
            self.dead = True

    def pause(self, us: int) -> None:
        """Let time pass; others go on."""
        self.world.later(us, self.go_on)
        self.world.main.switch()

    def go_on(self) -> None:
        """Where it was left."""
        self.greenlet.switch()

    def gate(self, store: str, what: str, effect: Callable[[], T]) -> T:
        """One call of a store."""
        world = self.world
        beats = getcurrent() is not self.greenlet
        if not beats and not self.dead:
            self.pause(world.delay(self, what))
        if self.dead:
            raise Died
        fault = "" if beats else world.fault()
        world.count(self.name, store, what, fault)
        if fault == "refused" or world.away.get(store, 0) > world.clock.us:
            raise UnavailableError(f"the {store} is away")
        if fault == "dies":
            self._die()
        answer = world.watched(self, what, effect)
        if fault == "dies after":
            self._die()
        if fault == "lost":
            raise UnavailableError(f"the {store} gave no answer")
        return answer

    def _die(self) -> None:
        self.dead = True
        self.world.deaths += 1
        raise Died


class SimulatedPace(Pace):
    """The time of a world, for one of its processes."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now(self) -> float:
        return self._process.world.clock.us / SECOND

    def wait(self, seconds: float) -> None:
        if self._process.dead:
            raise Died
        self._process.pause(int(seconds * SECOND))

    @contextmanager
    def every(self, seconds: float, do: Callable[[], None], name: str) -> Iterator[None]:
        world, process, over = self._process.world, self._process, []
        us = int(seconds * SECOND)

        def beat() -> None:
            if over or process.dead:
                return
            if process.stalled > world.clock.us:  # all its threads are stopped
                world.later(process.stalled - world.clock.us, beat)
                return
            do()
            world.later(us, beat)

        world.later(us, beat)
        try:
            yield
        finally:
            over.append(True)


class World:
    """One seeded world.

    Attributes
    ----------
    steps, changed, leased
        Calls of stores and acts so far; how many of them changed what a store holds; and how many leases alone.
    tail
        The last twenty steps, in words.
    """

    def __init__(self, seed: int, policy: str, *, stages: bool = True, fault: Fault | None = None) -> None:
        self.seed, self.random, self.clock = seed, random.Random(seed), Clock()
        self.settings = Settings(
            home=Path("simulated"), database_url="simulated", rules=Path("simulated"), tracking_uri="simulated",
            prefect_api_url=None, prefect_home=Path("simulated"), stages=stages,
        )  # fmt: skip
        self.mlflow = SimulatedMlflow(NAME, self.clock, stages=stages)
        self.database = SimulatedDatabase(NAME, self.clock, policy)
        self.odds, self._fault = Odds(), fault
        self.away: dict[str, int] = {}
        """Until when a store is away."""
        self.steps = self.changed = self.leased = self.calls = self.deaths = 0
        self.troubled = 0
        """When a call last met a fault."""
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.resting = False
        """Whether nothing new is begun."""
        self.main = getcurrent()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._numbered = 0
        self.after: Callable[[Process | None, str, tuple[int, int]], None] = lambda *_: None
        """Called after each step that may have changed something: by whom, what, and the changes before."""

    @property
    def changes(self) -> int:
        return self.mlflow.changes + self.database.changes

    def now(self) -> datetime:
        return from_us(self.clock.us)

    def open(self, gate: Gate[Any] = openly) -> Workspace:
        """The stores, through a gate."""
        table, registry = SimulatedTable(self.database, gate), SimulatedRegistry(self.mlflow, self.settings, gate)
        return Workspace(self.settings, table, registry, clock=self.now)  # type: ignore[arg-type]

    def later(self, us: int, do: Callable[[], None]) -> None:
        """Have something done in a while."""
        self._numbered += 1
        heappush(self._events, (self.clock.us + us, self._numbered, do))

    def start(self, name: str, do: Callable[[Process], None], us: int = 0) -> Process:
        """A fresh process."""
        process = Process(self, name, do)
        self.later(us, process.go_on)
        return process

    def run(self, over: Callable[[], bool], us: int) -> bool:
        """Let events happen until something is over; whether it was within so much time."""
        end = self.clock.us + us
        while not over():
            if not self._events or self._events[0][0] > end:
                self.clock.us = end
                return over()
            at, _, do = heappop(self._events)
            self.clock.us = max(self.clock.us, at)
            do()
        return True

    def delay(self, process: Process, what: str) -> int:
        """How long a call takes to be done."""
        us = 1_000 + int(self.random.expovariate(1 / 8_000))
        # A process that is stopped between its last renewal and a move in MLflow moves on a lease that it has lost:
        # MLflow asks nobody. Every other call is fenced.
        if (
            self.odds.stalls
            and self.random.random() < self.odds.stalls
            and not what.startswith(("move", "alias", "tag"))
        ):
            us = int(self.random.uniform(4, 25) * SECOND)
            process.stalled = self.clock.us + us
        return us

    def fault(self) -> str:
        """What becomes of the next call."""
        self.calls += 1
        kind = ""
        if self._fault is not None and self._fault.at == self.calls:
            kind = self._fault.kind
        elif self.odds != Odds():
            odds, drawn = self.odds, self.random.random()
            for name, share in (
                ("refused", odds.refused),
                ("lost", odds.lost),
                ("dies", odds.dies / 2),
                ("dies after", odds.dies / 2),
            ):
                if drawn < share:
                    kind = name
                    break
                drawn -= share
        if kind:
            self.troubled = self.clock.us
        return kind

    def count(self, who: str, store: str, what: str, fault: str = "") -> None:
        """A step."""
        self.steps += 1
        self.tail.append(f"{self.steps} {self.clock.us % 10**10 / SECOND:.3f} {who}: {store} {what} {fault}".rstrip())

    def watched(self, process: Process | None, what: str, effect: Callable[[], T]) -> T:
        """An effect, and what the auditor says of it."""
        before, leases = (self.mlflow.changes, self.database.changes), self.database.renewals
        answer = effect()
        if process is not None:
            if what == "versions":
                process.seen = process.looked = self.steps
            elif what.startswith("version "):
                process.seen = process.read[int(what.split()[1])] = self.steps
            elif what == "aliases":
                process.named = self.steps
        if before == (self.mlflow.changes, self.database.changes):
            self.leased += leases != self.database.renewals
        else:
            self.changed += 1
            self.after(process, what, before)
        return answer

    def act(self, who: str, what: str, effect: Callable[[], Any]) -> None:
        """An act of a person past our programs."""
        self.count(who, "mlflow", what)
        self.watched(None, what, effect)

    def story(self) -> str:
        """What happened last."""
        return "\n".join(self.tail)


def quietly(do: Callable[[], T]) -> T | None:
    """Whatever a process of ours refuses or can't do, it says in selfheal's words."""
    try:
        return do()
    except SelfhealError:
        return None
