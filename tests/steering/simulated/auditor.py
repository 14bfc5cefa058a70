"""The auditor: knows the laws of steering, and asks after every step whether one was broken.

It reads what the stores hold and nothing that steering says of itself, but for what the journal is there to tell.
"""

from __future__ import annotations

import json
from typing import Any

from selfheal.table import JournalEntry
from selfheal.table.chain import broken, hash_of
from tests.steering.simulated.database import Row
from tests.steering.simulated.mlflow import LIKE
from tests.steering.simulated.orders import Order, Orders
from tests.steering.simulated.world import NAME, SECOND, BrokenError, Process, World

LOOP = ("flow", "watch", "audit")
PROGRAMS = (*LOOP, "reconciler", "person (MLflow)")
"""Who is journaled where nobody typed a command."""
PATIENCE = 20 * SECOND
"""Production may be empty so long after a person emptied it, or a call met a fault: a lease of a dead process, and a
look."""


class Auditor:
    """The laws, over one world."""

    def __init__(self, world: World, *, budget: tuple[int, int] | None = None, approvers: int = 1) -> None:
        self.world, self.budget, self.approvers = world, budget, approvers
        self.orders = Orders()
        self.spoken = 0
        """The step of the last act of a person in MLflow."""
        self.talked = 0
        """The version of the last command: what people look at next."""
        self.withdrawn: dict[int, int] = {}
        """Versions that a person took out of Staging, by step."""
        self.made: dict[int, Process] = {}
        """Versions that were registered and not staged yet, and by whom."""
        self.frozen = False
        """Whether a freeze has returned with nothing left open."""
        self._empty: int | None = None
        self._read: dict[int, tuple[int, int]] = {}
        """By entry: the steps at which versions and aliases were read for it."""
        self._begun = self._closed = 0
        self.checked: dict[str, int] = {}
        """How often each law was asked in a case where it could have been broken."""
        world.after = self.after

    def fail(self, law: str, words: str) -> None:
        """A law is broken."""
        world = self.world
        raise BrokenError(f"{law}: {words}\nseed {world.seed}, step {world.steps}, call {world.calls}\n{world.story()}")

    def asked(self, law: str) -> None:
        self.checked[law] = self.checked.get(law, 0) + 1

    # ------------------------------------------------------------------ after every step

    def after(self, process: Process | None, what: str, before: tuple[int, int]) -> None:
        """What a step has changed."""
        if before[0] != self.world.mlflow.changes:
            self._never_none(process)
            if process is not None:
                self._moved(process, what)
        database = self.world.database
        if before[1] != database.changes:
            for row in database.journal[self._begun :]:
                self._begin(process, row)
            self._begun = len(database.journal)
            for row in database.closed[self._closed :]:
                self._close(row)
            self._closed = len(database.closed)
            if what.endswith(" freeze"):
                self.frozen = False

    def _never_none(self, process: Process | None) -> None:
        world = self.world
        if world.mlflow.production:
            self._empty = None
        elif self._empty is None:
            self.asked("never none")
            self._empty = world.clock.us
            if process is not None and process.seen >= self.spoken:
                self.fail("never none in Production", f"{process.name} emptied it, and nobody else had moved anything")

    def still_empty(self) -> None:
        """Whether Production is empty for longer than it takes to notice."""
        world = self.world
        since = max(self._empty or 0, world.troubled, *world.away.values())
        if self._empty is not None and world.clock.us - since > PATIENCE:
            self.fail("never none in Production", f"it is empty for {(world.clock.us - self._empty) / SECOND:.0f} s")

    def _moved(self, process: Process, what: str) -> None:
        """A process of ours moved a stage or an alias."""
        words = what.split()
        if words[0] == "alias":
            self._over_an_alias(process, words[1], int(words[2]))
        if words[0] == "create":
            self.made[self.world.mlflow.made] = process
        if words[0] == "move":
            version, stage = int(words[1]), words[3]
        elif words[0] == "tag" and words[2] == "selfheal.stage":
            version, stage = int(words[1]), words[3].strip("'")
        else:
            return
        self._unseen(process, version, stage)
        if self.made.get(version) is process:
            del self.made[version]
        if stage in ("Staging", "None"):
            return  # a heal is registered so
        self.asked("intent before act")
        entries = [row.entry() for row in self.world.database.open()]
        fitting = [e.intent for e in entries if "change" in e.intent and _moves(e, version, stage)]
        if not fitting:
            self.fail("the journal is complete", f"version {version} was moved to {stage}, which no open entry intends")
        if self.frozen and self.world.database.in_force():
            self.asked("freeze")
            if all(_of_loop(intent["change"]) for intent in fitting):
                self.fail("a freeze holds", f"{process.name} moved version {version} for the loop")

    def _unseen(self, process: Process, version: int, stage: str) -> None:
        """What a person did between our look and our act is lost: MLflow compares nothing."""
        for order in self.orders[-1:] if stage != "Production" else ():
            if order.version == version and order.kind == "stage" and order.step > process.looked:
                order.excused = True
        if stage == "Production" and self.withdrawn.get(version, 0) > max(process.looked, process.read.get(version, 0)):
            del self.withdrawn[version]

    def _over_an_alias(self, process: Process, alias: str, version: int) -> None:
        """Somebody's alias was written over."""
        last = self.orders.standing
        if alias == "champion" and last and last.kind == "alias" and last.version != version and not last.taken:
            if last.step <= process.named:
                return  # it was seen; whether it is obeyed, the next settled world shows
            last.excused = True

    def _begin(self, process: Process | None, row: Row) -> None:
        """An entry was begun."""
        intent = row.entry().intent
        if "change" not in intent:
            return
        change, before = intent["change"], intent["before"]
        self._read[row.id] = (0, 0) if process is None else (process.looked, process.named)
        if len([r for r in self.world.database.open() if "change" in r.entry().intent]) > 1:
            self.fail("the journal is complete", f"entry {row.id} was begun while another was open")
        if change["actor"] not in ("flow", "watch") and (
            change["to"] != before["settled"] or change["kind"] == "promote"
        ):
            self._lift(change["to"])
        if not _of_loop(change):
            return
        self.asked("freeze")
        if self.world.database.in_force() is not None:
            self.fail("a freeze holds", f"{change['actor']} began to {change['kind']} version {change['to']}")
        if before["pinned"]:
            self.asked("pin")
            replaces = change["to"] != before["settled"]
            if (change["actor"] != "audit") if replaces else not change["pin"]:
                self.fail("a pin holds", f"{change['actor']} began to {change['kind']} version {change['to']}")
        if change["kind"] != "rollback":
            self._within_budget(row)
            self._approved(change["to"], before)
        if change["actor"] == "flow" and process is not None:
            self._not_withdrawn(process, change, before)

    def _within_budget(self, row: Row) -> None:
        if self.budget is None:
            return
        self.asked("budget")
        most, us = self.budget
        made = 0
        for other in self.world.database.journal:
            if other.kind in ("promote", "recall") and other.at > row.at - us:
                entry = other.entry()
                undone = entry.outcome is not None and entry.outcome["result"] == "undone"
                made += entry.intent["change"]["actor"] in LOOP and not undone
        if made > most:
            self.fail("no budget is passed", f"{made} promotions by the loop, {most} allowed")

    def _approved(self, version: int, before: dict[str, Any]) -> None:
        if self.approvers == 1:
            return
        self.asked("approvers")
        names = {
            row.entry().intent["actor"]
            for row in self.world.database.journal
            if row.kind == "approval"
            and row.entry().intent["version"] == version
            and row.entry().intent["swap"] == before["swap"]
        }
        if len(names) < self.approvers:
            self.fail("approvals are asked for", f"the loop promotes version {version}, approved by {sorted(names)}")

    def _not_withdrawn(self, process: Process, change: dict[str, Any], before: dict[str, Any]) -> None:
        mlflow, to = self.world.mlflow, change["to"]
        barred = {v for v, step in self.withdrawn.items() if step <= process.seen}
        if not change["reason"].startswith("labels: ") and change["kind"] == "promote":
            barred |= set(before["quarantined"])
        barred &= mlflow.versions.keys()
        if not barred or to not in mlflow.versions:
            return
        self.asked("veto")
        own = LIKE[mlflow.digest(to)]
        for version in sorted(barred):
            if LIKE[mlflow.digest(version)] == own and mlflow.unreadable.get(version) != "changed":
                self.fail("no vetoed like is promoted", f"version {to} is the like of {version}, which was withdrawn")

    def _close(self, row: Row) -> None:
        """An entry was closed."""
        entry, database = row.entry(), self.world.database
        before = database.closed[row.link - 2].hash if row.link > 1 else "0" * 64
        if row.hash != hash_of(before, row.link, row.linked().digest):
            self.fail("the journal is chained", f"entry {row.id} does not fit the one before it")
        look = (entry.outcome or {}).get("look")
        if "change" not in entry.intent or look is None:
            return
        change = entry.intent["change"]
        mine = [o for o in self.orders if o.version == look["settled"]]
        fresh = [o for o in mine if not o.taken]
        by_person = change["kind"] == "manual" and change["to"] != entry.intent["before"]["settled"]
        done = (entry.outcome or {})["result"] == "done"
        if by_person and done:
            self.asked("nobody's move")
            if not fresh:
                self.fail(
                    "our own acts are nobody's", f"entry {row.id} obeys a move to {change['to']} that nobody made"
                )
        for order in fresh:
            order.taken = True
        looked, named = self._read.get(row.id, (0, 0))
        self.orders.lose(change["reason"], looked, named, done=done)
        if done and change["actor"] not in PROGRAMS:
            self.orders.command(change, min(looked, named))

    # ------------------------------------------------------------------ what people say

    def order(self, version: int, kind: str) -> None:
        """A person wants a version in Production."""
        # What was there at the last look, and was taken out and back since, is no newcomer.
        look = self.look()
        known = version == look["settled"] or (kind == "stage" and look["stages"].get(str(version)) == "Production")
        known = known or self.world.mlflow.unreadable.get(version) == "changed"
        known = known or (self._is_being_named(version) if kind == "alias" else self._is_being_put_in(version))
        self.orders.append(Order(version, kind, self.world.steps, excused=known))
        self._lift(version)

    def _is_being_named(self, version: int) -> bool:
        """Whether an open entry has come to where it names this version itself: by whom it was named, nothing tells."""
        database = self.world.database
        return bool(database.pointer and database.pointer.version == version) and any(
            row.entry().intent.get("change", {}).get("to") == version for row in database.open()
        )

    def _is_being_put_in(self, version: int) -> bool:
        """Whether an open entry has it in Production, as far as it has said: it was taken out and back since."""
        for entry in (row.entry() for row in self.world.database.open() if "before" in row.entry().intent):
            acts = {str(act["version"]): act["stage"] for act in entry.acts if "version" in act}
            if (entry.intent["before"]["stages"] | acts).get(str(version)) == "Production":
                return True
        return False

    def withdraw(self, version: int, kind: str = "stage") -> None:
        """A person does not want it there any more, as far as its stage or its alias said so."""
        self.orders.withdraw(version, kind, awaited=self.look()["awaited"] == version)

    def unname(self) -> None:
        """The alias says something else by now."""
        self.orders.unname()

    def veto(self, version: int) -> None:
        """A person took a version out of Staging; one that was named challenger since the last look goes back there."""
        named = self.world.mlflow.aliases.get("challenger")
        if version == named != (self.look()["aliases"] or {}).get("challenger"):
            return
        self.withdrawn[version] = self.world.steps

    def staged(self, version: int) -> None:
        """A person put one into Staging: that is no withdrawal."""
        self.withdrawn.pop(version, None)

    def _lift(self, version: int) -> None:
        mlflow = self.world.mlflow
        digest = mlflow.digest(version) if version in mlflow.versions else ""
        twins = [v for v in self.withdrawn if v in mlflow.versions and mlflow.digest(v) == digest]
        for twin in (*twins, version):
            self.withdrawn.pop(twin, None)

    # ------------------------------------------------------------------ once everybody has come to rest

    def settled(self) -> None:
        """What must be so once nobody moves anything any more and everything can be reached."""
        mlflow, database = self.world.mlflow, self.world.database
        self.asked("settled")
        if len(mlflow.production) != 1:
            self.fail("one in Production", f"after settling there are {mlflow.production}")
        serves, pointer = mlflow.production[0], database.pointer
        if pointer is None or (pointer.version, pointer.adapter_digest) != (serves, mlflow.digest(serves)):
            self.fail(
                "the pointer names it", f"{serves} is in Production, the pointer names {pointer and pointer.version}"
            )
        if mlflow.aliases.get("champion") != serves:
            self.fail("alias and stage agree", f"{serves} is in Production, the aliases are {mlflow.aliases}")
        staged = [v for v in mlflow.versions if mlflow.stage(v) == "Staging"]
        named = mlflow.aliases.get("challenger")
        if (named is None) != (not staged) or (named is not None and named not in staged):
            self.fail("alias and stage agree", f"{staged} are in Staging, the challenger is {named}")
        self._registered()
        self._whole()
        last = self.orders.standing
        if last is not None:
            self.asked("newcomer")
            readable = last.version in mlflow.versions and last.version not in mlflow.unreadable
            if not (last.taken or last.dropped or last.excused) and readable:
                words = f"version {last.version} was wanted by its {last.kind}, {serves} serves"
                self.fail("the newcomer is obeyed", words)

    def _registered(self) -> None:
        """What a process registered and did not stage, another one staged, unless a person was faster."""
        mlflow = self.world.mlflow
        for version in self.made.keys() & mlflow.versions.keys():
            self.asked("registered")
            if mlflow.stage(version) == "None":
                self.fail("what is registered is staged", f"version {version} is in no stage")
        self.made.clear()

    def _whole(self) -> None:
        """The journal: nothing is open, everything in the chain, every intent done or undone."""
        database = self.world.database
        if database.open():
            self.fail("the journal is complete", f"{[row.id for row in database.open()]} are open")
        links = [(row.link, row.linked().digest, row.hash) for row in database.closed]
        if (words := broken(links)) or len(links) != len(database.journal):
            self.fail("the journal is chained", words or f"{len(database.journal)} entries, {len(links)} links")
        for row in database.journal:
            if "change" in row.entry().intent and (row.entry().outcome or {}).get("result") not in ("done", "undone"):
                self.fail("the journal is complete", f"entry {row.id} ended as {row.outcome}")

    def look(self) -> dict[str, Any]:
        """The last look that was journaled."""
        for row in reversed(self.world.database.journal):
            if row.outcome and "look" in (outcome := json.loads(row.outcome)):
                return outcome["look"]
        return {}


def _of_loop(change: dict[str, Any]) -> bool:
    return change["actor"] in LOOP and change["kind"] in ("promote", "recall", "rollback")


def _moves(entry: JournalEntry, version: int, stage: str) -> bool:
    """Whether an entry intends that a version goes to a stage, or back to it once it is being undone."""
    change, before = entry.intent["change"], entry.intent["before"]
    if any("undo" in act for act in entry.acts):
        there = before["stages"].get(str(version), "Archived")
        return stage == (there if version == change["to"] else "Production")
    if stage == "Production":
        return bool(version == change["to"])
    return version != change["to"] and (
        version in change["archive"] or before["stages"].get(str(version)) == "Production"
    )


__all__ = ["NAME", "Auditor"]
