"""What becomes of a heal: registered and released, recalled, or left a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from selfheal.errors import RefusedError
from selfheal.loop.card import card
from selfheal.loop.child import HealResult
from selfheal.loop.confirm import probation
from selfheal.loop.context import Context
from selfheal.loop.records import HealRecord
from selfheal.loop.trial import AUDIT, LABELS_FROM, LABELS_HELD
from selfheal.registry.versions import VersionInfo
from selfheal.steering.look import STAGING
from selfheal.steering.models import load_version, serving_pointer
from selfheal.steering.quarantine import like_of
from selfheal.steering.releases import ASKS, LABELS_FITTED, recall, release
from selfheal.steering.waits import Released
from selfheal.table import Window

if TYPE_CHECKING:
    import pandas as pd

    from selfheal.adapter import Adapter
    from selfheal.model import MonitoredModel

PARTS = ("input map", "ReflexiveLayer", "logit offset")


def keep(ctx: Context, window: Window, result: HealResult, run: str) -> HealRecord:
    """Register what the gate accepted or sent to audit, recall what it recognised, leave the rest a run."""
    model = ctx.model
    if result.decision in ("promote", "audit", "recall"):
        _is_of_serving_base(ctx)
    record = HealRecord(
        ctx.ref.index, result.decision, result.diagnosis, result.reasons, result.changed_part,
        numbers=result.numbers, candidates=_rows(result.candidates), run_id=run,
        question=result.question, options=result.options, asks=result.asks,
    )  # fmt: skip
    if ctx.policy.release.approval == "observe" and result.decision in ("promote", "audit", "recall"):
        return _observed(record, result)
    if result.decision == "recall" and result.recall is not None:
        adapter = load_version(ctx.ws, ctx.name, ctx.info(result.recall)).adapter
        record = replace(record, changed_part=changed(model.adapter, adapter))
        done = recall(ctx.ws, ctx.name, result.recall, ctx.version, "; ".join(result.reasons)[:1000])
    elif result.decision in ("promote", "audit") and result.adapter is not None:
        from selfheal.adapter import Adapter

        # Of bases with the same weights it belongs to the one that was healed.
        adapter = Adapter.from_bytes(result.adapter).belonging_to(model.digest, model.adapter.base_version)
        done = _released(ctx, model.with_adapter(adapter), window, result, run)
    else:
        return record
    return replace(
        record, version=done.version, promoted=done.promoted, note=done.note, words=tuple(adapter.describe())
    )  # fmt: skip


def _is_of_serving_base(ctx: Context) -> None:
    """Nothing is registered for a base that was changed while the heal was under way.

    Raises
    ------
    RefusedError
        It was.
    """
    pointer = serving_pointer(ctx.ws, ctx.name)
    if pointer.base_manifest not in ("", ctx.model.manifest):
        raise RefusedError(
            f"the base of {ctx.name!r} was changed to base {pointer.base_version} (version {pointer.version}) while "
            f"window {ctx.ref.index} was healed for the one before; nothing was registered, and its windows begin anew"
        )


def _observed(record: HealRecord, result: HealResult) -> HealRecord:
    """The record of a heal that stays a run, whatever it found."""
    from selfheal.adapter import Adapter

    words = () if result.adapter is None else tuple(Adapter.from_bytes(result.adapter).describe())
    would = f"version {result.recall} is not recalled" if result.decision == "recall" else "nothing is registered"
    return replace(record, words=words, note=f"{would}: release.approval is observe")


def changed(before: Adapter, after: Adapter) -> str:
    """The parts that differ between two adapters, named as :attr:`selfheal.Adapter.changed_part` does.

    A ReflexiveLayer counts as changed whenever either has one: two that were fitted apart are never the same.
    """
    either = [part for part in PARTS if part in {*before.parts, *after.parts}]
    same = {
        "input map": before.input_map == after.input_map,
        "logit offset": before.logit_offset is not None
        and after.logit_offset is not None
        and bool((before.logit_offset == after.logit_offset).all()),
    }
    return " + ".join(part for part in either if not same.get(part, False)) or "none"


def _released(ctx: Context, healed: MonitoredModel, window: Window, result: HealResult, run: str) -> Released:
    """Release what was healed: a version that is registered now, or the one in Staging that is the same."""
    # Asked anew: a heal takes its time, and people may have moved versions meanwhile.
    versions = ctx.ws.registry.versions(ctx.name)
    known = _known_already(ctx, healed, window, result, [v for v in versions if v.lineage.parent == ctx.version])
    if isinstance(known, Released):
        return known
    version = known or _registered(ctx, healed, window, result, run, versions)
    done = release(ctx.ws, ctx.name, version)
    same = isinstance(known, VersionInfo)
    return replace(done, note=f"version {done.version} in Staging is the same heal; {done.note}") if same else done


def _registered(
    ctx: Context, healed: MonitoredModel, window: Window, result: HealResult, run: str, versions: Sequence[VersionInfo]
) -> VersionInfo:
    ref = ctx.ref
    labels_used = "labels_fitted" in result.numbers and bool(window.labels.notna().any())
    numbers = {f"number.{key}": value for key, value in result.numbers.items()}
    tags = {
        "parent": ctx.version,
        "window": ref.index,
        "diagnosis": result.diagnosis,
        "verdict": result.decision,
        ASKS: result.asks,
        **probation(healed.policy, result.on_trial, ref.end),
        LABELS_FROM: ref.index + labels_used,
        **{key: value for key, value in numbers.items() if key in (LABELS_FITTED, LABELS_HELD)},
    }
    record = {
        "window_start": ref.start.isoformat(),
        "window_end": ref.end.isoformat(),
        "policy_digest": healed.policy.digest,
        "heal_run": run,
        **numbers,
    }
    text = card(
        ctx.name, window=ref.index, span=f"{ref.start:%Y-%m-%d %H:%M} to {ref.end:%Y-%m-%d %H:%M} UTC",
        rows=len(window.frame), broke=() if ctx.decision is None else ctx.decision.reasons,
        words=healed.adapter.describe(), reasons=result.reasons, diagnosis=result.diagnosis, parent=ctx.version,
        verdict=result.decision, labels=result.numbers.get("labels_fitted", 0.0), trial=result.on_trial, run=run,
    )  # fmt: skip
    version = ctx.ws.registry.registered(
        ctx.name, healed.adapter, tags=tags, record=record, run_id=run, sample=window.frame, description=text,
        parent=next((v for v in versions if v.version == ctx.version), None),
    )  # fmt: skip
    ctx.ws.checkpoint("registered")
    return version


def _known_already(
    ctx: Context, healed: MonitoredModel, window: Window, result: HealResult, versions: Sequence[VersionInfo]
) -> Released | VersionInfo | int | None:
    """A version that need not be registered again: it waits in Staging, or an audit has refused its like.

    Parameters
    ----------
    versions
        Those that were healed from what serves.

    Returns
    -------
    Released, VersionInfo, int or None
        What is said of one that is not to be released; one that is the same; the number of one that waited for an
        answer, and that was tagged just now with what the gate says since. None where nothing is known of it.
    """
    ws, name = ctx.ws, ctx.name
    # Only one that was judged alike: what the data could not decide then must not go along with what they can now.
    staged = [v for v in versions if v.stage == STAGING and v.lineage.verdict == result.decision]
    trying = [v.version for v in staged if LABELS_FITTED in v.tags]
    if result.decision == "promote" and (asked := _asked_for(versions, healed)) is not None:
        ws.registry.set_tag(name, asked, "verdict", result.decision)
        return asked
    if "labels_fitted" in result.numbers and trying:
        return Released(trying[-1], False, f"version {trying[-1]} was fitted to labels before; later ones decide first")
    same = like_of(ws, name, healed, result.diagnosis, window.frame, staged)
    if same is not None:
        return next(v for v in staged if v.version == same)
    refused = [v for v in versions if v.tags.get(AUDIT, "").startswith("refused")]
    same = like_of(ws, name, healed, result.diagnosis, window.frame, refused)
    return None if same is None else Released(same, False, f"an audit has refused the same heal, version {same}")


def _asked_for(versions: Sequence[VersionInfo], healed: MonitoredModel) -> int | None:
    """The version that waited for an answer and is the very one that is now accepted."""
    digest = healed.adapter.digest
    same = [v for v in versions if v.stage == STAGING and v.tags.get("adapter_digest") == digest]
    return next((v.version for v in same if v.tags.get(ASKS) == "fact"), None)


def _rows(candidates: pd.DataFrame) -> tuple[Mapping[str, Any], ...]:
    return tuple({str(k): v for k, v in row.items()} for row in candidates.to_dict("records"))
