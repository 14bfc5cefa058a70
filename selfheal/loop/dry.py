"""What a monitor run would do: the same looks, verdicts and heals, and nothing of them kept or done.

The database is asked through a table that rolls back whatever it is told to write, and MLflow is only read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from selfheal.errors import SelfhealError
from selfheal.loop.child import LIMIT_SECONDS, HealResult
from selfheal.loop.context import Context, Serving, load
from selfheal.loop.decide import decided, may_heal
from selfheal.loop.heals import outcome
from selfheal.loop.health import far, health_of
from selfheal.loop.inspect import inspect
from selfheal.loop.monitoring import pending
from selfheal.loop.questions import facts
from selfheal.loop.record import entry_of
from selfheal.loop.records import FAILED, HealRecord
from selfheal.loop.trial import judged as tried
from selfheal.loop.trial import waiting
from selfheal.loop.watch import judged
from selfheal.steering.limits import not_now
from selfheal.steering.quarantine import like_of
from selfheal.steering.reconciler import foreseen
from selfheal.steering.releases import LABELS_FITTED
from selfheal.steering.stand import stand_of
from selfheal.steering.trusts import asks_first, kept_for_people, lost_trust
from selfheal.steering.waits import orders
from selfheal.steering.workspace import Workspace
from selfheal.table import InferenceTable, Window


@dataclass(frozen=True)
class Foreseen:
    """What would be done about one window, or before the first.

    Attributes
    ----------
    index
        The window's; None for what comes before the windows.
    record
        The record that its cycle would have; empty before the windows.
    would
        What would change, a line each: stages, a release, a roll-back, a question. Empty where nothing would.
    """

    index: int | None
    record: dict[str, Any]
    would: tuple[str, ...]


def foresee(ws: Workspace, name: str, until: datetime) -> list[Foreseen]:
    """What :func:`~selfheal.loop.monitoring.monitor` would do now; nothing is changed.

    Each window is looked at in the light of those before it, and of the yardstick as it is now. What serves is taken to
    stay: after a window that would change it, later ones say nothing, and none is given.

    Raises
    ------
    NotFoundError
        No such model.
    UnavailableError
        The database or MLflow is away.
    """
    with rehearsed(ws) as dry:
        return list(_foreseen(dry, name, until))


@contextmanager
def rehearsed(ws: Workspace) -> Iterator[Workspace]:
    """The workspace with a state database that keeps nothing of what it is told."""
    with closing(InferenceTable(ws.settings.database_url, rehearses=True)) as table:
        yield replace(ws, table=table)


def _foreseen(ws: Workspace, name: str, until: datetime) -> Iterator[Foreseen]:
    stand = stand_of(ws, name)
    serving = load(ws, name, stand)
    change = foreseen(ws, stand)
    seen = change is None or change.kind == "seen"  # noted, and nothing is moved
    first = [] if change is None or seen else [f"settle the stages first: {change.reason}"]
    first += _of_staging(serving)
    if first:
        yield Foreseen(None, {}, tuple(first))
    if change is not None and change.to != serving.version:
        return
    refs = pending(ws, name, until, serving.policy)
    heals = may_heal(refs) if refs else None
    for ref in refs:
        window, serving = _window(serving.at(ref, newest=ref == heals), serving)
        yield window
        if window.record["watch"]["rolled_back"]:
            return


def _of_staging(serving: Serving) -> Iterator[str]:
    """What labels that have come, and orders that wait, would do to what is in Staging."""
    versions, look = serving.registered().values(), serving.look
    for info in waiting(versions, look)[:1]:
        judgement = None if look.settled is None else tried(serving, info, look.settled)
        if judgement is not None and judgement.archives:
            yield f"archive version {info.version}: {judgement.reason}"
        elif judgement is not None and judgement.says == "better":
            yield _release(serving, f"promote version {info.version}, by labels ({judgement.reason})", ())
    for version in list(orders(versions, look))[:1]:
        yield _release(serving, f"promote version {version}, which was held back", ())


def _window(ctx: Context, serving: Serving) -> tuple[Foreseen, Serving]:
    """One window, and what serves with its record among the cycles."""
    would: list[str] = []
    ctx = inspect(ctx)
    verdict, turned = judged(ctx)
    if turned is not None:
        would.append(_roll_back(ctx))
        frozen = ctx.ws.table.freezes.find(ctx.name) is not None
        acts = not ctx.look.pinned and not frozen
        verdict = replace(verdict, rolled_back=acts, held=frozen and not ctx.look.pinned)
    decision = decided(replace(ctx, verdict=verdict))
    ctx = replace(ctx, verdict=verdict, decision=decision)
    if decision.kind == "heal":
        healed, more = _heal(ctx)
        ctx, would = replace(ctx, healed=healed), [*would, *more]
    record = entry_of(ctx, decision)
    off = verdict.rolled_back or verdict.held or bool(ctx.seen.failed)
    record["health"] = health_of(decision, ctx.healed, ctx.cycles, off=off, far=far(ctx.seen))
    ref = ctx.ref
    record |= {"index": ref.index, "start": ref.start.isoformat(), "end": ref.end.isoformat(), "rows": ref.rows}
    return Foreseen(ref.index, record, tuple(would)), replace(serving, cycles=(*serving.cycles, record))


def _roll_back(ctx: Context) -> str:
    what = f"roll version {ctx.look.settled} back to {ctx.look.previous}"
    frozen = ctx.ws.table.freezes.find(ctx.name)
    if ctx.look.pinned:
        return f"{what}, were it not pinned"
    return what if frozen is None else f"{what}, were the loop not frozen {frozen}"


def _heal(ctx: Context) -> tuple[HealRecord, list[str]]:
    """What a heal comes to, and what would become of it."""
    try:
        window, _, result = outcome(ctx, facts(ctx), 0, LIMIT_SECONDS)
        words, would = _become(ctx, window, result)
    except SelfhealError as error:
        return HealRecord(ctx.ref.index, FAILED, failure=f"{type(error).__name__}: {error}"), []
    record = HealRecord(
        ctx.ref.index, result.decision, result.diagnosis, result.reasons, result.changed_part, words=words,
        note="; ".join(f"would {each}" for each in would), question=result.question, options=result.options,
        asks=result.asks,
    )  # fmt: skip
    return record, would


def _become(ctx: Context, window: Window, result: HealResult) -> tuple[tuple[str, ...], list[str]]:
    """The adapter in words, and what would be registered, asked and released."""
    from selfheal.adapter import Adapter

    asks = [f"ask: {result.question}"] if result.asks == "fact" else []
    if result.decision == "recall" and result.recall is not None:
        return (), [_release(ctx, f"recall version {result.recall}", [lost_trust(ctx.ws, ctx.name)]), *asks]
    if result.decision not in ("promote", "audit") or result.adapter is None:
        return (), asks
    adapter = Adapter.from_bytes(result.adapter)
    words = tuple(adapter.describe())
    if ctx.policy.release.approval == "observe":
        return words, ["register nothing: release.approval is observe", *asks]
    waits = []
    if result.decision == "audit":
        fitted = LABELS_FITTED.removeprefix("number.") in result.numbers
        waits.append("labels of the next windows" if fitted else f"{'an answer' if asks else 'an audit'} or a person")
    waits.append(asks_first(ctx.ws, ctx.name))
    look = ctx.look
    barred = [info for info in ctx.registered().values() if info.version in look.vetoed | look.quarantined]
    healed = ctx.model.with_adapter(adapter)
    like = like_of(ctx.ws, ctx.name, healed, result.diagnosis, window.frame, barred) if barred else None
    if like is not None:
        waits.append(f"a person: it predicts like version {like}, which was rolled back or withdrawn")
    if result.decision == "promote" and (windows := ctx.policy.release.shadow_windows):
        waits.append(f"{windows} windows of shadow answers that agree with the gate: release.shadow_windows")
    return words, [_release(ctx, "register a version and promote it", waits, "register a version"), *asks]


def _release(serving: Serving, what: str, waits: Sequence[str], instead: str = "") -> str:
    """A promotion, or what it would wait for."""
    ws, name, rule = serving.ws, serving.name, serving.policy.release
    frozen = ws.table.freezes.find(name)
    why = [
        *waits,
        kept_for_people(serving.policy),
        f"a person: version {serving.look.settled} is pinned" if serving.look.pinned else "",
        f"{rule.approvers} approvals" if rule.approvers > 1 else "",
        not_now(ws, name, rule),
        "" if frozen is None else f"the end of the freeze {frozen}",
    ]
    first = next(filter(None, why), "")
    return f"{instead or what}, which would wait for {first}" if first else what
