"""What only the owner of the data knows: the question that is open, and the answered facts that a heal goes by.

Questions and answers are journaled. An answer is about columns, their maps and a base, from one window on; it holds
until another map of those columns serves, not for ever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from selfheal.errors import SelfhealError
from selfheal.loop.alerts import alert
from selfheal.loop.context import HISTORY, Context, Serving
from selfheal.loop.plots import ASKED
from selfheal.loop.records import HealRecord
from selfheal.steering.actors import FLOW
from selfheal.steering.models import serving_pointer
from selfheal.steering.workspace import Workspace
from selfheal.table import JournalEntry

if TYPE_CHECKING:
    from selfheal.input_map import ColumnMap
    from selfheal.loop.child import HealResult

FACT = "fact"
"""Kind of the journal entries of questions and their answers."""


@dataclass(frozen=True)
class OpenQuestion:
    """A question that waits for the owner of the data.

    Attributes
    ----------
    window, start, end
        The window that it is about, and its event times as ISO texts.
    version
        The version in Staging that a ``yes`` would release; None where none was registered.
    text, options
        In one line, and the answers there are.
    evidence
        Per column: the 5 %, 50 % and 95 % quantiles of recent healthy rows (``before``), of the window as it came
        (``now``), and as the proposed map leaves it (``after``).
    run_id
        The heal's run in MLflow; ``plots/question.svg`` there shows the same drawn, see :func:`evidence_place`.
    """

    name: str
    window: int
    start: str
    end: str
    version: int | None
    text: str
    options: tuple[str, ...]
    evidence: Mapping[str, Mapping[str, Sequence[float]]]
    run_id: str

    @property
    def command(self) -> str:
        """What answers it."""
        flags = [f"--{o}" if o in ("yes", "no", "unknown") else f"--answer '{o}'" for o in self.options]
        return f"selfheal audit {self.name} [{' | '.join(flags)}] --as NAME"


def open_question(ws: Workspace, name: str) -> OpenQuestion | None:
    """The question that waits for an answer, if one does.

    Raises
    ------
    NotFoundError
        No such model.
    """
    ws.table.schema(name)
    entry = unanswered(ws, name)
    return None if entry is None else question_of(name, entry.intent)


def evidence_place(ws: Workspace, question: OpenQuestion) -> str:
    """Where its columns are drawn, before, now and after: in the heal's run. Empty where MLflow does not say."""
    try:
        return ws.registry.runs.place(question.run_id, ASKED) if question.run_id else ""
    except SelfhealError:
        return ""


def facts(serving: Serving) -> tuple[Mapping[str, Any], ...]:
    """The facts that hold for a window of this model, as JSON records, oldest first.

    What is so holds while its maps serve, and until another version serves for the first time after the answer; what
    is not so, or not known, until then as well. Both end with the change that was asked about: a healthy window later,
    the next change of these columns is another.
    """
    known = serving.ws.table.journal(serving.name, kind=FACT)
    asked = {e.id: e for e in known if e.intent["step"] == "asked"}
    holding: list[Mapping[str, Any]] = []
    for of, answer in _answers(known).items():
        question = asked.get(of)
        if question is None or question.intent["manifest"] != serving.model.manifest:
            continue
        fresh = serving.look.swap < answer.id and not _over(serving.cycles, question)
        answered = question.intent["answers"][answer.intent["answer"]]
        holding += [fact for fact in answered if fresh or (fact["holds"] and _serves(serving, fact["columns"]))]
    return tuple(holding)


def ask(ctx: Context, record: HealRecord, result: HealResult) -> None:
    """Journal the question of a heal and say it aloud, unless the like is open already."""
    if result.asks != "fact":
        return
    answers, waits = result.answers, unanswered(ctx.ws, ctx.name)
    if waits is not None and _about(waits.intent["answers"]) == _about(answers):
        return
    intent = {
        "step": "asked", "window": ctx.ref.index, "start": ctx.ref.start.isoformat(), "end": ctx.ref.end.isoformat(),
        "version": record.version, "against": ctx.version, "manifest": ctx.model.manifest, "actor": FLOW,
        "reasons": [record.question], "options": list(record.options), "answers": answers, "run_id": record.run_id,
        "evidence": _evidence(ctx, result, _about(answers)[1]),
    }  # fmt: skip
    ctx.ws.table.journal_note(ctx.name, FACT, intent, "asked", ctx.ws.clock())
    open_ = question_of(ctx.name, intent)
    alert(ctx, "a question", [open_.text, open_.command])


def unanswered(ws: Workspace, name: str) -> JournalEntry | None:
    """The newest question under the version that serves, unless it was answered or the change is over.

    Raises
    ------
    NotFoundError
        No such model.
    """
    known, pointer = ws.table.journal(name, kind=FACT), serving_pointer(ws, name)
    asked = next((e for e in reversed(known) if e.intent["step"] == "asked"), None)
    if asked is None or asked.id in _answers(known) or asked.intent["against"] != pointer.version:
        return None
    gone = pointer.base_manifest not in ("", asked.intent["manifest"]) or _over(
        ws.table.cycles(name, last=HISTORY), asked
    )
    return None if gone else asked


def question_of(name: str, intent: Mapping[str, Any]) -> OpenQuestion:
    """A question from the intent of its journal entry."""
    return OpenQuestion(
        name, intent["window"], intent["start"], intent["end"], intent["version"], intent["reasons"][0],
        tuple(intent["options"]), intent["evidence"], intent["run_id"],
    )  # fmt: skip


def _about(answers: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Options and columns of a question: two that share them ask for the same, whatever their times."""
    return sorted(answers), sorted({column for said in answers.values() for fact in said for column in fact["columns"]})


def _evidence(ctx: Context, result: HealResult, columns: Sequence[str]) -> dict[str, dict[str, list[float]]]:
    import pandas as pd

    from selfheal.adapter import Adapter

    window, recent = ctx.sampled()
    healed = ctx.model if result.adapter is None else ctx.model.with_adapter(Adapter.from_bytes(result.adapter))
    before = pd.concat(list(recent)) if recent else ctx.model.reference
    frames = {"before": before, "now": window.frame, "after": healed.model_units(window.frame)}
    return {
        column: {
            when: [round(float(q), 6) for q in frame[column].astype(float).quantile([0.05, 0.5, 0.95]).fillna(0.0)]
            for when, frame in frames.items()
        }
        for column in columns
    }


def _answers(known: Sequence[JournalEntry]) -> dict[int, JournalEntry]:
    """Question → its answer, by the ids of the journal."""
    return {e.intent["asked"]: e for e in known if e.intent["step"] == "answered"}


def _over(cycles: Sequence[Mapping[str, Any]], question: JournalEntry) -> bool:
    """Whether a healthy window came after the one that a question is about: the change is over."""
    own = question.intent["window"]
    return any(c["index"] > own and c["health"] in ("healthy", "cleared") for c in cycles)


def _serves(serving: Serving, columns: Mapping[str, Any]) -> bool:
    """Whether the serving map is the one that a fact is about."""
    from selfheal.input_map import column_map

    now: Mapping[str, ColumnMap] = serving.model.adapter.input_map.columns
    return all(now.get(name) == column_map(entry) for name, entry in columns.items())
