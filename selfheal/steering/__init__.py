"""What may be in Production: people's stage changes obeyed, the loop's made, each journaled so that a crash harms none.

Everything here works through a :class:`Workspace` and needs nothing of the loop: the reconciler beside a service, the
command line and the loop call the same functions.
"""

from selfheal.steering.freezes import Frozen, freeze, unfreeze
from selfheal.steering.reconciler import Settled, reconcile, recover
from selfheal.steering.releases import Approved, approve, release
from selfheal.steering.stages import archive, promote, rollback
from selfheal.steering.trusts import trust
from selfheal.steering.waits import Released
from selfheal.steering.workspace import Workspace, open_workspace

__all__ = [
    "Approved",
    "Frozen",
    "Released",
    "Settled",
    "Workspace",
    "approve",
    "archive",
    "freeze",
    "open_workspace",
    "promote",
    "reconcile",
    "recover",
    "release",
    "rollback",
    "trust",
    "unfreeze",
]
