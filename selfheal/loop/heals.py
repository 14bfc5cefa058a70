"""Heal one window: in a child process, logged as a run, registered in Staging, released as the policy allows."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from selfheal.errors import ArtifactError, InputError, NotFoundError, SelfhealError, UnavailableError
from selfheal.loop.child import LIMIT_SECONDS, HealResult, HealTask, heal_in_child
from selfheal.loop.context import Context, load
from selfheal.loop.evidence import begun, ended, log_evidence
from selfheal.loop.keep import keep
from selfheal.loop.questions import ask, facts
from selfheal.loop.records import FAILED, HEAL_FAILED, HealRecord
from selfheal.registry.folder import base_folder
from selfheal.steering.actors import FLOW
from selfheal.steering.look import STAGING
from selfheal.steering.releases import release
from selfheal.steering.workspace import Workspace
from selfheal.table import Window, WindowRef

if TYPE_CHECKING:
    import pandas as pd

MEMORY = 20
"""Earlier versions offered for a recall, newest first; the identity is always among them."""

_log = logging.getLogger("selfheal.loop")


def heal_window(
    ws: Workspace, name: str, ref: WindowRef, *, actor: str = FLOW, limit: float = LIMIT_SECONDS
) -> HealRecord:
    """Heal a window by hand, whether it alarmed or not, see :func:`heal`.

    Raises
    ------
    NotFoundError
        No such model.
    InputError
        Its rows are not kept any more.
    """
    ctx = load(ws, name).at(ref)
    if ctx.source.read(ref, 1).frame.empty:
        raise InputError(f"window {ref.index} of {name!r} holds no rows any more (log.keep); choose a later one")
    if ctx.sampled()[0].frame.empty:
        raise InputError(
            f"window {ref.index} of {name!r} was answered by another base than the one that serves; choose a later one"
        )
    healed = heal(ctx, actor=actor, limit=limit).healed
    assert healed is not None  # noqa: S101  what heal adds
    return healed


def heal(ctx: Context, *, actor: str = FLOW, seed: int = 0, limit: float = LIMIT_SECONDS) -> Context:
    """Heal a window that was confirmed to have drifted.

    A child that dies or takes too long, a store that is away, a version that can't be registered: each is a record
    with its ``failure``, journaled, and the next alarmed window tries again.

    Parameters
    ----------
    actor
        Who asked for it.
    limit
        Seconds given to the child.
    """
    began = time.perf_counter()
    try:
        known = facts(ctx)
        # Answers that have come since speak of another heal than the one that was registered.
        record = (None if known else _resumed(ctx)) or _healed(ctx, known, seed, limit)
    except SelfhealError as error:
        _log.error("%s, window %d: the heal failed: %s", ctx.name, ctx.ref.index, error)
        record = HealRecord(ctx.ref.index, FAILED, failure=f"{type(error).__name__}: {error}")
        intent = {"window": ctx.ref.index, "actor": actor, "reasons": [record.failure]}
        with suppress(UnavailableError):  # without a database there is no journal, and this is still what came of it
            ctx.ws.table.journal_note(ctx.name, HEAL_FAILED, intent, FAILED, ctx.ws.clock())
    return replace(ctx, healed=replace(record, seconds=round(time.perf_counter() - began, 3)))


def _resumed(ctx: Context) -> HealRecord | None:
    """A version that this window was healed to before a crash: only its release is left."""
    for info in ctx.registered().values():
        came = info.lineage
        if info.stage == STAGING and (came.window, came.parent) == (ctx.ref.index, ctx.version):
            released = release(ctx.ws, ctx.name, info.version)
            return HealRecord(
                ctx.ref.index, came.verdict, came.diagnosis, (info.summary,),
                info.tags.get("changed_part", "none"), version=info.version, promoted=released.promoted,
                note=released.note, run_id=info.run_id or "",
            )  # fmt: skip
    return None


def outcome(
    ctx: Context, known: tuple[Mapping[str, Any], ...], seed: int, limit: float
) -> tuple[Window, Sequence[pd.DataFrame], HealResult]:
    """What a heal of the window comes to, and the rows that it saw; nothing is kept of it.

    Raises
    ------
    SelfhealError
        The child died or took too long; a store is away.
    """
    window, recent, task = given(ctx, known, seed)
    return window, recent, heal_in_child(task, limit)


def given(
    ctx: Context, known: tuple[Mapping[str, Any], ...], seed: int
) -> tuple[Window, Sequence[pd.DataFrame], HealTask]:
    """What a heal of the window is given: its rows, those of the last healthy windows, and all of it as a task."""
    import pandas as pd

    model, versions, first = ctx.model, memory(ctx), first_alarm(ctx)
    window, recent = ctx.sampled()
    earlier, unsampled = ctx.labelled_before(), ctx.labelled_beside(window)
    task = HealTask(
        base=base_folder(ctx.ws.settings.cache, model.manifest, model.digest),
        base_digest=model.digest,
        base_manifest=model.manifest,
        adapter=model.adapter.to_bytes(),
        policy=model.policy.to_yaml(),
        window=window.frame,
        recent=tuple(recent),
        labels=window.labels if window.labels.notna().any() else None,
        memory=versions,
        seed=seed,
        earlier=earlier,
        unsampled=unsampled,
        facts=known,
        times=pd.Series(window.event_times, index=window.frame.index),
        first_seen=first,
    )
    return window, recent, task


def first_alarm(ctx: Context) -> datetime | None:
    """When the windows began that have alarmed one after the other up to this one; None where it is the first."""
    first = None
    for cycle in reversed(ctx.cycles):
        if not cycle.get("alarm") or cycle.get("version") != ctx.version:
            break
        first = datetime.fromisoformat(cycle["start"])
    return first


def _healed(ctx: Context, known: tuple[Mapping[str, Any], ...], seed: int, limit: float) -> HealRecord:
    window, recent, task = given(ctx, known, seed)
    result = heal_in_child(task, limit)
    run = begun(ctx, seed, len(window.frame), result)
    try:
        # The pages first: whoever finds the version in Production finds its evidence too.
        log_evidence(ctx, run, window, recent, task, result)
        record = keep(ctx, window, result, run)
        ask(ctx, record, result)
    except BaseException:
        with suppress(SelfhealError):
            ctx.ws.registry.runs.end_run(run, "FAILED")
        raise
    ended(ctx, run, result, record)
    return record


def memory(ctx: Context) -> tuple[tuple[int, bytes, pd.DataFrame | None], ...]:
    """Versions that may be recalled, each with its own window where it has one: they fit this base, have served
    before (one that waits for an audit has proven nothing), and nobody withdrew them or rolled them back.
    """
    look, registry = ctx.look, ctx.ws.registry
    served = {look.settled, *look.lineage}
    versions: list[tuple[int, bytes, pd.DataFrame | None]] = []
    for info in sorted(ctx.registered().values(), key=lambda v: -v.version):
        identity = info.tags.get("changed_part") == "none"
        wanted = identity or (info.version in served and len(versions) < MEMORY)
        barred = info.version in look.vetoed | look.quarantined
        if not wanted or barred or info.tags.get("manifest") != ctx.model.manifest:
            continue
        with suppress(ArtifactError, NotFoundError, UnavailableError):  # what can't be loaded can't be recalled
            adapter, sample = registry.adapter(ctx.name, info), registry.sample(ctx.name, info)
            versions.append((info.version, adapter.to_bytes(), sample))
    return tuple(versions)
