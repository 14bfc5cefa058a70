"""The loop: inspect, watch, decide, heal, record. One function per step.

A step reads and writes through a :class:`~selfheal.steering.Workspace` and returns a frozen record; :func:`monitor` is
all of them in order. Flows call the same functions, one task each. What goes to Production, steering decides.
"""

from selfheal.loop.audit import Audit, answer, open_audit
from selfheal.loop.decide import Decision, decide
from selfheal.loop.heal import HealRecord, heal_window
from selfheal.loop.health import clear
from selfheal.loop.inspect import Inspection, inspect
from selfheal.loop.labels import add_labels
from selfheal.loop.monitor import cycle, monitor, pending, settle_stages, watch_window
from selfheal.loop.record import Cycle, record
from selfheal.loop.status import status
from selfheal.loop.trial import Tried, try_waiting
from selfheal.loop.tries import attempt
from selfheal.loop.watch import WatchVerdict, watch

__all__ = [
    "Audit",
    "Cycle",
    "Decision",
    "HealRecord",
    "Inspection",
    "Tried",
    "WatchVerdict",
    "add_labels",
    "answer",
    "attempt",
    "clear",
    "cycle",
    "decide",
    "heal_window",
    "inspect",
    "monitor",
    "open_audit",
    "pending",
    "record",
    "settle_stages",
    "status",
    "try_waiting",
    "watch",
    "watch_window",
]
