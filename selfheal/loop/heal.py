"""Heal one window: in a child process, logged as a run, registered in Staging, released as the policy allows."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from selfheal.drift.yardstick import thinned
from selfheal.errors import ArtifactError, NotFoundError, SelfhealError, UnavailableError
from selfheal.loop.child import LIMIT_SECONDS, HealResult, HealTask, heal_in_child
from selfheal.loop.inspect import SAMPLE_ROWS, YARDSTICK_WINDOWS, drift_report
from selfheal.loop.plots import SCORE, before_after
from selfheal.loop.trial import AUDIT, LABELS_FROM, labels_before
from selfheal.registry.archive import base_folder
from selfheal.steering.look import STAGING, Look, last_look
from selfheal.steering.models import load_version, serving_model
from selfheal.steering.policies import policy_of_record
from selfheal.steering.quarantine import like_of
from selfheal.steering.release import LABELS_FITTED, Released, recall, release
from selfheal.steering.workspace import Workspace
from selfheal.table import Window, WindowRef

if TYPE_CHECKING:
    from selfheal.adapter import Adapter
    from selfheal.drift.report import DriftReport
    from selfheal.model import MonitoredModel

MEMORY = 20
"""Earlier versions offered for a recall, newest first; the identity is always among them."""

FAILED = "failed"

PARTS = ("input map", "ReflexiveLayer", "logit offset")

_log = logging.getLogger("selfheal.loop")


@dataclass(frozen=True)
class HealRecord:
    """What a heal came to.

    Attributes
    ----------
    window
        Index of the window.
    decision, diagnosis, reasons
        Those of :class:`selfheal.Outcome`; ``"failed"`` when there was none, see ``failure``.
    changed_part, words
        The part of the adapter that changed, and what it does now, a line each.
    version
        The version that was registered or is to be recalled.
    promoted, note
        Whether it serves now, and what release said.
    run_id
        The heal run in MLflow.
    failure
        Why there is no outcome, or why it could not be kept; empty otherwise.
    """

    window: int
    decision: str
    diagnosis: str = ""
    reasons: tuple[str, ...] = ()
    changed_part: str = "none"
    words: tuple[str, ...] = ()
    numbers: Mapping[str, float] | None = None
    candidates: tuple[Mapping[str, Any], ...] = ()
    version: int | None = None
    promoted: bool = False
    note: str = ""
    run_id: str = ""
    failure: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As a JSON record; NaN as null."""
        return dict(_without_nan(asdict(self)))


def heal_window(
    ws: Workspace,
    name: str,
    ref: WindowRef,
    *,
    seed: int = 0,
    report: DriftReport | None = None,
    limit: float = LIMIT_SECONDS,
) -> HealRecord:
    """Heal a window that was confirmed to have drifted; also what ``selfheal heal`` does by hand.

    A child that dies or takes too long, a store that is away, a version that can't be registered: each is a record
    with its ``failure``, and the next alarmed window tries again.

    Parameters
    ----------
    report
        The inspection's drift report, to save making it again.
    limit
        Seconds given to the child.

    Raises
    ------
    NotFoundError
        No such model.
    """
    began = time.perf_counter()
    loaded, version = serving_model(ws, name)
    model = loaded.with_policy(policy_of_record(ws, name, loaded).policy)
    try:
        record = _resumed(ws, name, ref, version) or _healed(ws, name, ref, model, version, seed, report, limit)
    except SelfhealError as error:
        _log.error("%s, window %d: the heal failed: %s", name, ref.index, error)
        record = HealRecord(ref.index, FAILED, failure=f"{type(error).__name__}: {error}")
    return replace(record, seconds=round(time.perf_counter() - began, 3))


def _resumed(ws: Workspace, name: str, ref: WindowRef, parent: int) -> HealRecord | None:
    """A version that this window was healed to before a crash: only its release is left."""
    for info in ws.registry.versions(name):
        tags = info.tags
        if info.stage == STAGING and tags.get("window") == str(ref.index) and tags.get("parent") == str(parent):
            released = release(ws, name, info.version)
            return HealRecord(
                ref.index, tags.get("verdict", ""), tags.get("diagnosis", ""), (info.description,),
                tags.get("changed_part", "none"), version=info.version, promoted=released.promoted,
                note=released.note, run_id=info.run_id or "",
            )  # fmt: skip
    return None


