"""Watch a new version: on windows after the swap the gate is asked again with the roles swapped.

Nothing lies on the request path: the rows are replayed from the log. Labels, when they come, overrule the data.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from selfheal.errors import ArtifactError, HeldError, InputError, NotFoundError, RefusedError, SelfhealError
from selfheal.loop.alerts import alert
from selfheal.loop.context import HISTORY, SAMPLE_ROWS, Context, load
from selfheal.loop.decide import OWN_SHARE, nominal, verdict_of, watched
from selfheal.loop.records import Inspection, Says, WatchVerdict
from selfheal.steering.actors import WATCH, is_person
from selfheal.steering.models import load_version
from selfheal.steering.stages import rollback
from selfheal.steering.workspace import Workspace
from selfheal.table import Window

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from selfheal.model import MonitoredModel

LATE_WINDOWS = 12
"""Windows after the watch in which labels of its windows are still waited for."""

_log = logging.getLogger("selfheal.loop")


def watch(ctx: Context) -> Context:
    """The watch on an inspected window, before it is decided about, so that a roll-back keeps it from healing.

    A store that is away changes nothing and leaves the verdict None: the next window asks again.
    """
    try:
        return replace(ctx, verdict=watched_over(ctx))
    except SelfhealError as error:
        _log.warning("%s, window %d: not watched: %s", ctx.name, ctx.ref.index, error)
        return ctx


def watch_again(ws: Workspace, name: str) -> WatchVerdict:
    """Ask of the last processed window anew: for labels that came late.

    Raises
    ------
    InputError
        No window was processed yet.
    UnavailableError
        A store is away; nothing was changed.
    """
    serving = load(ws, name)
    if not serving.cycles:
        raise InputError(f"no window of {name!r} was processed yet; the monitor comes first")
    last = serving.cycles[-1]
    ctx = serving.at(ws.table.window(name, last["index"]))
    return watched_over(replace(ctx, seen=Inspection(problems=tuple(last["problems"]))))


def watched_over(ctx: Context) -> WatchVerdict:
    """Ask of a window after the swap whether the version before would serve it better; roll back if so.

    Raises
    ------
    UnavailableError
        A store is away; nothing was changed.
    """
    verdict, turned = judged(ctx)
    return verdict if turned is None else _rolled_back(ctx, verdict, turned=turned)


def judged(ctx: Context) -> tuple[WatchVerdict, bool | None]:
    """What a window says of the version that serves; nothing is done about it.

    Returns
    -------
    verdict
        The verdict.
    turned
        None unless the version is to be rolled back: then whether because the world turned back.

    Raises
    ------
    UnavailableError
        A store is away.
    """
    look = ctx.look
    if look.settled is None or look.previous is None:
        return WatchVerdict(look.settled or 0, None, ctx.ref.index, "none"), None
    silent = WatchVerdict(look.settled, look.previous, ctx.ref.index, "none")
    rule, before = ctx.policy.release, watched(look, ctx.cycles)
    # What a freeze kept from acting does not use the watch up: after it the version is asked again.
    spent = sum(any(not _frozen(c) for c in one) for one in nominal(before, ctx.ref.index))
    # A window at fault says nothing about a version.
    if ctx.ref.too_few or ctx.seen.problems or spent >= rule.watch_windows + LATE_WINDOWS:
        return silent, None
    sample, healthy = ctx.sampled()
    recent = list(healthy) or None
    window = None if spent >= rule.watch_windows else _own_rows(sample, look.settled)
    late = _labelled(ctx, [c["index"] for one in nominal(before)[: rule.watch_windows] for c in one])
    own = [w for w in (_own_rows(w, look.settled) for w in late) if w is not None] + ([window] if window else [])
    speak = [w for w in own if w.labels.notna().any()]
    if window is None and not speak:
        return silent, None
    try:
        old, new = (load_version(ctx.ws, ctx.name, ctx.info(v)) for v in (look.previous, look.settled))
    except (ArtifactError, NotFoundError) as error:
        return replace(silent, reasons=(str(error),)), None
    old, new = old.with_policy(ctx.policy), new.with_policy(ctx.policy)
    finding = _by_labels(speak, old, new)
    if finding[0] == "undecided":
        # Data tell a wrong map from a right one around the same network; which network is better, only labels do.
        if window is None or look.previous in ctx.others:
            return silent, None
        finding, speak = _by_data(window, old, new, recent, finding[2]), [window]
    verdict = WatchVerdict(look.settled, look.previous, ctx.ref.index, *finding)
    if verdict.verdict != "worse":
        return verdict, None
    proven = next((c["index"] for c in before if verdict_of(c) == "better"), None)
    if verdict.by == "data" and proven is not None:  # then the world changed, not the version
        text = f"it was better on window {proven}, so the data changed since: the monitor decides"
        return replace(verdict, reasons=(*verdict.reasons, text)), None
    # Only of a heal is it known that the world was another when it came: a person's choice was never right here.
    healed = not is_person(look.actor) and look.previous not in ctx.others
    return verdict, healed and _turned_back(speak, old, new, recent)


def _frozen(cycle: Mapping[str, Any]) -> bool:
    return bool((cycle.get("watch") or {}).get("held"))


def held_back(watch: Mapping[str, Any]) -> str:
    """A verdict that a freeze kept from acting, from the record of a cycle, in words."""
    reasons = "; ".join(watch["reasons"])
    return f"version {watch['version']} is worse than {watch['against']}, not rolled back: {reasons}"


def _labelled(ctx: Context, indexes: Sequence[int]) -> list[Window]:
    """Samples of those of these windows whose labels have begun to come."""
    source, window = ctx.source, ctx.ws.table.window
    known = ctx.labelled_windows(indexes)
    return [ctx.own(source.read(window(ctx.name, index), SAMPLE_ROWS)) for index in indexes if index in known]


def _turned_back(
    windows: Sequence[Window], old: MonitoredModel, new: MonitoredModel, recent: list[pd.DataFrame] | None
) -> bool:
    """Whether every window that speaks against a version is natural under the one before: its own drift is over."""
    from selfheal.healing import gate_roles

    return all(gate_roles(new, old, w.frame, recent).natural for w in windows)


def _own_rows(window: Window, version: int) -> Window | None:
    """The rows that the version answered itself, if they are most of the window."""
    own: NDArray[np.bool_] = window.versions == version
    if float(np.mean(own)) < OWN_SHARE:
        return None
    return window.take(np.flatnonzero(own))


def _by_labels(
    windows: Sequence[Window], old: MonitoredModel, new: MonitoredModel
) -> tuple[Says, str, tuple[str, ...]]:
    """All labelled rows of the watched windows."""
    from selfheal.healing.labels.trials import taken_back

    says, reason = taken_back(old, new, [(w.frame, w.labels) for w in windows])
    words = (f"labels: against the version before, {reason}",) if reason else ()
    return says, "" if says == "undecided" else "labels", words


def _by_data(
    window: Window,
    old: MonitoredModel,
    new: MonitoredModel,
    recent: list[pd.DataFrame] | None,
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


def _rolled_back(ctx: Context, verdict: WatchVerdict, *, turned: bool) -> WatchVerdict:
    """Roll back, unless a person or a freeze forbids it."""
    try:
        reason = f"window {verdict.window}: {'; '.join(verdict.reasons)}"
        rollback(ctx.ws, ctx.name, WATCH, over=verdict.version, reason=reason, turned=turned)
    except HeldError as error:
        words = (*verdict.reasons, f"the roll-back waits for {error}")
        alert(ctx, f"version {verdict.version} is worse than {verdict.against}, and the loop is frozen", words)
        return replace(verdict, reasons=words, held=True)
    except RefusedError as error:
        return replace(verdict, reasons=(*verdict.reasons, str(error)))
    # What was seen through a wrong map is no yardstick.
    good = ("healthy", "cleared", "harmless", "waiting")
    cycles = ctx.ws.table.cycles(ctx.name, last=HISTORY)  # the window itself among them where it is asked again
    seen = [c["index"] for c in cycles if c["swap"] == ctx.look.swap and c["health"] in good]
    ctx.ws.table.set_health(ctx.name, seen, "unhealthy", was=good)
    return replace(verdict, rolled_back=True)
