"""What a pass over a window knows: read once, immutable. Each step takes it and returns it with what it found."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from selfheal.log import Source
from selfheal.loop.records import HEAL_JUDGED, LABELS_ASKED, Decision, HealRecord, Inspection, WatchVerdict
from selfheal.loop.sources import source_of
from selfheal.policy import Policy
from selfheal.registry.versions import VersionInfo
from selfheal.steering.limits import BOUND
from selfheal.steering.look import Look, last_look
from selfheal.steering.models import serving_model, serving_pointer
from selfheal.steering.policies import PolicyOfRecord, policy_of_record
from selfheal.steering.stand import Stand, of_other_bases
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry, Window, WindowRef
from selfheal.table.glance import Books
from selfheal.table.journal import Part

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.model import MonitoredModel

HISTORY = 512
"""Cycles that are looked back on; patience and watch need a few, the cooldown the one of the last heal (a cooldown of
a day, windows of five minutes: 288)."""

SAMPLE_ROWS = 2_000
"""Rows of a window that its table keeps, and that watch and heal work on."""

YARDSTICK_WINDOWS = 6
"""Recent healthy windows that drift is judged against (the relative test was measured with six: docs/notes.md)."""

LABELLED_WINDOWS = 5
"""Windows before a heal's own whose labels it gets: enough to fit on some and be tested on three (late_labels)."""

LATEST = 20
"""Promotions, recalls and roll-backs that are looked back on: those whose labels may still come."""

