"""The loop: a pass over a window is inspect, watch, decide, heal, record.

What a pass knows is a :class:`Context`, read once; each step takes it and returns it with what it found. :func:`run` is
one pass, :func:`monitor` a run over all windows that closed. What goes to Production, steering decides.
"""

from selfheal.loop.answers import Answered, answer_question
from selfheal.loop.asked import accuracy_told, ask_labels
from selfheal.loop.audit import Audit, answer, open_audit, waits_for_labels
from selfheal.loop.context import Context, Serving, load
from selfheal.loop.dry import Foreseen, foresee, rehearsed
from selfheal.loop.events import Event, history
from selfheal.loop.heals import heal, heal_window
from selfheal.loop.health import clear
from selfheal.loop.idle import idle as is_idle
from selfheal.loop.labels import add_labels
from selfheal.loop.monitoring import monitor, passes, pending, settle_stages
from selfheal.loop.overview import status
from selfheal.loop.questions import OpenQuestion, evidence_place, open_question
from selfheal.loop.records import Cycle, Decision, HealRecord, Inspection, WatchVerdict
from selfheal.loop.steps import run
from selfheal.loop.watch import watch_again

__all__ = [
    "Answered",
    "Audit",
    "Context",
    "Cycle",
    "Decision",
    "Event",
    "Foreseen",
    "HealRecord",
    "Inspection",
    "OpenQuestion",
    "Serving",
    "WatchVerdict",
    "accuracy_told",
    "add_labels",
    "answer",
    "answer_question",
    "ask_labels",
    "clear",
    "evidence_place",
    "foresee",
    "heal",
    "heal_window",
    "history",
    "is_idle",
    "load",
    "monitor",
    "open_audit",
    "open_question",
    "passes",
    "pending",
    "rehearsed",
    "run",
    "settle_stages",
    "status",
    "waits_for_labels",
    "watch_again",
]
