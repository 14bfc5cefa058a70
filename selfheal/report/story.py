"""What the page tells: read once, from the state database and, where it can be reached, MLflow."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from selfheal.errors import SelfhealError
from selfheal.loop.context import HISTORY
from selfheal.loop.events import Event, history
from selfheal.loop.overview import status
from selfheal.loop.plots import ASKED, PLOT
from selfheal.loop.questions import OpenQuestion, open_question
from selfheal.steering.actors import is_person
from selfheal.steering.workspace import Workspace

HEALS = 20
"""The newest heals that are told, each with its drawing."""

Cycle = Mapping[str, Any]


@dataclass(frozen=True)
class Story:
    """What is known of a model.

    Attributes
    ----------
    name, made
        The model, and when this was put together, UTC.
    state
        As :func:`selfheal.loop.status` has it.
    cycles
        Records of the last windows, oldest first.
    events
        What was journaled, newest first.
    heals
        The newest cycles that healed, newest first, each with the drawing of its run: SVG, empty where there is none.
    question, asked
        The one that waits, and the drawing of its columns.
    """

    name: str
    made: datetime
    state: Mapping[str, Any]
    cycles: tuple[Cycle, ...]
    events: tuple[Event, ...]
    heals: tuple[tuple[Cycle, str], ...]
    question: OpenQuestion | None
    asked: str = ""

    def acts(self) -> list[Event]:
        """What somebody did, newest first."""
        return [event for event in self.events if event.act]

    def released(self) -> set[int]:
        """Versions that went to Production, whenever and by whomever."""
        return {event.to for event in self.acts() if event.to is not None and event.outcome == "done"}

    def moment(self, event: Event) -> datetime | None:
        """Where an event lies on the axis of the windows; None where there are none.

        A replay's windows lie in another year than its journal. So an event belongs to the first window that was
        handled after it. A change lies at its beginning where that window was answered by what it brought, else at its
        end; of other events what a person did lies at the beginning.
        """
        if not self.cycles:
            return None
        place = bisect_left([datetime.fromisoformat(c.get("at", c["end"])) for c in self.cycles], event.at)
        if place == len(self.cycles):
            return datetime.fromisoformat(self.cycles[-1]["end"])
        start, end = (datetime.fromisoformat(self.cycles[place][side]) for side in ("start", "end"))
        if start <= event.at <= end:
            return event.at
        early = is_person(event.who) if event.to is None else self.cycles[place].get("version") == event.to
        return start if early else end


def tell(ws: Workspace, name: str) -> Story:
    """Put a model's story together; without MLflow it has no drawings.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database is away.
    """
    state = status(ws, name, last=1)
    cycles = tuple(ws.table.cycles(name, last=HISTORY))
    question, away = open_question(ws, name), bool(state["mlflow"])
    healed = [c for c in reversed(cycles) if c.get("heal")][:HEALS]
    return Story(
        name, ws.clock(), state, cycles, tuple(history(ws, name)),
        tuple((c, "" if away else _drawing(ws, c["heal"]["run_id"], PLOT)) for c in healed), question,
        "" if away or question is None else _drawing(ws, question.run_id, ASKED),
    )  # fmt: skip


def _drawing(ws: Workspace, run: str, file: str) -> str:
    try:
        return ws.registry.runs.artifact(run, file).decode() if run else ""
    except (SelfhealError, UnicodeDecodeError):
        return ""
