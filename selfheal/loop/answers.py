"""An answer to what only the owner of the data knows: journaled, and acted on by a new heal of the window."""

from __future__ import annotations

from dataclasses import dataclass

from selfheal.errors import InputError, RefusedError, nearest
from selfheal.loop.heals import heal_window
from selfheal.loop.questions import FACT, OpenQuestion, question_of, unanswered
from selfheal.loop.records import HealRecord
from selfheal.steering.actors import FLOW
from selfheal.steering.look import STAGING
from selfheal.steering.stages import archive
from selfheal.steering.workspace import Workspace


@dataclass(frozen=True)
class Answered:
    """What came of an answer.

    Attributes
    ----------
    healed
        The heal of the window that was made anew with it; None where it was ``unknown``.
    note
        In words.
    """

    question: OpenQuestion
    answer: str
    actor: str
    healed: HealRecord | None
    note: str

    @property
    def promoted(self) -> bool:
        """Whether a version serves because of it."""
        return self.healed is not None and self.healed.promoted


def answer_question(ws: Workspace, name: str, given: str, actor: str) -> Answered:
    """Take an answer, journal it, and heal the window anew with what it says; the gate decides as always.

    Parameters
    ----------
    given
        One of the question's options.
    actor
        Who answers.

    Raises
    ------
    NotFoundError
        No such model.
    RefusedError
        Nothing is asked, or another version serves by now.
    InputError
        No such option, or no name.
    """
    entry = unanswered(ws, name)
    if entry is None:
        raise RefusedError(f"nothing is asked of {name!r} now; selfheal status {name} shows what waits")
    question = question_of(name, entry.intent)
    if given not in question.options:
        raise InputError(
            f"{given!r} is no answer to “{question.text}”{nearest(given, question.options)} (answers: "
            f"{', '.join(question.options)})"
        )
    if not actor.strip():
        raise InputError("an answer is journaled under a name: --as NAME")
    said = {"step": "answered", "window": question.window, "asked": entry.id, "answer": given, "actor": actor.strip()}
    reasons = [f"{question.text} {given}"]
    ws.table.journal_note(name, FACT, said | {"reasons": reasons}, "answered", ws.clock())
    ws.checkpoint("answered")
    if all(fact["holds"] is None for fact in entry.intent["answers"][given]):
        note = f"labels can tell too: selfheal audit {name} --out rows.csv"
        return Answered(question, given, actor, None, note)
    return _acted(ws, question, given, actor)


def _acted(ws: Workspace, question: OpenQuestion, given: str, actor: str) -> Answered:
    """The window healed anew; what waited and was not confirmed goes."""
    name = question.name
    healed = heal_window(ws, name, ws.table.window(name, question.window))
    waits = question.version
    if waits is not None and waits != healed.version and ws.registry.version(name, waits).stage == STAGING:
        archive(ws, name, waits, FLOW, reason=f"{actor} answered {given}: {question.text}")
    note = healed.failure or healed.note or "; ".join(healed.reasons[:1])
    return Answered(question, given, actor, healed, note)
