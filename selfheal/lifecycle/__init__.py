"""The loop: inspect, watch, decide, heal, release, and the stages that a person steers with. One function per step.

A step reads and writes through a :class:`Workspace` and returns a frozen record; :func:`monitor` is all of them in
order. Flows call the same functions, one task each.
"""

from selfheal.lifecycle.audit import Audit, answer, open_audit
from selfheal.lifecycle.decide import Decision, decide
from selfheal.lifecycle.heal import HealRecord, heal_window
from selfheal.lifecycle.health import clear
from selfheal.lifecycle.inspect import Inspection, inspect
from selfheal.lifecycle.labels import add_labels
from selfheal.lifecycle.monitor import cycle, monitor, pending, settle_stages, watch_window
from selfheal.lifecycle.reconcile import Settled, reconcile, recover
from selfheal.lifecycle.record import Cycle, record
from selfheal.lifecycle.release import Released, release
from selfheal.lifecycle.stages import archive, promote, rollback
from selfheal.lifecycle.status import status
from selfheal.lifecycle.trial import Tried, try_waiting
from selfheal.lifecycle.tries import attempt
from selfheal.lifecycle.watch import WatchVerdict, watch
from selfheal.lifecycle.workspace import Workspace, open_workspace

__all__ = [
    "Audit",
    "Cycle",
    "Decision",
    "HealRecord",
    "Inspection",
    "Released",
    "Settled",
    "Tried",
    "WatchVerdict",
    "Workspace",
    "add_labels",
    "answer",
    "archive",
    "attempt",
    "clear",
    "cycle",
    "decide",
    "heal_window",
    "inspect",
    "monitor",
    "open_audit",
    "open_workspace",
    "pending",
    "promote",
    "reconcile",
    "record",
    "recover",
    "release",
    "rollback",
    "settle_stages",
    "status",
    "try_waiting",
    "watch",
    "watch_window",
]
