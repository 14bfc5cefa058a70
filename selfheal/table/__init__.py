"""The inference table: one SQL database, SQLite or PostgreSQL, behind one URL.

::

    from selfheal.table import InferenceTable
    table = InferenceTable("sqlite:////srv/selfheal/selfheal.db")

It logs what was answered (``predictions_<model>``), joins labels that come late, cuts the log into windows, and holds
the state that the loop survives a crash by: cycles, journal, leases, heartbeats and the pointer to the serving version.
"""

from selfheal.table.chain import Head, Link
from selfheal.table.freezes import Freeze
from selfheal.table.gaps import Gap
from selfheal.table.heartbeat import Heartbeat, Trouble
from selfheal.table.inference import InferenceTable
from selfheal.table.journal import JournalEntry
from selfheal.table.labels import LabelReport
from selfheal.table.outbox import AlertRow, Target
from selfheal.table.refusals import MINUTE_US, Refusal
from selfheal.table.state import Claim, Pointer
from selfheal.table.windows import Window, WindowRef, spread

__all__ = [
    "MINUTE_US",
    "AlertRow",
    "Claim",
    "Freeze",
    "Gap",
    "Head",
    "Heartbeat",
    "InferenceTable",
    "JournalEntry",
    "LabelReport",
    "Link",
    "Pointer",
    "Refusal",
    "Target",
    "Trouble",
    "Window",
    "WindowRef",
    "spread",
]
