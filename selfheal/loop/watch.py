"""Watch a new version: on windows after the swap the gate is asked again with the roles swapped.

Nothing lies on the request path: the rows are replayed from the log. Labels, when they come, overrule the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from selfheal.errors import ArtifactError, NotFoundError, RefusedError
from selfheal.loop.decide import HISTORY, OWN_SHARE, verdict_of, watched
from selfheal.loop.inspect import SAMPLE_ROWS, YARDSTICK_WINDOWS
from selfheal.steering.actors import WATCH, is_person
from selfheal.steering.look import Look, last_look
from selfheal.steering.models import load_version
from selfheal.steering.policies import policy_of_record
from selfheal.steering.stages import rollback
from selfheal.steering.workspace import Workspace
from selfheal.table import Window, WindowRef

if TYPE_CHECKING:
    from selfheal.model import MonitoredModel

LATE_WINDOWS = 12
"""Windows after the watch in which labels of its windows are still waited for."""

Says = Literal["better", "worse", "undecided", "none"]


@dataclass(frozen=True)
class WatchVerdict:
    """What a window says about the version that serves.

    Attributes
    ----------
    version, against
        The version, and the one that served before.
    window
        Index of the window.
    verdict
        ``better``, ``worse`` or ``undecided``; ``none`` when it does not speak about this version.
    by
        ``data`` or ``labels``.
    reasons
        Measure, value, bound.
    rolled_back
        Whether the stages went back.
    """

    version: int
    against: int | None
    window: int
    verdict: Says
    by: str = ""
    reasons: tuple[str, ...] = ()
    rolled_back: bool = False


def watch(ws: Workspace, name: str, ref: WindowRef, *, problems: Sequence[str] = ()) -> WatchVerdict:
    """Ask of a window after the swap whether the version before would serve it better; roll back if so.

    Call it after :func:`inspect` and before :func:`decide`, so that a roll-back keeps the window from healing.

    Parameters
    ----------
    problems
        What the guards found: a window at fault says nothing about a version.

    Raises
    ------
    UnavailableError
        A store is away; nothing was changed, a later window asks again.
    """
    look = last_look(ws, name)
    if look is None or look.settled is None or look.previous is None:
        return WatchVerdict(0 if look is None else look.settled or 0, None, ref.index, "none")
    silent = WatchVerdict(look.settled, look.previous, ref.index, "none")
    history = [c for c in ws.table.cycles(name, last=HISTORY) if c["index"] < ref.index]
    before = watched(look, history)
    try:
        old, new = (load_version(ws, name, v) for v in (look.previous, look.settled))
    except (ArtifactError, NotFoundError) as error:
        return WatchVerdict(look.settled, look.previous, ref.index, "none", reasons=(str(error),))
    policy = policy_of_record(ws, name, new).policy
    over = len(before) >= policy.release.watch_windows
    if ref.too_few or problems or (over and len(before) >= policy.release.watch_windows + LATE_WINDOWS):
        return silent
    window = None if over else _own_rows(ws.table.read(ref, SAMPLE_ROWS), look.settled)
    late = [
        ws.table.read(ws.table.window(name, c["index"]), SAMPLE_ROWS) for c in before[: policy.release.watch_windows]
    ]
    pairs = [w for w in (*(_own_rows(w, look.settled) for w in late), window) if w is not None]
    speak = [w for w in pairs if w.labels.notna().any()]
    old, new = old.with_policy(policy), new.with_policy(policy)
    found = _by_labels(speak, old, new)
    recent = ws.table.recent(name, YARDSTICK_WINDOWS) or None
    if found[0] == "undecided":
        if window is None:
            return silent
        found, speak = _by_data(window, old, new, recent, found[2]), [window]
    verdict = WatchVerdict(look.settled, look.previous, ref.index, *found)
    if verdict.verdict != "worse":
        return verdict
    # Only of a heal is it known that the world was another when it came: a person's choice was never right here.
    turned = not is_person(look.actor) and _turned_back(speak, old, new, recent)
    return _acted(ws, name, verdict, look, before, turned=turned)


def _turned_back(
    windows: Sequence[Window], old: MonitoredModel, new: MonitoredModel, recent: Sequence[pd.DataFrame] | None
) -> bool:
    """Whether every window that speaks against a version is natural under the one before: its own drift is over."""
    from selfheal.healing import gate_roles

    return all(gate_roles(new, old, w.frame, recent).natural for w in windows)


def _own_rows(window: Window, version: int) -> Window | None:
    """The rows that the version answered itself, if they are most of the window."""
    own: NDArray[np.bool_] = window.versions == version
    if float(np.mean(own)) < OWN_SHARE:
        return None
    return Window(
        window.ref, window.frame[own], window.probabilities[own], window.versions[own],
        window.event_times[own], window.labels[own],
    )  # fmt: skip


def _by_labels(
    windows: Sequence[Window], old: MonitoredModel, new: MonitoredModel
) -> tuple[Says, str, tuple[str, ...]]:
    """All labelled rows of the watched windows."""
    from selfheal.healing.labels.trials import taken_back

    says, reason = taken_back(old, new, [(w.frame, w.labels) for w in windows])
    told = (f"labels: against the version before, {reason}",) if reason else ()
    return says, "" if says == "undecided" else "labels", told


def _by_data(
    window: Window,
    old: MonitoredModel,
    new: MonitoredModel,
    recent: Sequence[pd.DataFrame] | None,
    before: tuple[str, ...],
) -> tuple[Says, str, tuple[str, ...]]:
    """The gate with the roles swapped: is the version that serves worse than the one before?"""
    from selfheal.healing import gate_roles

    asked = gate_roles(new, old, window.frame, recent)
    if asked.worse:
        return "worse", "data", (*before, *asked.reasons)
    # The other way round: a version that undoes what the one before would leave unusual has proven itself.
    says: Says = "better" if gate_roles(old, new, window.frame, recent).worse else "undecided"
    return says, "data", (*before, *asked.reasons)


def _acted(
    ws: Workspace, name: str, verdict: WatchVerdict, look: Look, before: Sequence[dict[str, Any]], *, turned: bool
) -> WatchVerdict:
    """Roll back, unless the version was better on an earlier window: then the world changed, not the version."""
    proven = next((c["index"] for c in before if verdict_of(c) == "better"), None)
    if verdict.by == "data" and proven is not None:
        text = f"it was better on window {proven}, so the data changed since: the monitor decides"
        return WatchVerdict(**{**vars(verdict), "reasons": (*verdict.reasons, text)})
    try:
        reason = f"window {verdict.window}: {'; '.join(verdict.reasons)}"
        rollback(ws, name, WATCH, over=verdict.version, reason=reason, turned=turned)
    except RefusedError as error:
        return WatchVerdict(**{**vars(verdict), "reasons": (*verdict.reasons, str(error))})
    # What was seen through a wrong map is no yardstick.
    good = ("healthy", "cleared", "waiting")
    seen = [c["index"] for c in ws.table.cycles(name, last=HISTORY) if c["swap"] == look.swap and c["health"] in good]
    ws.table.set_health(name, seen, "unhealthy", was=good)
    return WatchVerdict(**{**vars(verdict), "rolled_back": True})
