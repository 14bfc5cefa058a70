"""A freeze: whoever is woken stops the loop from changing what serves, in one command.

The flag is set first, so that nothing begins after it; then what was begun before is finished, under the lease of the
stages. People go on steering as ever, and the reconciler completes what they do and refills an empty Production.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from selfheal.errors import InputError, SelfhealError
from selfheal.steering.leases import hold_stages
from selfheal.steering.reconciler import settle
from selfheal.steering.stages import WAIT_SECONDS
from selfheal.steering.workspace import Workspace
from selfheal.table import Freeze

LONGEST = 500
"""Characters of a reason: it is read in one line, and beside every version that waits."""


@dataclass(frozen=True)
class Frozen:
    """A freeze as it began.

    Attributes
    ----------
    freeze
        The one in force; None where its ``until`` passed while what was open was finished.
    before
        The freeze that it took the place of.
    version
        What serves; None where nobody has looked yet.
    unfinished
        Why what was begun before could not be finished; empty when nothing is open. The freeze holds all the same.
    """

    name: str
    freeze: Freeze | None
    before: Freeze | None
    version: int | None
    unfinished: str = ""


def freeze(ws: Workspace, name: str, actor: str, why: str, until: datetime | None = None) -> Frozen:
    """Stop the loop of a model: from now on it promotes, recalls and rolls back nothing.

    Parameters
    ----------
    actor, why
        Who says so, and why; both are journaled.
    until
        When it ends by itself, by the database's clock; by default when it is lifted.

    Raises
    ------
    NotFoundError
        No such model.
    InputError
        No name, no reason or a long one, or ``until`` is over.
    UnavailableError
        The database can't be reached: nothing is frozen.
    """
    ws.table.schema(name)
    who, reason = actor.strip(), " ".join(why.split())
    if not who:
        raise InputError("a freeze is journaled under a name: --as NAME")
    if not reason:
        raise InputError("a freeze is journaled with its reason: --why TEXT; whoever comes next wants to know")
    if len(reason) > LONGEST:
        raise InputError(f"the reason has {len(reason)} characters (at most {LONGEST}); say it in a line, link to more")
    before = ws.table.freezes.set(name, who, reason, until, ws.clock())
    ws.checkpoint("frozen")
    version, unfinished = _finished(ws, name)
    return Frozen(name, ws.table.freezes.find(name), before, version, unfinished)


def unfreeze(ws: Workspace, name: str, actor: str) -> Freeze | None:
    """Let the loop go on; what waited is released by its next run, if it was compared with what serves then.

    Returns
    -------
    Freeze or None
        The one that was in force; None where there was none, and nothing is journaled.

    Raises
    ------
    NotFoundError
        No such model.
    InputError
        No name.
    """
    ws.table.schema(name)
    if not actor.strip():
        raise InputError("the end of a freeze is journaled under a name: --as NAME")
    return ws.table.freezes.lift(name, actor.strip(), ws.clock())


def _finished(ws: Workspace, name: str) -> tuple[int | None, str]:
    """Finish what is open; the version that serves, and what kept it from being finished."""
    try:
        with hold_stages(ws, name, WAIT_SECONDS) as lease:
            return settle(lease).version, ""
    except SelfhealError as error:  # MLflow away, a process that holds on: the freeze must hold whatever is down
        pointer = ws.table.pointer(name)
        return None if pointer is None else pointer.version, str(error)
