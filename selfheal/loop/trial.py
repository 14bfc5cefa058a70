"""What waits in Staging, held against what serves on labels that have come since: better goes to Production.

The test may be looked at whenever labels come and errs no more often for it (:mod:`selfheal.healing.sequential`), so
nothing is kept between looks: each one reads all labels that the version was not fitted to.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from selfheal.errors import SelfhealError
from selfheal.loop.context import Serving
from selfheal.loop.decide import usable
from selfheal.registry.versions import VersionInfo
from selfheal.steering.actors import FLOW
from selfheal.steering.look import STAGING, Look
from selfheal.steering.models import load_version
from selfheal.steering.releases import LABELS_FITTED
from selfheal.steering.stages import PROVEN, archive
from selfheal.steering.trusts import kept_for_people
from selfheal.steering.waits import WAITS, Released, put_in, release_held, wait
from selfheal.steering.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.table import Window

TRIAL = "trial"
"""Tag of a version: what the labels say of it so far."""

AUDIT = "audit"
"""Tag of a version: what an audit said of it, beginning with ``passed`` or ``refused``."""

LABELS_HELD = "number.labels_held"
"""Tag of a version: e-value from labels before it was made, with which its trial begins."""

LABELS_FROM = "labels_from"
"""Tag of a version: index of the first window whose labels it has not seen."""

WINDOWS = 4
"""Windows with labels in which a version that was fitted to labels must prove itself: by then it fits another world.
Tuned with the test, on the first half of elec and flights."""

READ, ENOUGH = 12, 2_000
"""Windows with labels, and labels in them, that are enough to read of versions that labels may prove at any time."""

BESIDE = 2_000
"""Rows of a window that its labelled ones are held against, to see whether these are a fair draw."""

_log = logging.getLogger("selfheal.loop")


@dataclass(frozen=True)
class Tried:
    """What labels did about a version that waits.

    Attributes
    ----------
    version, against
        The version, and the one that serves.
    says
        ``better``, ``worse`` or ``undecided``.
    promoted
        Whether it serves now.
    reason
        Measure, value, bound.
    archived
        Whether it is out.
    """

    version: int
    against: int
    says: str
    promoted: bool
    reason: str
    archived: bool = False


def waiting(versions: Iterable[VersionInfo], look: Look) -> list[VersionInfo]:
    """Versions in Staging that were compared with what serves and that labels or an audit must decide, newest first."""
    waits = [
        info
        for info in versions
        if info.stage == STAGING
        and info.tags.get("parent") == str(look.settled)
        and info.version not in look.vetoed | look.quarantined
        and (info.tags.get("verdict") == "audit" or info.tags.get(WAITS, "").startswith("labels"))
    ]
    return sorted(waits, key=lambda info: -info.version)


def try_waiting(serving: Serving) -> Tried | None:
    """Hold the newest version that waits against labels; promote or archive it where they decide.

    Returns
    -------
    Tried or None
        None when nothing waits, no label has come, or a store is away, which is logged: a later run asks again.
    """
    if serving.look.settled is None:
        return None
    try:
        candidates = waiting(serving.registered().values(), serving.look)
        return _tried(serving, candidates[0], serving.look.settled) if candidates else None
    except SelfhealError as error:
        _log.warning("%s: what waits in Staging was not tried: %s", serving.name, error)
        return None


def free_waiting(serving: Serving) -> Released | None:
    """Release what was held back and may go now.

    Returns
    -------
    Released or None
        None when nothing is held, or a store is away, which is logged: a later run asks again.
    """
    try:
        return release_held(
            serving.ws, serving.name, serving.policy, serving.registered().values(), serving.look
        )  # fmt: skip
    except SelfhealError as error:
        _log.warning("%s: what was held back was not released: %s", serving.name, error)
        return None


@dataclass(frozen=True)
class Judged:
    """What labels say of a version: ``better``, ``worse`` or ``undecided``, why, and whether that archives it."""

    says: str
    reason: str
    archives: bool


def judged(serving: Serving, info: VersionInfo, against: int) -> Judged | None:
    """What labels say of a version that waits, against the one that serves; None where no label has come.

    Nothing is done about it.
    """
    ws, name, policy = serving.ws, serving.name, serving.policy
    first = int(info.tags.get(LABELS_FROM, info.tags.get("window", "0")))
    rows = labelled_since(serving, first)
    if not rows:
        return None
    old, candidate = (load_version(ws, name, each).with_policy(policy) for each in (serving.info(against), info))
    from selfheal.healing.labels.trials import let_out

    def sample() -> pd.DataFrame:
        kept = ws.registry.sample(name, info)
        return old.reference if kept is None else kept

    def whole() -> list[tuple[pd.DataFrame, pd.Series]]:
        return labelled_since(serving, first, whole=True)

    says, words = let_out(old, candidate, rows, sample, float(info.tags.get(LABELS_HELD, "1")), whole)
    stale = says == "undecided" and LABELS_FITTED in info.tags and len(rows) >= WINDOWS
    late = f"{len(rows)} windows of labels did not decide" if stale else ""
    return Judged(says, "; ".join(filter(None, (words, late))), says == "worse" or stale)


def _tried(serving: Serving, info: VersionInfo, against: int) -> Tried | None:
    ws, name, judgement = serving.ws, serving.name, judged(serving, info, against)
    if judgement is None:
        return None
    says, reason, archived = judgement.says, judgement.reason, judgement.archives
    if info.tags.get(TRIAL) != reason:
        ws.registry.set_tag(name, info.version, TRIAL, reason)
    promoted = False
    if says == "better":
        promoted = _released(ws, name, info.version, against, reason, kept_for_people(serving.policy))
    elif archived:
        archive(ws, name, info.version, FLOW, reason=reason)
    return Tried(info.version, against, says, promoted, reason, archived)


def _released(ws: Workspace, name: str, version: int, against: int, reason: str, kept: str) -> bool:
    """Into Production, unless a person has the say."""
    if kept:
        return wait(ws, name, version, f"{kept}; {reason}").promoted
    return put_in(ws, name, version, FLOW, over=against, reason=f"{PROVEN}{reason}").promoted


def labelled_since(serving: Serving, first: int, whole: bool = False) -> list[tuple[pd.DataFrame, pd.Series]]:
    """Labelled rows, window by window, from window ``first`` on, however late their labels began to come.

    ``whole``: with the rows of these windows that have no label, spread evenly where there are more than
    :data:`BESIDE`.
    """
    source, table, name = serving.source, serving.ws.table, serving.name
    windows: list[tuple[pd.DataFrame, pd.Series]] = []
    seen = 0
    while (index := source.first_labelled(first)) is not None:
        cycle = table.cycle(name, index)
        if usable(cycle) and cycle.get("version") not in serving.others:
            window = serving.labelled(index)
            windows.append((window.frame, window.labels))
            seen += len(window.frame)
            if whole:
                windows[-1] = _beside(serving, index, window)
        if len(windows) >= READ and seen >= ENOUGH:
            break
        first = index + 1
    return windows


def _beside(serving: Serving, index: int, known: Window) -> tuple[pd.DataFrame, pd.Series]:
    """A window's labelled rows together with its other rows, in time order."""
    import pandas as pd

    rows = serving.own(serving.source.read(serving.ws.table.window(serving.name, index), BESIDE))
    others = rows.take(np.flatnonzero(rows.labels.isna()))
    frame = pd.concat([known.frame, others.frame])
    times = known.event_times.append(others.event_times)
    frame = frame.iloc[np.argsort(times.to_numpy(), kind="stable")]
    return frame, known.labels.reindex(frame.index)
