"""What the journal last saw: which version is settled, all stages, what a person withdrew, what is in quarantine.

MLflow keeps no history of stages and does not say who changed one. So every entry of the journal that ends a change
carries a *look*, and whatever differs from the last one was somebody else's doing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry

PRODUCTION, STAGING, ARCHIVED, NONE = "Production", "Staging", "Archived", "None"

LINEAGE = 20
"""Versions that served before, as far back as a rollback may want to go."""


@dataclass(frozen=True)
class Look:
    """The stages of one model as the journal last settled them.

    Attributes
    ----------
    settled
        The one version in Production; None before the first look.
    lineage
        Versions that were settled before, newest first, without ``settled``.
    stages
        Version → stage, of all versions there were.
    vetoed
        Versions that a person withdrew on its own; a flow does not promote them.
    quarantined
        Versions that were rolled back, or can't be loaded; nor does it promote these.
    pinned
        Whether a person forbade even the watch to replace ``settled``.
    swap
        The journal entry since which ``settled`` serves.
    actor
        Who settled it: one of :data:`~selfheal.steering.actors.MACHINES`, or a person.
    past
        Versions that were rolled back because the world had turned back: kept for a recall, no step back.
    awaited
        A version that somebody moved to Production and that can't be read yet: it is tried again at every look.
    aliases
        Version by alias, of the two that steer, as they were left; None for one that there was not. The whole is None
        in a look of a release that left them alone.
    chosen
        A version that a person made challenger, and the newest version that there was then: it stays challenger until
        a newer one comes.
    others
        Versions of another base than that of ``settled``: what they answered is in none of its windows.
    """

    settled: int | None = None
    lineage: tuple[int, ...] = ()
    stages: Mapping[int, str] = field(default_factory=dict)
    vetoed: frozenset[int] = frozenset()
    quarantined: frozenset[int] = frozenset()
    pinned: bool = False
    swap: int = 0
    actor: str = ""
    past: frozenset[int] = frozenset()
    awaited: int | None = None
    aliases: Mapping[str, int | None] | None = None
    chosen: tuple[int, int] | None = None
    others: frozenset[int] = frozenset()

    @property
    def production(self) -> frozenset[int]:
        """The versions that it saw in Production."""
        return frozenset(v for v, stage in self.stages.items() if stage == PRODUCTION)

    @property
    def fallbacks(self) -> tuple[int, ...]:
        """Versions to go back to, the last one first: served before, still there, not withdrawn or rolled back."""
        barred = self.vetoed | self.quarantined | self.past
        return tuple(v for v in self.lineage if v in self.stages and v not in barred)

    @property
    def previous(self) -> int | None:
        """The first of ``fallbacks``."""
        return next(iter(self.fallbacks), None)

    @property
    def challenger(self) -> int | None:
        """The version to be compared with what serves: the newest in Staging, or the one that a person chose."""
        staged = [v for v, stage in self.stages.items() if stage == STAGING]
        newest = max(staged, default=None)
        if newest is None or self.chosen is None:
            return newest
        chosen, then = self.chosen
        return chosen if chosen in staged and newest <= then else newest

    def settle(self, version: int | None, entry: int, actor: str, *, pinned: bool) -> Look:
        """The look after ``version`` was put into Production by journal entry ``entry``."""
        if version == self.settled:
            return replace(self, pinned=pinned)
        before = () if self.settled is None else (self.settled,)
        lineage = tuple(v for v in dict.fromkeys(before + self.lineage) if v != version)[:LINEAGE]
        return replace(self, settled=version, lineage=lineage, pinned=pinned, swap=entry, actor=actor)

    def to_json(self) -> dict[str, Any]:
        """As a JSON record."""
        return {
            "settled": self.settled,
            "lineage": list(self.lineage),
            "stages": {str(v): stage for v, stage in self.stages.items()},
            "vetoed": sorted(self.vetoed),
            "quarantined": sorted(self.quarantined),
            "pinned": self.pinned,
            "swap": self.swap,
            "actor": self.actor,
            "past": sorted(self.past),
            "awaited": self.awaited,
            "aliases": None if self.aliases is None else dict(self.aliases),
            "chosen": None if self.chosen is None else list(self.chosen),
            "others": sorted(self.others),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Look:
        """The inverse of :meth:`to_json`."""
        chosen = record.get("chosen")
        return cls(
            settled=record["settled"],
            lineage=tuple(record["lineage"]),
            stages={int(v): stage for v, stage in record["stages"].items()},
            vetoed=frozenset(record["vetoed"]),
            quarantined=frozenset(record["quarantined"]),
            pinned=record["pinned"],
            swap=record["swap"],
            actor=record["actor"],
            past=frozenset(record.get("past", ())),
            awaited=record.get("awaited"),
            aliases=record.get("aliases"),
            chosen=None if chosen is None else (chosen[0], chosen[1]),
            others=frozenset(record.get("others", ())),
        )


def last_look(ws: Workspace, name: str) -> Look | None:
    """The look of the last closed journal entry that has one; None when nobody has looked yet."""
    return look_of(ws.table.journal_settled(name))


def look_of(entry: JournalEntry | None) -> Look | None:
    """The look with which an entry was settled; None without one."""
    # null where the model was adopted anew: what was seen before is not of it
    look = entry.outcome["look"] if entry is not None and entry.outcome is not None else None
    return None if look is None else Look.from_json(look)