def _healed(
    ws: Workspace,
    name: str,
    ref: WindowRef,
    model: MonitoredModel,
    version: int,
    seed: int,
    report: DriftReport | None,
    limit: float,
) -> HealRecord:
    window = ws.table.read(ref, SAMPLE_ROWS)
    recent = ws.table.recent(name, YARDSTICK_WINDOWS)
    look = last_look(ws, name) or Look(settled=version)
    task = HealTask(
        base=base_folder(ws.settings.cache, model.manifest, model.digest),
        base_digest=model.digest,
        base_manifest=model.manifest,
        adapter=model.adapter.to_bytes(),
        policy=model.policy.to_yaml(),
        window=window.frame,
        recent=tuple(recent),
        labels=window.labels if window.labels.notna().any() else None,
        memory=_memory(ws, name, model, look),
        seed=seed,
        earlier=labels_before(ws, name, ref.index),
        unsampled=tuple(_own_labels(ws, ref, window)),
    )
    result = heal_in_child(task, limit)
    params = {"window": ref.index, "seed": seed, "parent": version, "policy_digest": model.policy.digest}
    run = ws.registry.start_heal_run(name, params | {"rows": len(window.frame), "start": ref.start, "end": ref.end})
    try:
        # The page first: whoever finds the version in Production finds its evidence too.
        _log_run(ws, run, model, window, recent, result, report)
        record = _kept(ws, name, ref, model, version, window, result, run)
    except BaseException:
        with suppress(SelfhealError):
            ws.registry.end_run(run, "FAILED")
        raise
    title = f"heal window {ref.index}: {result.diagnosis} → {result.decision}"
    note = "\n".join(f"- {line}" for line in (*result.reasons, record.note) if line)
    tags = {"verdict": result.decision, "diagnosis": result.diagnosis, "changed_part": result.changed_part}
    ws.registry.end_run(run, run_name=title, note=note, tags=tags | {"version": record.version})
    return record


def _own_labels(ws: Workspace, ref: WindowRef, window: Window) -> list[tuple[pd.DataFrame, pd.Series]]:
    """The window's labelled rows that its sample left out."""
    if ref.rows <= SAMPLE_ROWS:
        return []
    known = ws.table.labelled(ref)
    others = ~known.frame.index.isin(window.frame.index)
    return [(known.frame[others], known.labels[others])] if others.any() else []


def _memory(
    ws: Workspace, name: str, model: MonitoredModel, look: Look
) -> tuple[tuple[int, bytes, pd.DataFrame | None], ...]:
    """Versions that may be recalled, each with its own window where it has one: they fit this base, have served
    before (one that waits for an audit has proven nothing), and nobody withdrew them or rolled them back.
    """
    served = {look.settled, *look.lineage}
    found: list[tuple[int, bytes, pd.DataFrame | None]] = []
    for info in sorted(ws.registry.versions(name), key=lambda v: -v.version):
        identity = info.tags.get("changed_part") == "none"
        wanted = identity or (info.version in served and len(found) < MEMORY)
        barred = info.version in look.vetoed | look.quarantined
        if not wanted or barred or info.tags.get("manifest") != model.manifest:
            continue
        with suppress(ArtifactError, NotFoundError, UnavailableError):  # what can't be loaded can't be recalled
            adapter, sample = ws.registry.adapter(name, info), ws.registry.sample(name, info)
            found.append((info.version, adapter.to_bytes(), sample))
    return tuple(found)


def _kept(
    ws: Workspace,
    name: str,
    ref: WindowRef,
    model: MonitoredModel,
    parent: int,
    window: Window,
    result: HealResult,
    run: str,
) -> HealRecord:
    """Register what the gate accepted or sent to audit, recall what it recognised, leave the rest a run."""
    record = HealRecord(
        ref.index, result.decision, result.diagnosis, result.reasons, result.changed_part,
        numbers=result.numbers, candidates=_rows(result.candidates), run_id=run,
    )  # fmt: skip
    if result.decision == "recall" and result.recall is not None:
        done = recall(ws, name, result.recall, parent, "; ".join(result.reasons)[:1000])
        adapter = load_version(ws, name, result.recall).adapter
        record = replace(record, changed_part=changed(model.adapter, adapter))
    elif result.decision in ("promote", "audit") and result.adapter is not None:
        from selfheal.adapter import Adapter

        # Of bases with the same weights it belongs to the one that was healed.
        adapter = Adapter.from_bytes(result.adapter).belonging_to(model.digest, model.adapter.base_version)
        done = _registered(ws, name, ref, model.with_adapter(adapter), parent, window, result, run)
    else:
        return record
    return replace(
        record, version=done.version, promoted=done.promoted, note=done.note, words=tuple(adapter.describe())
    )  # fmt: skip


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