HEALS = {
    "heals": Part(BOUND, last=LATEST),
    "backs": Part(("rollback",), last=LATEST),
    "judged": Part((HEAL_JUDGED,), last=4 * LATEST),
}
"""What the journal says of the last heals: those that may have gone out, were taken back, and were judged."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """What serves a model now, and what was found in its windows.

    Attributes
    ----------
    ws, name
        The installation, and the model in it.
    look
        The last look at the stages.
    version, model
        The version that replicas serve, under the policy of record.
    of_record
        The policy of record, and what is wrong with its file.
    cycles
        Records of the last windows, oldest first; of those under the base that serves.
    versions
        Registered versions by number, as MLflow had them at the look; None where it was not asked.
    until
        The clock: what became known after it is not known. None: the wall's.
    opened
        What is read when it is first asked for, once for all steps of a pass: :attr:`source`, :attr:`books`,
        :attr:`journal`.
    """

    ws: Workspace
    name: str
    look: Look
    version: int
    model: MonitoredModel
    of_record: PolicyOfRecord
    cycles: tuple[dict[str, Any], ...]
    versions: Mapping[int, VersionInfo] | None = None
    until: datetime | None = None
    opened: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self.of_record.policy

    @property
    def source(self) -> Source:
        """Where the rows are read from."""
        source: Source = self._once("source", lambda: source_of(self.ws, self.name, self.policy, self.until))
        return source

    @property
    def books(self) -> Books:
        """The head of the journal, labels and marks, as they stood when they were first asked for.

        What is kept of it for a later run can only say too little: whatever came since is found by that run.
        """
        books: Books = self._once("books", lambda: self.ws.table.glance.books(self.name))
        return books

    @property
    def journal(self) -> Mapping[str, Sequence[JournalEntry]]:
        """What the journal said of the last heals (:data:`HEALS`) and of labels that were ``asked`` for."""
        parts = {**HEALS, "asked": Part((LABELS_ASKED,))}
        entries: Mapping[str, Sequence[JournalEntry]] = self._once(
            "journal", lambda: self.ws.table.journal_parts(self.name, **parts)
        )
        return entries

    def _once(self, name: str, read: Callable[[], Any]) -> Any:
        if name not in self.opened:
            self.opened[name] = read()
        return self.opened[name]

    @property
    def others(self) -> frozenset[int]:
        """Versions of another base than the one that serves, which judges nothing that they answered."""
        return self.look.others if self.versions is None else of_other_bases(self.versions, self.version)

    def own(self, window: Window) -> Window:
        """A window without the rows that another base answered: so it is cut where the base changed."""
        others = self.others
        return window.take(np.flatnonzero(~np.isin(window.versions, sorted(others)))) if others else window

    def labelled(self, index: int) -> Window:
        """The rows of a window that this base answered and whose label has come."""
        return self.own(self.source.labelled(self.ws.table.window(self.name, index)))

    def labelled_windows(self, indexes: Collection[int]) -> dict[int, int]:
        """Of these windows those with rows whose label has come: index → how many.

        Nothing is asked where no label has come at all, and none lies elsewhere.
        """
        if self.policy.foreign is None and not self.books.labels[0]:
            return {}
        return self.source.labelled_windows(indexes)

    def healthy(self) -> list[pd.DataFrame]:
        """Samples of the last healthy windows under the base that serves, in its model units, oldest first."""
        among = [cycle["index"] for cycle in self.cycles] if self.others else None
        return self.ws.table.recent(self.name, YARDSTICK_WINDOWS, among)

    def registered(self) -> Mapping[int, VersionInfo]:
        """The registered versions; asked of MLflow where it was not asked yet.

        Raises
        ------
        UnavailableError
            It is away.
        """
        if self.versions is not None:
            return self.versions
        return {info.version: info for info in self.ws.registry.versions(self.name)}

    def info(self, number: int) -> VersionInfo:
        """One registered version, which may be younger than the look.

        Raises
        ------
        NotFoundError, UnavailableError
        """
        known = (self.versions or {}).get(number)
        return self.ws.registry.version(self.name, number) if known is None else known

    def at(self, ref: WindowRef, *, newest: bool = True) -> Context:
        """The pass over one window; only the cycles before it count.

        Parameters
        ----------
        newest
            Whether no later window has closed: after a pause only the newest may heal.
        """
        known = {each.name: getattr(self, each.name) for each in fields(Serving)}
        known["cycles"] = tuple(c for c in self.cycles if c["index"] < ref.index)
        return Context(**known, ref=ref, newest=newest)


@dataclass(frozen=True, kw_only=True)
class Context(Serving):
    """One window's pass.

    Attributes
    ----------
    ref, newest
        The window, and whether no later one has closed.
    window, recent
        A sample of its rows (raw), and those of the last healthy windows (model units): once they were read.
    page
        Address of the page of whoever works on it, for the heal's run in MLflow; empty where there is none.
    seen, verdict, decision, healed
        What inspect, watch, decide and heal found; the verdict is None where a store was away.
    """

    ref: WindowRef
    newest: bool = True
    page: str = ""
    window: Window | None = None
    recent: Sequence[pd.DataFrame] | None = None
    seen: Inspection = field(default_factory=Inspection)
    verdict: WatchVerdict | None = None
    decision: Decision | None = None
    healed: HealRecord | None = None

    def sampled(self) -> tuple[Window, Sequence[pd.DataFrame]]:
        """A sample of the window's rows, and of the last healthy ones; read where the inspection has not left them."""
        window = self.window or self.own(self.source.read(self.ref, SAMPLE_ROWS))
        recent = self.healthy() if self.recent is None else self.recent
        return window, recent

    def labelled_beside(self, sample: Window) -> tuple[tuple[pd.DataFrame, pd.Series], ...]:
        """The window's labelled rows that its sample left out; of a window that was sampled whole, none."""
        if self.ref.rows <= SAMPLE_ROWS:
            return ()
        known = self.own(self.source.labelled(self.ref))
        others = ~known.frame.index.isin(sample.frame.index)
        return ((known.frame[others], known.labels[others]),) if others.any() else ()

    def labelled_before(self) -> tuple[tuple[pd.DataFrame, pd.Series], ...]:
        """Labelled rows of the last :data:`LABELLED_WINDOWS` before this one that have any, oldest first."""
        near = [c["index"] for c in self.cycles[-(2 * LABELLED_WINDOWS + 2) :]]
        windows = [self.labelled(index) for index in sorted(self.labelled_windows(near))[-LABELLED_WINDOWS:]]
        return tuple((window.frame, window.labels) for window in windows)


def load(
    ws: Workspace,
    name: str,
    stand: Stand | None = None,
    versions: Mapping[int, VersionInfo] | None = None,
    until: datetime | None = None,
) -> Serving:
    """Read what serves a model: the pointer and the look, the policy, the last cycles. Needs no MLflow.

    Parameters
    ----------
    stand
        Where the stages stand, if that was read just now.
    versions
        As MLflow had them before, where nothing newer is needed.
    until
        The clock, see :class:`Serving`.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database can't be reached.
    """
    pointer = (stand and stand.pointer) or serving_pointer(ws, name)
    look = stand.look if stand is not None else last_look(ws, name)
    model, version = serving_model(ws, name, pointer)
    record = policy_of_record(ws, name, model)
    serving = Serving(
        ws=ws,
        name=name,
        look=look or Look(settled=version),
        version=version,
        model=model.with_policy(record.policy),
        of_record=record,
        cycles=tuple(ws.table.cycles(name, last=HISTORY)),
        versions=versions if stand is None else stand.versions,
        until=until,
    )
    others = serving.others
    own = tuple(cycle for cycle in serving.cycles if cycle.get("version") not in others)
    return replace(serving, cycles=own) if others else serving
