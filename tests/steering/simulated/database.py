"""A simulated state database: what steering asks of the table, in memory, a call a transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from selfheal.errors import BusyError, HeldError, InputError, NotFoundError
from selfheal.table import Claim, JournalEntry, Pointer
from selfheal.table.chain import GENESIS, Head, Link, digest_of, hash_of
from selfheal.table.freezes import Freeze
from selfheal.table.journal import ALL_OPEN, CLOSED, LAST_SETTLED, OPEN, SETTLED, Part
from selfheal.table.shadows import Shadowed
from selfheal.table.values import duration_us, from_us, to_json, to_us
from tests.steering.simulated.mlflow import Clock, Gate, openly

T = TypeVar("T")


@dataclass
class Row:
    """An entry of the journal, as texts."""

    id: int
    model: str
    kind: str
    at: int
    intent: str
    acts: list[str] = field(default_factory=list)
    outcome: str | None = None
    link: int = 0
    hash: str = ""
    known: dict[str, Any] = field(default_factory=dict)

    def entry(self) -> JournalEntry:
        """As the journal gives it."""
        known, outcome = self.known, self.outcome
        if "intent" not in known:
            known["intent"] = json.loads(self.intent)
        if "outcome" not in known and outcome is not None:
            known["outcome"] = json.loads(outcome)
        acts = [json.loads(act) for act in self.acts]
        return JournalEntry(
            self.id, self.model, self.kind, from_us(self.at), known["intent"], acts, known.get("outcome")
        )

    def linked(self) -> Link:
        """As the chain gives it."""
        return Link(self.id, self.model, self.kind, self.at, self.intent, tuple(self.acts), self.outcome or "",
                    self.link, self.hash)  # fmt: skip


class SimulatedDatabase:
    """What the database holds of one model."""

    def __init__(self, name: str, clock: Clock, policy: str = "") -> None:
        self.name, self.clock = name, clock
        self.journal: list[Row] = []
        self.closed: list[Row] = []
        """In the order of the chain."""
        self.leases: dict[str, tuple[str, int]] = {}
        self.pointers: dict[str, Pointer] = {}
        self.frozen: Freeze | None = None
        self.shadows: list[Shadowed] = []
        self.policy = policy
        self.changes = self.renewals = 0

    @property
    def pointer(self) -> Pointer | None:
        """What replicas follow."""
        return self.pointers.get(self.name)

    def open(self) -> list[Row]:
        """Entries that were begun and not closed."""
        return [row for row in self.journal if row.outcome is None]

    def begin(self, model: str, kind: str, intent: dict[str, Any], at: datetime) -> int:
        self.journal.append(Row(len(self.journal) + 1, model, kind, to_us(at), to_json(intent)))
        self.changes += 1
        return len(self.journal)

    def act(self, entry: int, what: dict[str, Any]) -> None:
        self._still_open(entry).acts.append(to_json(what))
        self.changes += 1

    def close(self, entry: int, outcome: dict[str, Any]) -> None:
        row = self._still_open(entry)
        row.outcome = to_json(outcome)
        row.link, before = len(self.closed) + 1, self.closed[-1].hash if self.closed else GENESIS
        digest = digest_of(row.id, row.model, row.kind, row.at, row.intent, row.acts, row.outcome)
        row.hash = hash_of(before, row.link, digest)
        self.closed.append(row)
        self.changes += 1

    def _still_open(self, entry: int) -> Row:
        row = self.journal[entry - 1] if 0 < entry <= len(self.journal) else None
        if row is None or row.outcome is not None:
            raise NotFoundError(f"the journal has no open entry {entry}")
        return row

    def acquire(self, lease: str, holder: str, ttl: timedelta) -> bool:
        held, now = self.leases.get(lease), self.clock.us
        if held is not None and now < held[1] <= now + duration_us(ttl) and held[0] != holder:
            return False
        self._hold(lease, holder, ttl)
        return True

    def renew(self, lease: str, holder: str, ttl: timedelta) -> bool:
        if self.leases.get(lease, ("", 0))[0] != holder:
            return False
        self._hold(lease, holder, ttl)
        return True

    def keep(self, claim: Claim | None) -> None:
        if claim is not None and not self.renew(*claim):
            raise BusyError(claim.lost)

    def _hold(self, lease: str, holder: str, ttl: timedelta) -> None:
        self.leases[lease] = (holder, self.clock.us + duration_us(ttl))
        self.renewals += 1

    def release(self, lease: str, holder: str) -> None:
        if self.leases.get(lease, ("", 0))[0] == holder:
            del self.leases[lease]
            self.renewals += 1

    def set_pointer(self, pointer: Pointer) -> None:
        self.pointers[pointer.model] = pointer
        self.changes += 1

    def in_force(self) -> Freeze | None:
        """The freeze in force, by the clock."""
        frozen = self.frozen
        over = frozen is not None and frozen.until is not None and to_us(frozen.until) <= self.clock.us
        return None if over else frozen


class SimulatedTable:
    """The methods of :class:`~selfheal.table.InferenceTable` that steering calls."""

    def __init__(self, store: SimulatedDatabase, gate: Gate[Any] = openly) -> None:
        self._store, self._gate = store, gate
        self.name = "simulated"
        self.freezes, self.shadows, self.chain = _Freezes(self), _Shadows(self), _Chain(self)

    def ask(self, what: str, effect: Callable[[SimulatedDatabase], T], under: Claim | None = None) -> T:
        """One transaction."""
        store = self._store

        def kept() -> T:
            store.keep(under)
            return effect(store)

        answer: T = self._gate("database", what, kept)
        return answer

    def schema(self, model: str) -> object:
        if model != self._store.name:
            raise NotFoundError(f"no model {model!r} in simulated")
        return object()

    def journal_begin(
        self, model: str, kind: str, intent: dict[str, Any], at: datetime, under: Claim | None = None
    ) -> int:
        return self.ask(f"begin {kind}", lambda s: s.begin(model, kind, intent, at), under)

    def journal_note(
        self, model: str, kind: str, intent: dict[str, Any], result: str, at: datetime, **more: Any
    ) -> None:
        self.ask(f"note {kind}", lambda s: s.close(s.begin(model, kind, intent, at), {"result": result, **more}))

    def journal_act(self, entry: int, act: dict[str, Any], under: Claim | None = None) -> None:
        self.ask(f"act of {entry}", lambda s: s.act(entry, act), under)

    def journal_done(self, entry: int, outcome: dict[str, Any], under: Claim | None = None) -> None:
        self.ask(f"done {entry}", lambda s: s.close(entry, outcome), under)

    def journal(self, model: str, last: int | None = None, kind: str | None = None) -> list[JournalEntry]:
        def found(s: SimulatedDatabase) -> list[JournalEntry]:
            rows = [row for row in s.journal if row.model == model and kind in (None, row.kind)]
            return [row.entry() for row in rows[-last if last else 0 :]]

        return self.ask("journal", found)

    def journal_parts(self, model: str, **wanted: Part) -> dict[str, list[JournalEntry]]:
        def found(s: SimulatedDatabase) -> dict[str, list[JournalEntry]]:
            own = [row for row in s.journal if row.model == model]
            return {name: _part(own, part) for name, part in wanted.items()}

        return self.ask(" and ".join(wanted), found)

    def journal_settled(self, model: str) -> JournalEntry | None:
        return next(iter(self.journal_parts(model, settled=LAST_SETTLED)["settled"]), None)

    def journal_open(self, model: str) -> list[JournalEntry]:
        return self.journal_parts(model, open=ALL_OPEN)["open"]

    def acquire(self, lease: str, holder: str, ttl: timedelta) -> bool:
        return self.ask("acquire", lambda s: s.acquire(lease, holder, ttl))

    def renew(self, lease: str, holder: str, ttl: timedelta) -> bool:
        return self.ask("renew", lambda s: s.renew(lease, holder, ttl))

    def lease_holder(self, lease: str) -> tuple[str, int] | None:
        return self.ask("holder", lambda s: s.leases.get(lease))

    def release(self, lease: str, holder: str) -> None:
        self.ask("release", lambda s: s.release(lease, holder))

    def set_pointer(self, model: str, pointer: Pointer, under: Claim | None = None) -> None:
        if pointer.model != model:
            raise InputError(f"the pointer of {pointer.model!r} cannot be set for {model!r}")
        self.ask(f"point at {pointer.version}", lambda s: s.set_pointer(pointer), under)

    def pointer(self, model: str) -> Pointer | None:
        return self.ask("pointer", lambda s: s.pointers.get(model))

    def adopted_policy(self, model: str, base_manifest: str) -> str | None:
        return self.ask("policy", lambda s: s.policy)


def _part(rows: Sequence[Row], part: Part) -> list[JournalEntry]:
    """Entries of a part, oldest first; found from the newest on."""
    found: list[JournalEntry] = []
    for row in reversed(rows):
        entry = row.entry()
        state = OPEN if entry.outcome is None else SETTLED if "look" in entry.outcome else CLOSED
        if (not part.kinds or entry.kind in part.kinds) and part.state in (None, state):
            found.insert(0, entry)
        if len(found) == part.last:
            break
    return found


class _Freezes:
    def __init__(self, table: SimulatedTable) -> None:
        self._table = table

    def find(self, model: str) -> Freeze | None:
        return self._table.ask("freeze", lambda s: s.in_force())

    def set(self, model: str, by: str, why: str, until: datetime | None, at: datetime) -> Freeze | None:
        def effect(s: SimulatedDatabase) -> Freeze | None:
            before = s.in_force()
            if until is not None and to_us(until) <= s.clock.us:
                raise InputError(f"the freeze would end at {until}, which is over")
            s.frozen = Freeze(by, why, from_us(s.clock.us), until)
            intent = {"actor": by, "reasons": [why], "until": None if until is None else until.isoformat()}
            s.close(s.begin(model, "freeze", intent, at), {"result": "frozen"})
            return before

        return self._table.ask("set freeze", effect)

    def lift(self, model: str, by: str, at: datetime) -> Freeze | None:
        def effect(s: SimulatedDatabase) -> Freeze | None:
            before, s.frozen = s.in_force(), None
            if before is not None:
                intent = {"actor": by, "reasons": [f"ends the freeze {before}"]}
                s.close(s.begin(model, "unfreeze", intent, at), {"result": "unfrozen"})
            return before

        return self._table.ask("lift freeze", effect)

    def begin(self, model: str, kind: str, intent: dict[str, Any], at: datetime, under: Claim | None = None) -> int:
        def effect(s: SimulatedDatabase) -> int:
            held = s.in_force()
            if held is not None:
                raise HeldError(f"the end of the freeze {held} (selfheal unfreeze {model})")
            return s.begin(model, kind, intent, at)

        return self._table.ask(f"begin {kind} unless frozen", effect, under)


class _Shadows:
    def __init__(self, table: SimulatedTable) -> None:
        self._table = table

    def versions(self, model: str) -> dict[int, str]:
        return self._table.ask("shadows", lambda s: {each.version: each.adapter_digest for each in s.shadows})

    def set(self, model: str, shadows: Sequence[Shadowed]) -> None:
        def effect(s: SimulatedDatabase) -> None:
            s.shadows = list(shadows)
            s.changes += 1

        self._table.ask("set shadows", effect)


class _Chain:
    def __init__(self, table: SimulatedTable) -> None:
        self._table = table

    def head(self, model: str) -> Head | None:
        return self._table.ask("head", lambda s: Head(s.closed[-1].link, s.closed[-1].hash) if s.closed else None)

    def links(self, model: str, after: int = 0, last: int | None = None) -> list[Link]:
        return self._table.ask("links", lambda s: [row.linked() for row in s.closed[after:]][-(last or 0) :])