def _registered(
    ws: Workspace,
    name: str,
    ref: WindowRef,
    healed: MonitoredModel,
    parent: int,
    window: Window,
    result: HealResult,
    run: str,
) -> Released:
    known = _known_already(ws, name, healed, parent, window, result)
    if known is not None:
        return known
    labels_used = "labels_fitted" in result.numbers and bool(window.labels.notna().any())
    tags = {
        "parent": parent,
        "window": ref.index,
        "window_start": ref.start.isoformat(),
        "window_end": ref.end.isoformat(),
        "diagnosis": result.diagnosis,
        "verdict": result.decision,
        LABELS_FROM: ref.index + labels_used,
        "policy_digest": healed.policy.digest,
        "heal_run": run,
        **{f"number.{key}": value for key, value in result.numbers.items()},
    }
    text = "; ".join(healed.adapter.describe()) + "\n\n" + "\n".join(f"- {line}" for line in result.reasons)
    version = ws.registry.register(
        name, healed.adapter, tags=tags, run_id=run, sample=window.frame, description=text
    )  # fmt: skip
    ws.checkpoint("registered")
    return release(ws, name, version)


def _known_already(
    ws: Workspace, name: str, healed: MonitoredModel, parent: int, window: Window, result: HealResult
) -> Released | None:
    """A version that need not be registered again: it waits in Staging, or an audit has refused its like."""
    versions = [v for v in ws.registry.versions(name) if v.tags.get("parent") == str(parent)]
    # Only one that was judged alike: what the data could not decide then must not go along with what they can now.
    staged = [v for v in versions if v.stage == STAGING and v.tags.get("verdict") == result.decision]
    trying = [v.version for v in staged if LABELS_FITTED in v.tags]
    if "labels_fitted" in result.numbers and trying:
        return Released(trying[-1], False, f"version {trying[-1]} was fitted to labels before; later ones decide first")
    same = like_of(ws, name, healed, result.diagnosis, window.frame, staged)
    if same is not None:
        done = release(ws, name, same)
        return replace(done, note=f"version {same} in Staging is the same heal; {done.note}")
    refused = [v for v in versions if v.tags.get(AUDIT, "").startswith("refused")]
    same = like_of(ws, name, healed, result.diagnosis, window.frame, refused)
    return None if same is None else Released(same, False, f"an audit has refused the same heal, version {same}")


def _log_run(
    ws: Workspace,
    run: str,
    model: MonitoredModel,
    window: Window,
    recent: list[pd.DataFrame],
    result: HealResult,
    report: DriftReport | None,
) -> None:
    from selfheal.adapter import Adapter

    ws.registry.log_metrics(run, result.numbers, step=window.ref.index, at=window.ref.end)
    ws.registry.log_table(run, result.candidates, "candidates.json", "Candidates", "Every mechanism and rival tried.")
    ws.registry.log_artifact_text(run, "\n".join(f"- {line}" for line in result.reasons), "reasons.md")
    healed = model if result.adapter is None else model.with_adapter(Adapter.from_bytes(result.adapter))
    healthy = pd.concat(recent, ignore_index=True) if recent else thinned(model.reference, SAMPLE_ROWS)
    title = f"{result.diagnosis} → {result.decision}: {result.changed_part}"
    drawing = before_after(_drawn(model, healthy), _drawn(model, model.model_units(window.frame)),
                           _drawn(healed, healed.model_units(window.frame)), title)  # fmt: skip
    ws.registry.log_artifact_text(run, drawing, "plots/before-after.svg")
    page = report or drift_report(model, window)
    if page is not None:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "drift-report.html"
            page.html(path)
            ws.registry.log_artifact_file(run, path)


def _drawn(model: MonitoredModel, units: pd.DataFrame) -> pd.DataFrame:
    """The numeric columns of rows in model units, and the model's score of them."""
    numeric = [c for c in model.features if model.dtypes[c] != "str"]
    return units[numeric].astype(float).assign(**{SCORE: model.proba_of_units(units)[:, -1]})


def _rows(candidates: pd.DataFrame) -> tuple[Mapping[str, Any], ...]:
    return tuple({str(k): v for k, v in row.items()} for row in candidates.to_dict("records"))


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null in its place, and plain numbers for numpy's."""
    if isinstance(value, Mapping):
        return {str(k): _without_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not abs(value) < float("inf") else value
